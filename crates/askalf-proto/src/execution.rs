//! Words that several messages about executions share.

use serde::{Deserialize, Deserializer, Serialize};

use crate::bounded;
use crate::word::words;

/// What runs a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Executor {
    /// The device chooses.
    Auto,
    /// A shell command.
    Shell,
    /// The Claude command line.
    Claude,
    /// The Codex command line.
    Codex,
    /// An executor of a newer or foreign peer.
    Other(String),
}

words! { Executor or Other, pub from_wire:
    Auto = "auto",
    Shell = "shell",
    Claude = "claude",
    Codex = "codex",
}

impl Executor {
    pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let name = bounded::optional_id(deserializer)?;
        Ok(name.as_deref().map(Self::from_wire))
    }
}

/// How an execution came to its end: `cause` of an `execution:failed`, `metadata.cause` in the bridge's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The task exited by itself.
    Exit,
    /// A signal ended the task.
    Signal,
    /// The task ran longer than it may.
    Timeout,
    /// Somebody cancelled it.
    Cancelled,
    /// The device, its runner or its agent went away under it.
    Interrupted,
    /// It waited for its device longer than it may.
    Expired,
    /// The device did not take it.
    Refused,
}

words! { Cause, pub from_wire:
    Exit = "exit",
    Signal = "signal",
    Timeout = "timeout",
    Cancelled = "cancelled",
    Interrupted = "interrupted",
    Expired = "expired",
    Refused = "refused",
}

impl Cause {
    pub(crate) fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let cause = bounded::optional_id(deserializer)?;
        Ok(cause.as_deref().and_then(Self::from_wire))
    }
}

/// The stream that a piece of output was written to: `progressType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl OutputStream {
    /// The word as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// An execution that a device holds when it registers ([`Feature::Resume`](crate::Feature::Resume)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldExecution {
    /// The execution.
    #[serde(deserialize_with = "bounded::id")]
    pub execution_id: String,
    /// How far it is.
    pub state: HeldState,
}

/// How far a device is with an execution that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeldState {
    /// It waits for a free place.
    Queued,
    /// It runs.
    Running,
    /// It has ended, and its result was not acknowledged yet.
    Ended,
}
