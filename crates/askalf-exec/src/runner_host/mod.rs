//! What a runner process has of its system: the link to its agent, what wakes it, and its ends of the command's pipes.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

pub use system::run_runner;
pub(crate) use system::{InputEnd, LinkReader, LinkWriter, OutputEnd, Wakes};

/// What a runner wakes for, beside its link, its pipes and its own timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A process of the tree may have ended.
    TreeChanged,
    /// Somebody other than the agent wants the runner to end.
    AskedToEnd,
}
