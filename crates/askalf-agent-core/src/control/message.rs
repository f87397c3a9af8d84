//! What is asked over the control socket, and what is answered.

use serde::{Deserialize, Serialize};

use crate::{AgentStatus, PendingApproval};

/// What may be asked: `{"request":"status"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// How the agent is.
    Status,
    /// End what runs, report it, leave.
    Stop,
    /// The credential may have changed: look at once.
    Reload,
    /// Which tasks wait for an approval.
    Approvals,
    /// One of them, with its whole input.
    Approval {
        /// The execution.
        execution: String,
    },
    /// Let it run, or refuse it. Not everybody who may ask may do that: see [`ControlOptions`](super::ControlOptions).
    Decide {
        /// The execution.
        execution: String,
        /// It may run.
        approve: bool,
    },
}

/// What is answered.
///
/// ```
/// use askalf_agent_core::control::{Answer, Request};
///
/// assert_eq!(serde_json::to_string(&Request::Stop)?, r#"{"request":"stop"}"#);
/// assert_eq!(serde_json::to_string(&Answer::Done)?, r#"{"answer":"done"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<AgentStatus>),
    /// To [`Request::Approvals`], the oldest first, each with the beginning of its texts alone.
    Approvals {
        /// What waits.
        approvals: Vec<PendingApproval>,
    },
    /// To [`Request::Approval`].
    Approval(Box<PendingApproval>),
    /// It is under way.
    Done,
    /// It is not done.
    Refused(Refusal),
}

/// Why a request is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable name of the reason.
    pub id: String,
    /// What is wrong, for a person.
    pub problem: String,
    /// What to do next, for a person.
    pub hint: String,
}

impl Refusal {
    pub(super) fn new(id: &str, problem: &str, hint: &str) -> Self {
        Self {
            id: id.to_owned(),
            problem: problem.to_owned(),
            hint: hint.to_owned(),
        }
    }
}
