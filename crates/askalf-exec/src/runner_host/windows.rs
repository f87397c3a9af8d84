//! A runner on Windows: its standard input and output are the link to the agent, and its console is its own.
//!
//! Pipes of Windows that have no name cannot be polled: each read and write under way holds a thread of the runtime, and an
//! answer that nobody waited for is kept for the next read.

use std::fs::File;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};
use tokio::time::timeout;

use super::Wake;
use crate::runner_process::{self, RunnerOptions, exit_code};
use crate::tree::Tree;
use crate::windows_calls;
use crate::wire::WireError;

pub(crate) type LinkReader = tokio::fs::File;
pub(crate) type LinkWriter = tokio::fs::File;
pub(crate) type InputEnd = ChildStdin;

/// How long a pipe may yield nothing before it is held to be empty, once all its writers of the tree are gone. Its end comes
/// at once, unless a stranger holds its other end open.
const REST_PATIENCE: Duration = Duration::from_secs(1);

/// Runs one command for the agent at the other ends of two pipes, and returns when nothing of it is left.
///
/// To be called by a process that does nothing else, with its own standard input and output, on a current-thread runtime with
/// I/O and time enabled. The agent's death, told by the end of `from_agent`, ends the whole tree. Ctrl-C, Ctrl-Break, the
/// close of the console and the system's shutdown end it with the command's grace. A read may stay under way: the runtime must
/// be shut down without waiting for it.
///
/// The result is success where nothing is left, whatever the command's own status was.
pub async fn run_runner(from_agent: File, to_agent: File, options: &RunnerOptions) -> ExitCode {
    exit_code(serve(from_agent, to_agent, options).await)
}

async fn serve(from_agent: File, to_agent: File, options: &RunnerOptions) -> Result<bool, WireError> {
    windows_calls::keep_standard_handles()?;
    // A runner without a console has no output that could be garbled.
    let _best_effort = windows_calls::speak_utf8();
    let wakes = Wakes::new()?;
    let (reader, writer) = (from_agent.into(), to_agent.into());
    runner_process::serve(reader, writer, wakes, 0, options).await
}

/// Events of the console.
pub(crate) struct Wakes {
    interrupt: CtrlC,
    stop: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl Wakes {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: ctrl_c()?,
            stop: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    /// Waits for the next one, or for the tree. Cancel-safe.
    pub(crate) async fn next(&mut self, tree: &mut Tree) -> Wake {
        tokio::select! {
            () = tree.changed() => Wake::TreeChanged,
            _ = self.interrupt.recv() => Wake::AskedToEnd,
            _ = self.stop.recv() => Wake::AskedToEnd,
            _ = self.close.recv() => Wake::AskedToEnd,
            _ = self.shutdown.recv() => Wake::AskedToEnd,
        }
    }
}

/// The reading end of a pipe of the command.
pub(crate) enum OutputEnd {
    Stdout(ChildStdout),
    Stderr(ChildStderr),
}

impl OutputEnd {
    pub(crate) fn stdout(end: ChildStdout) -> Self {
        Self::Stdout(end)
    }

    pub(crate) fn stderr(end: ChildStderr) -> Self {
        Self::Stderr(end)
    }

    /// Reads a piece; 0 at the end of the pipe. Cancel-safe.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(end) => end.read(buffer).await,
            Self::Stderr(end) => end.read(buffer).await,
        }
    }

    /// Reads a piece that is there already, after the last writer's end; 0 when there is none.
    pub(crate) async fn read_rest(&mut self, buffer: &mut [u8]) -> usize {
        match timeout(REST_PATIENCE, self.read(buffer)).await {
            Ok(Ok(length)) => length,
            Ok(Err(_)) | Err(_) => 0,
        }
    }
}
