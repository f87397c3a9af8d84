//! The seam between executors and processes: executors see a [`Runner`], never a child.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use askalf_proto::OutputStream;
use async_trait::async_trait;
use bytes::Bytes;

/// Starts commands in a place that owns their whole process tree.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Starts the command.
    ///
    /// # Errors
    /// [`RunnerError`] where the runner itself cannot be started or reached. A program that does not exist is not one:
    /// it ends with [`Ended::NotStarted`].
    async fn start(&self, command: CommandSpec) -> Result<Box<dyn RunningCommand>, RunnerError>;
}

/// A command that runs. Dropping it ends its whole tree.
#[async_trait]
pub trait RunningCommand: Send {
    /// What happens next. After [`RunnerEvent::Ended`] the command is gone with everything it started.
    ///
    /// Cancel-safe.
    async fn next(&mut self) -> RunnerEvent;

    /// Asks the tree to end: SIGTERM, and SIGKILL after the grace of its [`CommandSpec`].
    async fn terminate(&mut self);
}

/// A command for a runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSpec {
    /// Program, looked up in the `PATH` of `environment`.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment; nothing is inherited.
    pub environment: Vec<(OsString, OsString)>,
    /// Folder to run in.
    pub working_directory: PathBuf,
    /// What its standard input yields before end of file.
    pub standard_input: Bytes,
    /// Longest run; the runner ends the tree by itself then.
    pub timeout: Duration,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// A folder with a secret, where the runner is the one that can hand it over: it runs as another user than its agent.
    pub private_folder: Option<PrivateFolder>,
}

/// A folder with a secret for one command. The runner makes it before it starts the command, for its own user alone, and
/// removes it when nothing of the command is left.
///
/// ```
/// let folder = askalf_agent_core::PrivateFolder {
///     variable: "CLAUDE_CONFIG_DIR".into(),
///     file: ".credentials.json".into(),
///     content: "secret".into(),
///     take_along: None,
/// };
/// assert!(!format!("{folder:?}").contains("secret"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateFolder {
    /// The variable that names the folder to the command.
    pub variable: String,
    /// Name of the file with the secret in it.
    pub file: String,
    /// The secret.
    pub content: Bytes,
    /// A file of the command's user that is copied beside it, where there is one.
    pub take_along: Option<PathBuf>,
}

/// Without the secret.
impl fmt::Debug for PrivateFolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PrivateFolder")
            .field("variable", &self.variable)
            .field("file", &self.file)
            .field("take_along", &self.take_along)
            .finish_non_exhaustive()
    }
}

/// News of a running command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunnerEvent {
    /// It wrote something.
    Output(OutputStream, Bytes),
    /// It has ended, and nothing of its tree is left.
    Ended(Ended),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It exited, or a signal ended it.
    Exited {
        /// Its status or signal.
        status: ExitStatus,
        /// It had exceeded its time and was ended for it.
        timed_out: bool,
        /// It was asked to end by [`RunningCommand::terminate`].
        terminated: bool,
    },
    /// It could not be started; the text says why, for a person.
    NotStarted(String),
    /// The runner died before it could tell. Whatever it left behind was ended.
    RunnerLost,
}

/// Status of a process that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Why no runner could take the command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunnerError {
    /// The runner process could not be started.
    #[error("the task runner could not be started: {0}")]
    Spawn(String),
    /// Runners are reached by a socket, and none is behind it that may take a task.
    #[error("{0}; nothing was run")]
    Unreachable(String),
    /// The runner process is there but cannot be talked to.
    #[error("the task runner did not answer: {0}")]
    Socket(String),
    /// The command cannot be told to a runner, for example because its input is too large.
    #[error("the command cannot be handed to the task runner: {0}")]
    Command(String),
}

impl RunnerError {
    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Spawn(_) => "runner-spawn",
            Self::Unreachable(_) => "runner-unreachable",
            Self::Socket(_) => "runner-socket",
            Self::Command(_) => "runner-command",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Spawn(_) => {
                "check process limits and memory of the device, and that the agent's binary was not removed"
            }
            Self::Unreachable(_) => {
                "look at the unit that serves the socket, 'systemctl status askalf-task.socket'; 'askalf-agent install-service' \
                 writes it anew"
            }
            Self::Socket(_) => "try again; if it stays, restart the agent",
            Self::Command(_) => "shorten the task's input",
        }
    }
}
