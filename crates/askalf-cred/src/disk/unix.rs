use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::{Disk, Facts, FileVersion, Kind};
use crate::io_fault::shell_word;

/// The file system of a Unix.
pub(crate) struct SystemDisk;

const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;
/// The rights of the group and of everybody else.
const OTHERS: u32 = 0o077;
/// The same without the group's right to read, which is also what an access list shows as.
const MORE_THAN_GROUP_READ: u32 = 0o037;

impl Disk for SystemDisk {
    fn us(&self) -> String {
        user(geteuid().as_raw())
    }

    fn facts_at(&self, path: &Path) -> io::Result<Facts> {
        fs::symlink_metadata(path).map(|metadata| facts(&metadata))
    }

    fn facts(&self, file: &File) -> io::Result<Facts> {
        file.metadata().map(|metadata| facts(&metadata))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK))
            .open(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(PRIVATE_FILE)
            .custom_flags(flags(OFlags::NOFOLLOW))
            .open(path)
    }

    fn open_lock(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE_FILE)
            .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK))
            .open(path)
    }

    fn try_lock(&self, file: &File) -> Result<(), TryLockError> {
        file.try_lock()
    }

    fn read(&self, mut file: &File, into: &mut [u8]) -> io::Result<usize> {
        file.read(into)
    }

    fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        file.write(bytes)
    }

    fn rewind(&self, mut file: &File) -> io::Result<()> {
        file.rewind()
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let folder = OpenOptions::new()
            .read(true)
            .custom_flags(flags(OFlags::DIRECTORY))
            .open(path)?;
        match folder.sync_all() {
            // Some network and FUSE file systems have no such call for a folder; they have nothing to sync.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            done => done,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
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
        DirBuilder::new().mode(PRIVATE_FOLDER).create(path)
    }

    fn make_folder_private(&self, path: &Path) -> io::Result<()> {
        fs::set_permissions(path, Permissions::from_mode(PRIVATE_FOLDER))
    }
}

fn facts(metadata: &Metadata) -> Facts {
    let kind = match metadata.file_type() {
        file_type if file_type.is_symlink() => Kind::Symlink,
        file_type if file_type.is_dir() => Kind::Folder,
        file_type if file_type.is_file() => Kind::Regular,
        _ => Kind::Other,
    };
    let permissions = metadata.mode() & 0o7777;
    Facts {
        kind,
        len: metadata.len(),
        foreign_owner: (metadata.uid() != geteuid().as_raw()).then(|| user(metadata.uid())),
        exposed: (permissions & OTHERS != 0).then(|| format!("mode {permissions:04o}")),
        open_to_all: permissions & MORE_THAN_GROUP_READ != 0,
        owned_by_root: metadata.uid() == 0,
        version: FileVersion {
            inode: metadata.ino().into(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        },
    }
}

/// The commands that close a file to all but its owner.
pub(crate) fn how_to_make_private(path: &Path) -> String {
    format!("`chmod 600 {}`", shell_word(path))
}

/// The command that gives a file to `us`, as [`Disk::us`] spells it, and who may run it.
pub(crate) fn how_to_give_to(us: &str, path: &Path) -> String {
    format!(
        "`chown {} {}` as root",
        us.trim_start_matches("uid "),
        shell_word(path)
    )
}

fn user(uid: u32) -> String {
    format!("uid {uid}")
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root can give a file away; for everybody else the root folder is foreign.
    #[test]
    fn the_owner_is_told_when_it_is_not_us() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(SystemDisk.facts_at(&file).unwrap().foreign_owner, None);
        let (foreign, owner) = if std::os::unix::fs::chown(&file, Some(4242), None).is_ok() {
            (file.as_path(), "uid 4242")
        } else {
            (Path::new("/"), "uid 0")
        };
        assert_eq!(
            SystemDisk.facts_at(foreign).unwrap().foreign_owner.as_deref(),
            Some(owner)
        );
    }

    #[test]
    fn any_right_of_others_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        for (mode, told) in [
            (0o600, None),
            (0o700, None),
            (0o601, Some("mode 0601")),
            (0o604, Some("mode 0604")),
            (0o620, Some("mode 0620")),
        ] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_eq!(SystemDisk.facts_at(&file).unwrap().exposed.as_deref(), told);
        }
    }

    #[test]
    fn a_symlink_is_neither_opened_nor_written_through() {
        let scratch = tempfile::tempdir().unwrap();
        let (file, link) = (scratch.path().join("file"), scratch.path().join("link"));
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(SystemDisk.open(&link).is_err());
        assert!(SystemDisk.create(&link).is_err());
        assert!(SystemDisk.open_lock(&link).is_err());
        assert_eq!(SystemDisk.facts_at(&link).unwrap().kind, Kind::Symlink);
    }
}
