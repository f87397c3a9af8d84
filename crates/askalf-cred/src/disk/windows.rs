use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_DELETE_PENDING, ERROR_FILE_NOT_FOUND, ERROR_LOCK_VIOLATION,
    ERROR_PATH_NOT_FOUND, ERROR_SHARING_VIOLATION, GENERIC_READ, GENERIC_WRITE,
};
use windows_sys::Win32::Storage::FileSystem::{
    CREATE_NEW, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT, FILE_FLAG_BACKUP_SEMANTICS,
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_READ_ATTRIBUTES, OPEN_ALWAYS, READ_CONTROL, WRITE_DAC,
};

use super::{Disk, Facts, FileVersion, Kind};
use crate::io_fault::shell_word;
use crate::security_descriptor::{Grantee, Reach, Sid, private};
use crate::windows_calls as system;

/// The file system of Windows.
///
/// A folder cannot be synced here. What stands instead: a rename returns once the disk has it (`MOVEFILE_WRITE_THROUGH`), and
/// NTFS writes the changes of names to its journal in the order in which they were made, so that a name which is on the disk has
/// every earlier one on the disk too.
pub(crate) struct SystemDisk;

/// How often, and how long, a file is tried again that another program holds open: a virus scanner or an indexer looks into each
/// new file, mostly for milliseconds. One second in all.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

impl Disk for SystemDisk {
    fn us(&self) -> String {
        system::current_user().map_or_else(|_| "a user that the system does not name".into(), |us| name(&us))
    }

    fn facts_at(&self, path: &Path) -> io::Result<Facts> {
        patiently(HELD, || {
            let file = OpenOptions::new()
                .access_mode(FILE_READ_ATTRIBUTES | READ_CONTROL)
                .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS)
                .open(path)
                .map_err(|error| truly_missing(path, error))?;
            facts(&file)
        })
    }

    fn facts(&self, file: &File) -> io::Result<Facts> {
        facts(file)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        patiently(HELD, || {
            OpenOptions::new()
                .read(true)
                .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
                .open(path)
                .map_err(|error| truly_missing(path, error))
        })
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let descriptor = private(&system::current_user()?, Reach::ItAlone);
        system::create_file(path, GENERIC_READ | GENERIC_WRITE, CREATE_NEW, &descriptor)
    }

    fn open_lock(&self, path: &Path) -> io::Result<File> {
        let descriptor = private(&system::current_user()?, Reach::ItAlone);
        patiently(HELD, || {
            system::create_file(path, GENERIC_READ | GENERIC_WRITE, OPEN_ALWAYS, &descriptor)
        })
    }

    fn try_lock(&self, file: &File) -> Result<(), TryLockError> {
        file.try_lock()
    }

    fn read(&self, mut file: &File, into: &mut [u8]) -> io::Result<usize> {
        patiently(HELD, || file.read(into))
    }

    fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        patiently(HELD, || file.write(bytes))
    }

    fn rewind(&self, mut file: &File) -> io::Result<()> {
        file.rewind()
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        match file.sync_all() {
            // Only a handle with the right to write may sync.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                system::open_again_to_write(file)?.sync_all()
            }
            done => done,
        }
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        patiently(IN_USE, || match system::replace(from, to) {
            // A file that is open cannot be replaced in that way, however it was opened. std's way can, where the system knows the
            // semantics of POSIX.
            Err(error) if is_any_of(&error, IN_USE) => fs::rename(from, to),
            done => done,
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        patiently(HELD, || fs::hard_link(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        patiently(IN_USE, || fs::remove_file(path))
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect()
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent)?;
        }
        let descriptor = private(&system::current_user()?, Reach::WhatIsMadeInItToo);
        system::create_folder(path, &descriptor)
    }

    fn make_folder_private(&self, path: &Path) -> io::Result<()> {
        let folder = OpenOptions::new()
            .access_mode(WRITE_DAC)
            .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS)
            .open(path)?;
        let descriptor = private(&system::current_user()?, Reach::WhatIsMadeInItToo);
        system::set_access_list(&folder, &descriptor)
    }
}

