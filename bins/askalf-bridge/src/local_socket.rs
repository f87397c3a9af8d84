//! The socket through which commands reach a running bridge. Unix alone: on Windows commands work while no bridge runs, on the
//! database itself.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{LocalSocket, connect, own_uid, remove};
#[cfg(windows)]
pub(crate) use windows::{LocalSocket, connect, own_uid, remove};
