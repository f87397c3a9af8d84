//! What an executor is given and what it gives back.

use std::path::PathBuf;
use std::time::Duration;

use askalf_proto::{Cause, Credentials, Executor as ExecutorKind, OutputStream};
use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

/// Runs tasks of one kind. The driver calls [`Executor::run`] once per accepted execution.
#[async_trait]
pub trait Executor: Send + Sync {
    /// The kind of task that it runs.
    fn kind(&self) -> ExecutorKind;

    /// Whether what it runs is there; an executor that is not is neither announced nor chosen. Looks at the disk: the driver
    /// asks on a thread that may block.
    fn is_installed(&self) -> bool {
        true
    }

    /// Runs the task to its end, whatever that is: failures are ends too.
    ///
    /// Not cancel-safe: the driver never drops the future of a running task; it raises `cancel` and waits.
    async fn run(&self, task: Task, output: TaskOutput, cancel: CancelSignal) -> TaskEnd;
}

/// A task as the executor sees it.
#[derive(Debug, Clone)]
pub struct Task {
    /// The execution.
    pub execution_id: String,
    /// The agent of the bridge's side in whose name it runs: its id.
    pub agent_id: Option<String>,
    /// That agent's name.
    pub agent_name: Option<String>,
    /// What to do: for the shell, the command line.
    pub input: String,
    /// A program and its arguments that run instead of the input, without a shell. It never comes from the bridge: the
    /// device's own policy sets it, where the input is the name of a command there.
    pub named_command: Option<Vec<String>>,
    /// Longest run.
    pub timeout: Duration,
    /// Folder to run in; the executor's default where none is named.
    pub working_directory: Option<PathBuf>,
    /// Secret material for the program, where it needs some.
    pub credentials: Option<Credentials>,
    /// Most turns of a model.
    pub max_turns: Option<u32>,
    /// Most cost of a model, in US dollars.
    pub max_budget: Option<f64>,
}

/// How a task ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskEnd {
    /// How it came to its end. [`Cause::Exit`] with status 0 is the only success.
    pub cause: Option<Cause>,
    /// Exit status, where it exited.
    pub exit_code: Option<i32>,
    /// Signal number, where a signal ended it.
    pub signal: Option<i32>,
    /// What it wrote, standard output and standard error in the order they were read, cut in the middle where
    /// it exceeded the cap.
    pub output: String,
    /// What went wrong, for a person; `None` on success.
    pub error: Option<String>,
    /// Cost in US dollars.
    pub cost: f64,
    /// Turns of a model.
    pub turns: u32,
    /// Tokens read by a model.
    pub input_tokens: u64,
    /// Tokens written by a model.
    pub output_tokens: u64,
    /// How long it ran.
    pub duration: Duration,
}

impl TaskEnd {
    /// Whether the task exited with status 0.
    pub fn succeeded(&self) -> bool {
        self.cause == Some(Cause::Exit) && self.exit_code == Some(0)
    }
}

/// The way of a running task's output to the bridge. Its queue is bounded: a writer waits while the connection is
/// slower than the task, and so does the task's pipe.
#[derive(Debug, Clone)]
pub struct TaskOutput {
    execution_id: String,
    sender: mpsc::Sender<OutputChunk>,
}

/// A piece of a task's output on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputChunk {
    /// The execution.
    pub execution_id: String,
    /// The stream it was written to.
    pub stream: OutputStream,
    /// The text, whole characters only.
    pub text: String,
}

impl TaskOutput {
    /// A way for the output of one execution into a bounded queue.
    pub fn new(execution_id: impl Into<String>, sender: mpsc::Sender<OutputChunk>) -> Self {
        Self {
            execution_id: execution_id.into(),
            sender,
        }
    }

    /// Passes on a piece of output, waiting for room. Nobody may be listening any more: then it is dropped, and
    /// the task's result still carries it.
    ///
    /// Cancel-safe: a piece is passed on whole or not at all.
    pub async fn send(&self, stream: OutputStream, text: String) {
        let chunk = OutputChunk {
            execution_id: self.execution_id.clone(),
            stream,
            text,
        };
        let _nobody_listens = self.sender.send(chunk).await;
    }
}

/// Says that a task should end.
#[derive(Debug, Clone)]
pub struct CancelSignal(watch::Receiver<bool>);

/// Raises a [`CancelSignal`].
#[derive(Debug)]
pub struct CancelHandle(watch::Sender<bool>);

impl CancelHandle {
    /// A handle and its signal.
    pub fn new() -> (Self, CancelSignal) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), CancelSignal(receiver))
    }

    /// Raises the signal; again is harmless.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl CancelSignal {
    /// Waits until the signal is raised. Where the handle is dropped without raising it, waits for ever.
    ///
    /// Cancel-safe.
    pub async fn cancelled(&mut self) {
        if self.0.wait_for(|raised| *raised).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
