//! Runners behind a socket, which run as another user than the agent.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use askalf_agent_core::{CommandSpec, Runner, RunnerError, RunningCommand};
use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::plain_io;
use crate::runner_link::Link;
use crate::running::{ANSWER_PATIENCE, Running, no_answer};
use crate::task_limits::TaskLimits;
use crate::wire;

/// Pause between two tries where more connections wait than the system queues.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);

/// Where runners are, and who they have to be.
#[derive(Debug, Clone)]
pub struct SocketRunnerOptions {
    /// The socket. A service manager listens on it, root or this process's user, and starts a runner for each connection, with
    /// the connection as its standard input.
    pub socket: PathBuf,
    /// Name of the user that they run as, for messages.
    pub user: String,
    /// That user's number. A runner of any other user gets nothing.
    pub uid: u32,
    /// What each command may use.
    pub limits: TaskLimits,
}

/// Hands each command to a runner of its own behind a socket. The runner calls [`run_runner`](crate::run_runner) as it does
/// under a [`ProcessRunner`](crate::ProcessRunner), and ends its command's tree when the connection ends.
///
/// Where the socket is not there, refuses, or leads to a runner of the wrong user, the start fails with
/// [`RunnerError::Unreachable`]: no command ever runs as this process's own user instead. What a runner leaves behind that was
/// killed itself is for the service manager to end.
#[derive(Debug, Clone)]
pub struct SocketRunner {
    options: SocketRunnerOptions,
}

impl SocketRunner {
    /// Runners behind this socket. Nothing is connected before the first command.
    pub fn new(options: SocketRunnerOptions) -> Self {
        Self { options }
    }

    async fn connect(&self) -> Result<Link, RunnerError> {
        let unreachable = |error: &io::Error| self.unreachable("cannot be reached", &plain_io::text(error));
        let stream = loop {
            match UnixStream::connect(&self.options.socket).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_PAUSE).await,
                connected => break connected.map_err(|error| unreachable(&error))?,
            }
        };
        let listener = stream.peer_cred().map_err(|error| unreachable(&error))?.uid();
        if listener != 0 && listener != rustix::process::geteuid().as_raw() {
            let why = format!("user {listener} listens there, neither root nor the agent's own");
            return Err(self.unreachable("is not to be trusted", &why));
        }
        let (reader, writer) = stream.into_split();
        Ok(Link { reader, writer })
    }

    async fn start_unhurried(&self, command: &CommandSpec, start: &[u8]) -> Result<Running, RunnerError> {
        let took_none = |why: &dyn ToString| self.unreachable("gave no runner", &why.to_string());
        let mut running = Running::new(self.connect().await?, None, command);
        let ready = running.greeting().await.map_err(|error| took_none(&error))?;
        if ready.uid != self.options.uid {
            let why = format!("the one that answered is user {}'s", ready.uid);
            return Err(self.unreachable("gave the wrong runner", &why));
        }
        running
            .hand_over(start)
            .await
            .map_err(|error| took_none(&error))?;
        Ok(running)
    }

    fn unreachable(&self, what: &str, why: &str) -> RunnerError {
        RunnerError::Unreachable(format!(
            "tasks run as {} through {}, which {what}: {why}",
            self.options.user,
            self.options.socket.display()
        ))
    }
}

#[async_trait]
impl Runner for SocketRunner {
    async fn start(&self, command: CommandSpec) -> Result<Box<dyn RunningCommand>, RunnerError> {
        let body = wire::encode_start(&command, &self.options.limits)
            .map_err(|error| RunnerError::Command(error.to_string()))?;
        match timeout(ANSWER_PATIENCE, self.start_unhurried(&command, &body)).await {
            Ok(started) => Ok(Box::new(started?)),
            Err(_) => Err(self.unreachable("gave no runner", &no_answer())),
        }
    }
}
