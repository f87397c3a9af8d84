//! What the device must not forget: executions that it accepted, results that the bridge has not recorded yet, and
//! what has ended, so that nothing runs twice.
//!
//! The [`machine`](crate::machine) asks for a record and waits for its commit; the driver batches what it asks for and
//! hands it to a [`Journal`], on a thread that may block.

mod ended_id;
mod error;
mod file;
#[cfg(test)]
pub(crate) mod memory;

pub use ended_id::EndedId;
pub use error::JournalError;
pub use file::JournalFile;

use std::path::PathBuf;
use std::sync::Arc;

/// Ended executions that are remembered, so that a repeated dispatch does not run again.
pub const REMEMBERED: usize = 4096;

/// Keeps [`Record`]s from one process to the next.
///
/// The methods are called on a thread that may block, one at a time, and `load` before `commit`. Times are
/// milliseconds since the Unix epoch.
///
/// Records are idempotent: after a failed [`Journal::commit`], of which nobody knows how far it came, the same ones are
/// handed over again.
pub trait Journal: Send + Sync {
    /// What an earlier process left. A journal that does not exist yet holds nothing; it is made by the first commit.
    /// One that is damaged is moved aside, and [`Held`] says so.
    ///
    /// # Errors
    /// [`JournalError`], where nobody can say what is held. The agent then connects nowhere, and asks again later.
    fn load(&self, now_ms: u64) -> Result<Held, JournalError>;

    /// Puts records in place, all of them or none, so that neither the end of the process nor of the power undoes it. No records
    /// at all are a question: whether the journal could take some.
    ///
    /// # Errors
    /// [`JournalError`]; where [`JournalError::starts_anew`], everything that is held must be recorded again.
    fn commit(&self, records: &[Record], now_ms: u64) -> Result<Committed, JournalError>;
}

/// Something to put on record. It never holds a task's input or credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The device has taken the execution.
    Accepted {
        /// The execution.
        execution_id: String,
        /// The word of what is to run it.
        executor: String,
    },
    /// The execution has ended.
    Ended {
        /// The execution.
        execution_id: String,
        /// The frame that reports it.
        frame: Arc<str>,
    },
    /// The bridge cannot take the frame that reports the execution: it is kept apart.
    Quarantined {
        /// The execution.
        execution_id: String,
        /// What is to be sent in its place, if anything.
        replacement: Option<Arc<str>>,
    },
    /// The bridge has the result: only that it ended is kept.
    Delivered {
        /// The execution.
        execution_id: String,
    },
    /// An execution has ended, whose id is not at hand any more.
    Remembered(EndedId),
}

/// What an earlier process left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Executions that were accepted and did not end: the earlier process died with them. In the order of their
    /// acceptance.
    pub accepted: Vec<Accepted>,
    /// Results that the bridge has not acknowledged, in the order in which they ended.
    pub results: Vec<HeldResult>,
    /// Executions that have ended, the newest [`REMEMBERED`], the oldest first.
    pub ended: Vec<EndedId>,
    /// Frames in quarantine.
    pub quarantined: usize,
    /// Where a journal that could not be read is kept, since now or since the day before: what it held is not known.
    pub moved_aside: Option<PathBuf>,
}

/// An execution that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The execution.
    pub execution_id: String,
    /// The word of what was to run it.
    pub executor: String,
}

/// A result that waits for the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldResult {
    /// The execution.
    pub execution_id: String,
    /// The frame that reports it.
    pub frame: Arc<str>,
}

/// What a commit left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Frames in quarantine.
    pub quarantined: usize,
}
