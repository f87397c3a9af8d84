use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_DELETE_PENDING, ERROR_LOCK_VIOLATION, ERROR_SHARING_VIOLATION, GENERIC_READ,
    GENERIC_WRITE,
};
use windows_sys::Win32::Storage::FileSystem::{
    CREATE_NEW, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT, FILE_FLAG_BACKUP_SEMANTICS,
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_READ_ATTRIBUTES, OPEN_ALWAYS, READ_CONTROL, WRITE_DAC,
};

use super::{Disk, Facts, FileVersion, Kind};
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
                .open(path)?;
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
        file.sync_all()
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
        kind: kind(file, &metadata),
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
fn kind(file: &File, metadata: &Metadata) -> Kind {
    let has = |attribute: u32| metadata.file_attributes() & attribute != 0;
    match () {
        () if !system::is_on_a_disk(file) => Kind::Other,
        () if has(FILE_ATTRIBUTE_REPARSE_POINT) => Kind::Symlink,
        () if has(FILE_ATTRIBUTE_DIRECTORY) => Kind::Folder,
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

/// Another program holds the file open in a way that excludes ours.
const HELD: &[u32] = &[ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION];
/// The same, and what the system also answers where a file that is to go or to be replaced is open, or is about to go.
const IN_USE: &[u32] = &[
    ERROR_SHARING_VIOLATION,
    ERROR_LOCK_VIOLATION,
    ERROR_ACCESS_DENIED,
    ERROR_DELETE_PENDING,
];

fn patiently<T>(passing: &[u32], mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
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