fn facts(file: &File) -> io::Result<Facts> {
    let metadata = file.metadata()?;
    let security = system::security(file)?;
    let us = system::current_user()?;
    let (inode, modified, changed) = system::identity(file)?;
    let foreign_owner = (!security.is_owned_by(&us)).then(|| match &security.owner {
        Some(owner) => name(owner),
        None => "nobody".into(),
    });
    let others: Vec<String> = security.others(&us).into_iter().map(grantee).collect();
    let exposed = (!others.is_empty()).then(|| format!("access for {}", others.join(", ")));
    Ok(Facts {
        kind: kind(system::is_on_a_disk(file), metadata.file_attributes()),
        len: metadata.len(),
        foreign_owner,
        open_to_all: exposed.is_some(),
        exposed,
        owned_by_root: security
            .owner
            .is_some_and(|owner| owner == Sid::system() || owner == Sid::administrators()),
        version: FileVersion {
            inode,
            len: metadata.len(),
            modified: (modified, 0),
            changed: (changed, 0),
        },
    })
}

/// Every reparse point counts as a link: it leads elsewhere, or its content comes from elsewhere.
fn kind(on_a_disk: bool, attributes: u32) -> Kind {
    match () {
        () if !on_a_disk => Kind::Other,
        () if attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 => Kind::Symlink,
        () if attributes & FILE_ATTRIBUTE_DIRECTORY != 0 => Kind::Folder,
        () => Kind::Regular,
    }
}

fn name(sid: &Sid) -> String {
    system::account_name(sid).unwrap_or_else(|| sid.to_string())
}

fn grantee(grantee: &Grantee) -> String {
    match grantee {
        Grantee::Sid(sid) => name(sid),
        Grantee::EverybodyForWantOfAList => "everybody, as it has no access list".into(),
        Grantee::Unknown => "an entry of an unknown kind".into(),
    }
}

/// The commands that close a file to all but this user.
pub(crate) fn how_to_make_private(path: &Path) -> String {
    let path = shell_word(path);
    format!(
        "`icacls {path} /reset` and then `icacls {path} /inheritance:r /grant:r \"{}:F\"`",
        SystemDisk.us()
    )
}

/// The command that gives a file to `us`, as [`Disk::us`] spells it, and who may run it.
pub(crate) fn how_to_give_to(us: &str, path: &Path) -> String {
    format!(
        "`icacls {} /setowner \"{us}\"` as an administrator",
        shell_word(path)
    )
}

/// std says `NotFound` of more than of files that are not there: a file on a share that cannot be reached, or below a file in
/// the place of a folder. Unreadable is not absent.
fn truly_missing(path: &Path, error: io::Error) -> io::Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    let below_no_folder = || {
        let parent = path.parent().and_then(|parent| fs::metadata(parent).ok());
        parent.is_some_and(|parent| !parent.is_dir())
    };
    match error.raw_os_error().map(i32::cast_unsigned) {
        Some(ERROR_FILE_NOT_FOUND) => error,
        Some(ERROR_PATH_NOT_FOUND) if below_no_folder() => ErrorKind::NotADirectory.into(),
        Some(ERROR_PATH_NOT_FOUND) => error,
        Some(_) | None => io::Error::new(ErrorKind::HostUnreachable, error),
    }
}

/// Another program holds the file open in a way that excludes ours.
const HELD: &[u32] = &[ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION];
/// The same, and what the system also answers where a file that is to go or to be replaced is open, or is about to go.
const IN_USE: &[u32] = &[
    ERROR_SHARING_VIOLATION,
    ERROR_LOCK_VIOLATION,
    ERROR_ACCESS_DENIED,
    ERROR_DELETE_PENDING,
];

fn patiently<T>(passing: &[u32], call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    patiently_with(pause, passing, call)
}

fn patiently_with<T>(
    mut pause: impl FnMut(),
    passing: &[u32],
    mut call: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    for _ in 1..TRIES {
        match call() {
            Err(error) if is_any_of(&error, passing) => pause(),
            done => return done,
        }
    }
    call()
}

