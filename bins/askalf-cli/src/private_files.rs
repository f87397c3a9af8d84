//! Files and folders for their owner alone.

use std::fs::{DirBuilder, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// Options that make a new file readable and writable by its owner alone. On Windows it gets the access list of its folder.
pub fn private_file() -> OpenOptions {
    #[allow(unused_mut, reason = "changed on Unix alone")]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A builder of folders, and of those above them, for their owner alone. On Windows a new one gets the access list of the one
/// above.
pub fn private_folder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Who owns a file, by user id. `None` on Windows, where access lists are not looked at here.
pub fn owner(facts: &Metadata) -> Option<u32> {
    #[cfg(unix)]
    return Some(std::os::unix::fs::MetadataExt::uid(facts));
    #[cfg(not(unix))]
    {
        let _ = facts;
        None
    }
}

/// The permission bits of a file: `0o600` and the like. `None` on Windows, where access lists are not looked at here.
pub fn permission_bits(facts: &Metadata) -> Option<u32> {
    #[cfg(unix)]
    return Some(std::os::unix::fs::MetadataExt::mode(facts) & 0o7777);
    #[cfg(not(unix))]
    {
        let _ = facts;
        None
    }
}

/// Makes what happened to names in the folder of `path` last. Windows has no call for that: its file system keeps the order.
///
/// # Errors
/// The system's.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}
