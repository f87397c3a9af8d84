//! Words that several messages about executions share.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

impl Executor {
    /// The executor as it stands on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Auto => "auto",
            Self::Shell => "shell",
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Other(name) => name,
        }
    }

    /// The executor that a word stands for.
    pub fn from_wire(name: &str) -> Self {
        match name {
            "auto" => Self::Auto,
            "shell" => Self::Shell,
            "claude" => Self::Claude,
            "codex" => Self::Codex,
            other => Self::Other(other.to_owned()),
        }
    }

    pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        Ok(crate::bounded::optional_id(deserializer)?.map(|name| Self::from_wire(&name)))
    }
}

impl fmt::Display for Executor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for Executor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
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

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::Exit,
        Self::Signal,
        Self::Timeout,
        Self::Cancelled,
        Self::Interrupted,
        Self::Expired,
        Self::Refused,
    ];

    /// The cause as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Signal => "signal",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Expired => "expired",
            Self::Refused => "refused",
        }
    }

    /// The cause that a word stands for, if it is one we know.
    pub fn from_wire(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == word)
    }

    pub(crate) fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        Ok(crate::bounded::optional_id(deserializer)?
            .as_deref()
            .and_then(Self::from_wire))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The stream that a piece of output was written to: `progressType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl OutputStream {
    /// The stream as it stands on the wire.
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
    #[serde(deserialize_with = "crate::bounded::id")]
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
