//! Files and folders that are their owner's alone. On Windows they get the access list of the folder that they are made in.

use std::fs::{DirBuilder, OpenOptions};

/// Options that make a new file private.
pub(crate) fn private_file() -> OpenOptions {
    #[allow(unused_mut, reason = "changed on Unix alone")]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A builder that makes a new folder private.
pub(crate) fn private_folder() -> DirBuilder {
    #[allow(unused_mut, reason = "changed on Unix alone")]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}
