//! The command line's end of the control socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::{Answer, LineError, Refusal, Request, read_line, transport, write_line};
use crate::{AgentStatus, PendingApproval};

/// Why the agent's daemon gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens on the socket.
    #[error("no agent runs here")]
    NotRunning,
    /// The socket may not be used by this user.
    #[error("the agent's control socket may not be used by this user")]
    NotPermitted,
    /// The agent took the connection, but did not answer in time.
    #[error("the agent did not answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
    /// The socket failed; the text says how.
    #[error("the agent's control socket failed: {0}")]
    Io(String),
    /// What came back is no answer.
    #[error("the answer of the agent is not understood")]
    NotUnderstood,
    /// The agent refused.
    #[error("{}", .0.problem)]
    Refused(Refusal),
}

/// What who may not speak is told.
pub(super) const RUN_AS_THE_AGENT: &str = if cfg!(windows) {
    "run the command as the agent's user, or as an administrator"
} else {
    "run the command as the agent's user, or as root"
};

impl ControlError {
    /// Stable name of the error.
    pub fn id(&self) -> &str {
        match self {
            Self::NotRunning => "agent-not-running",
            Self::NotPermitted => "control-not-permitted",
            Self::NoAnswer(_) => "control-no-answer",
            Self::Io(_) => "control-io",
            Self::NotUnderstood => "control-not-understood",
            Self::Refused(refusal) => &refusal.id,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &str {
        match self {
            Self::NotRunning => "start it with 'askalf-agent daemon'",
            Self::NotPermitted => RUN_AS_THE_AGENT,
            Self::NoAnswer(_) => "try again; if it stays, restart the agent",
            Self::Io(_) => "check owner and mode of the agent's home",
            Self::NotUnderstood => "use the command of the same version as the running agent",
            Self::Refused(refusal) => &refusal.hint,
        }
    }
}

/// How the running agent is.
///
/// # Errors
/// [`ControlError`].
pub async fn status(socket: &Path, patience: Duration) -> Result<AgentStatus, ControlError> {
    match request(socket, Request::Status, patience).await? {
        Answer::Status(status) => Ok(*status),
        _ => Err(ControlError::NotUnderstood),
    }
}

/// Asks the running agent to stop. It answers at once, and ends once what runs has ended.
///
/// # Errors
/// [`ControlError`].
pub async fn stop(socket: &Path, patience: Duration) -> Result<(), ControlError> {
    done(request(socket, Request::Stop, patience).await?)
}

/// Tells the running agent that its credential may have changed.
///
/// # Errors
/// [`ControlError`].
pub async fn reload(socket: &Path, patience: Duration) -> Result<(), ControlError> {
    done(request(socket, Request::Reload, patience).await?)
}

/// The tasks that wait for an approval, the oldest first, each with the beginning of its texts alone.
///
/// # Errors
/// [`ControlError`].
pub async fn approvals(socket: &Path, patience: Duration) -> Result<Vec<PendingApproval>, ControlError> {
    match request(socket, Request::Approvals, patience).await? {
        Answer::Approvals { approvals } => Ok(approvals),
        _ => Err(ControlError::NotUnderstood),
    }
}

/// One task that waits, with its whole input.
///
/// # Errors
/// [`ControlError`].
pub async fn approval(
    socket: &Path,
    execution: &str,
    patience: Duration,
) -> Result<PendingApproval, ControlError> {
    let execution = execution.to_owned();
    match request(socket, Request::Approval { execution }, patience).await? {
        Answer::Approval(approval) => Ok(*approval),
        _ => Err(ControlError::NotUnderstood),
    }
}

/// Lets a task that waits run, or refuses it.
///
/// # Errors
/// [`ControlError`]; refused also where this process may not decide.
pub async fn decide(
    socket: &Path,
    execution: &str,
    approve: bool,
    patience: Duration,
) -> Result<(), ControlError> {
    let execution = execution.to_owned();
    done(request(socket, Request::Decide { execution, approve }, patience).await?)
}

/// Asks anything of the running agent. A refusal is an error.
///
/// # Errors
/// [`ControlError`].
pub async fn request(socket: &Path, request: Request, patience: Duration) -> Result<Answer, ControlError> {
    match timeout(patience, exchange(socket, request)).await {
        Ok(Ok(Answer::Refused(refusal))) => Err(ControlError::Refused(refusal)),
        Ok(outcome) => outcome,
        Err(_) => Err(ControlError::NoAnswer(patience)),
    }
}

async fn exchange(socket: &Path, request: Request) -> Result<Answer, ControlError> {
    let mut stream = transport::connect(socket).await?;
    let line = serde_json::to_vec(&request).map_err(|_| ControlError::NotUnderstood)?;
    // An agent that refuses may close before it has read everything; its answer still stands.
    let sent = write_line(&mut stream, line).await;
    match (read_line(&mut stream).await, sent) {
        (Ok(line), _) => serde_json::from_slice(&line).map_err(|_| ControlError::NotUnderstood),
        // One that stops while it is asked does not run.
        (Err(LineError::Io(error)), _) | (Err(LineError::Missing), Err(error))
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe
            ) =>
        {
            Err(ControlError::NotRunning)
        }
        (Err(LineError::Io(error)), _) | (Err(LineError::Missing), Err(error)) => {
            Err(ControlError::Io(crate::driver::io_text(&error)))
        }
        (Err(LineError::TooLong | LineError::Missing), _) => Err(ControlError::NotUnderstood),
    }
}

fn done(answer: Answer) -> Result<(), ControlError> {
    match answer {
        Answer::Done => Ok(()),
        _ => Err(ControlError::NotUnderstood),
    }
}
