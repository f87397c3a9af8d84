//! Files that were open before this process began.

#![allow(
    unsafe_code,
    reason = "no maintained crate has a safe call for a descriptor of which only the number is known; the block says why it is \
              sound"
)]

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// Lists what this process has open. On Linux the same as `/dev/fd`, which small containers do not have.
const OPEN_FILES: &str = if cfg!(target_os = "linux") {
    "/proc/self/fd"
} else {
    "/dev/fd"
};

/// Standard input, output and error have their own ways.
const FIRST: RawFd = 3;

/// Keeps every file from what this process starts, but for standard input, output and error. Whoever started the agent may have left
/// one open to it that tasks have no business with, such as the one that a passphrase was read from.
///
/// To be called while the process has a single thread.
///
/// # Errors
/// The system's: then what is started would get them.
pub fn keep_inherited_files() -> io::Result<()> {
    for entry in fs::read_dir(OPEN_FILES)? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(number) = number.filter(|number| *number >= FIRST) {
            // SAFETY: the number was listed as open just now, that of the listing itself included, and the one thread of this
            // process closes nothing before the call returns.
            let file = unsafe { BorrowedFd::borrow_raw(number) };
            fcntl_setfd(file, FdFlags::CLOEXEC)?;
        }
    }
    Ok(())
}
