//! A runner on Unix: one end of a socket pair, signals, and pipes that the runtime polls.

use std::io;
use std::process::ExitCode;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Wake;
use crate::runner_process::{self, RunnerOptions, exit_code};
use crate::tree::{self, Tree};
use crate::wire::WireError;

pub(crate) type LinkReader = OwnedReadHalf;
pub(crate) type LinkWriter = OwnedWriteHalf;
pub(crate) type InputEnd = pipe::Sender;

/// Runs one command for the agent at the other end of `stream`, and returns when nothing of it is left.
///
/// To be called by a process that does nothing else, on a current-thread runtime with I/O and time enabled: it collects every
/// child, becomes the leader of a session of its own and ends when the agent does. The agent's death, told by the end of the
/// stream, kills the whole tree. SIGTERM, SIGINT and SIGHUP end it with the command's grace.
///
/// The result is success where nothing is left, whatever the command's own status was.
pub async fn run_runner(stream: std::os::unix::net::UnixStream, options: &RunnerOptions) -> ExitCode {
    exit_code(serve(stream, options).await)
}

async fn serve(stream: std::os::unix::net::UnixStream, options: &RunnerOptions) -> Result<bool, WireError> {
    // Refused to a process that leads a session already, which is what it is for.
    let _leads = rustix::process::setsid();
    // The command's environment and input pass through this memory: no core dump, no debugger of the same user.
    #[cfg(target_os = "linux")]
    let _best_effort = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    // A runner that its task has stopped would not see the agent die. Told whenever the thread that started this process
    // ends, which may be earlier: it must be a signal that does nothing to a process that runs.
    #[cfg(target_os = "linux")]
    let _best_effort = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::CONT));
    tree::become_subreaper()?;
    stream.set_nonblocking(true)?;
    let (reader, writer) = UnixStream::from_std(stream)?.into_split();
    // Before the command starts, so that its end cannot be missed.
    let wakes = Wakes::new()?;
    let uid = rustix::process::geteuid().as_raw();
    runner_process::serve(reader, writer, wakes, uid, options).await
}

/// Signals.
pub(crate) struct Wakes {
    child: Signal,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Wakes {
    fn new() -> io::Result<Self> {
        Ok(Self {
            child: signal(SignalKind::child())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one. Cancel-safe.
    pub(crate) async fn next(&mut self, _: &mut Tree) -> Wake {
        tokio::select! {
            _ = self.child.recv() => Wake::TreeChanged,
            _ = self.terminate.recv() => Wake::AskedToEnd,
            _ = self.interrupt.recv() => Wake::AskedToEnd,
            _ = self.hangup.recv() => Wake::AskedToEnd,
        }
    }
}

/// The reading end of a pipe of the command.
pub(crate) struct OutputEnd(pipe::Receiver);

impl OutputEnd {
    pub(crate) fn new(end: pipe::Receiver) -> Self {
        Self(end)
    }

    /// Reads a piece; 0 at the end of the pipe. Cancel-safe.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).await
    }

    /// Reads a piece that is there already, after the last writer's end; 0 when there is none.
    pub(crate) async fn read_rest(&mut self, buffer: &mut [u8]) -> usize {
        // Past the runtime, whose idea of what is readable may be older than the last writer's end.
        rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut *buffer)).unwrap_or(0)
    }
}
