//! Why a journal did not do what it should.

use std::path::PathBuf;

/// The journal could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The disk is full, or the journal has reached its own bound.
    #[error("there is no room for the execution journal {}", .path.display())]
    Full {
        /// The journal.
        path: PathBuf,
    },
    /// The journal, or its folder, cannot be written.
    #[error("the execution journal {} cannot be opened for writing", .path.display())]
    NotWritable {
        /// The journal.
        path: PathBuf,
    },
    /// Another process uses the journal.
    #[error("another process uses the execution journal {}", .path.display())]
    Busy {
        /// The journal.
        path: PathBuf,
    },
    /// A read, write or flush failed.
    #[error("the disk fails under the execution journal {}: {detail}", .path.display())]
    Io {
        /// The journal.
        path: PathBuf,
        /// What failed.
        detail: String,
    },
    /// The journal does not hold what it should, and was moved aside.
    #[error("the execution journal was damaged; it is kept as {}", .kept.display())]
    Damaged {
        /// Where it is now.
        kept: PathBuf,
    },
    /// The journal was removed, or replaced, while the agent ran.
    #[error("the execution journal {} was removed while the agent ran", .path.display())]
    Removed {
        /// Where it was.
        path: PathBuf,
    },
    /// The code of the journal failed.
    #[error("the execution journal failed within the agent")]
    Failed,
}

impl JournalError {
    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Full { .. } => "journal-full",
            Self::NotWritable { .. } => "journal-not-writable",
            Self::Busy { .. } => "journal-busy",
            Self::Io { .. } => "journal-io",
            Self::Damaged { .. } => "journal-damaged",
            Self::Removed { .. } => "journal-removed",
            Self::Failed => "journal-failed",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Full { .. } => {
                "make room on the disk: the agent takes no new tasks until then, and loses no result"
            }
            Self::NotWritable { .. } => {
                "check owner and mode of the agent's state folder, and that its disk is mounted for writing"
            }
            Self::Busy { .. } => "see what else has the file open; no other program needs it",
            Self::Io { .. } => "check the disk; see 'askalf-agent recovery' for what the journal holds",
            Self::Damaged { .. } => "check the disk; the bridge ends what the journal held as interrupted",
            Self::Removed { .. } => "nothing to do: the agent writes it anew",
            Self::Failed => "see the agent's log, and restart the agent",
        }
    }

    /// Whether the next commit begins a fresh journal, so that everything that is held must be recorded again.
    pub fn starts_anew(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Removed { .. })
    }
}
