use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::{Disk, Facts, FileVersion, Kind};

/// The file system of a Unix.
pub(crate) struct SystemDisk;

const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;
/// The rights of the group and of everybody else.
const OTHERS: u32 = 0o077;

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
        version: FileVersion {
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        },
    }
}

fn user(uid: u32) -> String {
    format!("uid {uid}")
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}
