//! Files and folders for their owner alone.

use std::fs::{DirBuilder, OpenOptions};

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
