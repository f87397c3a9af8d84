//! The agent's ends of the link to a runner process.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{Reader, Writer, spawn_linked};
#[cfg(windows)]
pub(crate) use windows::{Reader, Writer, spawn_linked};

/// The agent's ends.
pub(crate) struct Link {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}