fn is_any_of(error: &io::Error, codes: &[u32]) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code.cast_unsigned()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "this crate is synchronous, and the end of another program's use of a file is no event to wait for"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use windows_sys::Win32::Foundation::ERROR_BAD_NETPATH;

    use super::*;

    fn code(code: u32) -> io::Error {
        io::Error::from_raw_os_error(code.cast_signed())
    }

    #[test]
    fn a_file_that_is_held_is_tried_again_and_not_for_ever() {
        let (mut tries, mut pauses) = (0, 0);
        let done = patiently_with(
            || pauses += 1,
            HELD,
            || {
                tries += 1;
                if tries < 4 {
                    Err(code(ERROR_SHARING_VIOLATION))
                } else {
                    Ok(tries)
                }
            },
        );
        assert_eq!((done.unwrap(), pauses), (4, 3));

        let (mut tries, mut pauses) = (0, 0);
        let error = patiently_with(
            || pauses += 1,
            HELD,
            || {
                tries += 1;
                Err::<(), _>(code(ERROR_SHARING_VIOLATION))
            },
        );
        assert!(is_any_of(&error.unwrap_err(), HELD));
        assert_eq!((tries, pauses), (TRIES, TRIES - 1));
    }

    #[test]
    fn an_error_that_does_not_pass_is_told_at_once() {
        let mut tries = 0;
        let error = patiently_with(
            || panic!("paused"),
            HELD,
            || {
                tries += 1;
                Err::<(), _>(code(ERROR_ACCESS_DENIED))
            },
        );
        assert_eq!(
            (error.unwrap_err().kind(), tries),
            (ErrorKind::PermissionDenied, 1)
        );
    }

    #[test]
    fn what_cannot_be_reached_is_not_absent() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        let kind = |path: &Path| SystemDisk.open(path).unwrap_err().kind();
        assert_eq!(kind(&scratch.path().join("none")), ErrorKind::NotFound);
        assert_eq!(
            kind(&scratch.path().join("none").join("none")),
            ErrorKind::NotFound
        );
        assert_eq!(kind(&file.join("none")), ErrorKind::NotADirectory);
        let share = truly_missing(&file, code(ERROR_BAD_NETPATH));
        assert_eq!(share.kind(), ErrorKind::HostUnreachable);
    }

    #[test]
    fn a_file_is_known_by_its_number_under_each_of_its_names() {
        let scratch = tempfile::tempdir().unwrap();
        let [one, two, other] = ["one", "two", "other"].map(|name| scratch.path().join(name));
        drop(SystemDisk.create(&one).unwrap());
        drop(SystemDisk.create(&other).unwrap());
        SystemDisk.link(&one, &two).unwrap();
        let number = |path: &Path| SystemDisk.facts_at(path).unwrap().version.inode;
        assert_eq!(number(&one), number(&two));
        assert_ne!(number(&one), number(&other));
        assert_eq!(
            SystemDisk.create(&one).unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
        assert_eq!(
            SystemDisk.link(&one, &other).unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
    }

    #[test]
    fn a_file_that_was_opened_to_be_read_can_be_synced() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        drop(SystemDisk.create(&path).unwrap());
        SystemDisk.sync(&SystemDisk.open(&path).unwrap()).unwrap();
    }

    #[test]
    fn a_link_counts_as_one_wherever_it_leads() {
        let attributes = FILE_ATTRIBUTE_REPARSE_POINT;
        assert_eq!(kind(true, attributes), Kind::Symlink);
        assert_eq!(kind(true, attributes | FILE_ATTRIBUTE_DIRECTORY), Kind::Symlink);
        assert_eq!(kind(true, FILE_ATTRIBUTE_DIRECTORY), Kind::Folder);
        assert_eq!(kind(true, 0), Kind::Regular);
        assert_eq!(kind(false, 0), Kind::Other);
    }

    #[test]
    fn the_commands_are_those_of_windows() {
        let us = SystemDisk.us();
        assert!(us.contains('\\'), "{us}");
        assert_eq!(
            how_to_make_private(Path::new(r"C:\a b\keyfile")),
            format!(
                r#"`icacls "C:\a b\keyfile" /reset` and then `icacls "C:\a b\keyfile" /inheritance:r /grant:r "{us}:F"`"#
            )
        );
        assert_eq!(
            how_to_give_to(r"HOST\ann", Path::new(r"C:\x\keyfile")),
            r#"`icacls C:\x\keyfile /setowner "HOST\ann"` as an administrator"#
        );
    }
}
