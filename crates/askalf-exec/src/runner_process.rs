//! The runner: a process that starts one command, owns its tree and tells its agent over a socket.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use askalf_agent_core::{CommandSpec, Ended, ExitStatus};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::command::{self, StartedCommand};
use crate::deadline::reached;
use crate::tree::{self, Tree};
use crate::wire::{self, FrameReader, OUTPUT_CHUNK, WireError, kind};

/// How long a tree may take to be gone after SIGKILL before the runner gives up on it and says so. Only what the kernel
/// holds (a dead network file system) or another user's program takes longer than milliseconds.
pub(crate) const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Pauses between two rounds of killing; each round takes what was forked since the one before.
const KILL_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// Runs one command for the agent at the other end of `stream`, and returns when nothing of it is left.
///
/// To be called by a process that does nothing else, on a current-thread runtime with I/O and time enabled: it collects every
/// child, becomes the leader of a session of its own and ends when the agent does. The agent's death, told by the end of the
/// stream, kills the whole tree. SIGTERM, SIGINT and SIGHUP end it with the command's grace.
///
/// The result is success where nothing is left, whatever the command's own status was.
pub async fn run_runner(stream: std::os::unix::net::UnixStream) -> ExitCode {
    match serve(stream).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

/// Whether nothing is left in the end.
async fn serve(stream: std::os::unix::net::UnixStream) -> Result<bool, WireError> {
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
    let (mut reader, mut writer) = UnixStream::from_std(stream)?.into_split();
    // Before the command starts, so that its end cannot be missed.
    let signals = Signals::new()?;

    let mut greeting = BytesMut::new();
    wire::put_frame(&mut greeting, kind::READY, &[wire::VERSION]);
    writer.write_all(&greeting).await?;
    let mut frames = FrameReader::new(wire::MAX_TO_RUNNER);
    let Some(start) = frames.next(&mut reader).await? else {
        return Ok(true);
    };
    if start.kind != kind::START {
        return Err(WireError::Unexpected(start.kind));
    }
    let spec = wire::decode_start(start.body)?;

    match command::start(&spec) {
        Ok(started) => {
            let run = Run::new(
                &spec,
                started,
                Link {
                    reader,
                    writer,
                    frames,
                },
            );
            Ok(run.until_the_end(signals).await)
        }
        Err(why) => {
            let mut last = BytesMut::new();
            wire::put_frame(
                &mut last,
                kind::ENDED,
                &wire::encode_ended(&Ended::NotStarted(why)),
            );
            writer.write_all(&last).await?;
            Ok(true)
        }
    }
}

struct Signals {
    child: Signal,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            child: signal(SignalKind::child())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

struct Link {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    frames: FrameReader,
}

/// Why the tree is being ended while its main process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    TimedOut,
    Terminated,
    /// A signal to the runner itself: the status tells enough.
    Signalled,
}

/// How far the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The main process runs and may go on.
    Running,
    /// Everything was asked to end and is killed at this time.
    Ending { kill_at: Instant },
    /// Everything is being killed.
    Killing {
        next: Instant,
        pause: Duration,
        give_up_at: Instant,
    },
    /// Nothing is left.
    Gone,
    /// Something is left that cannot be ended.
    GivenUp,
}

struct Run {
    tree: Tree,
    main: rustix::process::Pid,
    main_status: Option<ExitStatus>,
    reason: Option<Reason>,
    phase: Phase,
    timeout_at: Option<Instant>,
    grace: Duration,
    link: Link,
    agent_gone: bool,
    outgoing: BytesMut,
    stdin: Option<(pipe::Sender, Bytes)>,
    stdout: Pipe,
    stderr: Pipe,
}

impl Run {
    fn new(spec: &CommandSpec, started: StartedCommand, link: Link) -> Self {
        Self {
            tree: Tree::new(started.main),
            main: started.main,
            main_status: None,
            reason: None,
            phase: Phase::Running,
            timeout_at: Instant::now().checked_add(spec.timeout),
            grace: spec.grace,
            link,
            agent_gone: false,
            outgoing: BytesMut::with_capacity(OUTPUT_CHUNK + 16),
            stdin: started.stdin.map(|pipe| (pipe, spec.standard_input.clone())),
            stdout: Pipe::new(started.stdout),
            stderr: Pipe::new(started.stderr),
        }
    }

    async fn until_the_end(mut self, mut signals: Signals) -> bool {
        while !matches!(self.phase, Phase::Gone | Phase::GivenUp) {
            // Output is read only when the last piece has left: a slow agent slows the command down, and nothing piles up
            // here. Time-outs, signals and the agent's word are heard all the same.
            let may_read = self.outgoing.is_empty() && !self.agent_gone;
            tokio::select! {
                _ = signals.child.recv() => self.collect(),
                _ = signals.terminate.recv() => self.end(Some(Reason::Signalled)),
                _ = signals.interrupt.recv() => self.end(Some(Reason::Signalled)),
                _ = signals.hangup.recv() => self.end(Some(Reason::Signalled)),
                () = reached(self.timeout_at), if self.phase == Phase::Running => self.end(Some(Reason::TimedOut)),
                () = reached(self.phase.wakes_at()) => self.proceed(),
                frame = self.link.frames.next(&mut self.link.reader), if !self.agent_gone => match frame {
                    Ok(Some(frame)) if frame.kind == kind::TERMINATE => self.end(Some(Reason::Terminated)),
                    _ => self.lose_agent(),
                },
                sent = self.link.writer.write(&self.outgoing), if !self.outgoing.is_empty() && !self.agent_gone => {
                    match sent {
                        Ok(sent) => self.outgoing.advance(sent),
                        Err(_) => self.lose_agent(),
                    }
                },
                length = self.stdout.read(), if may_read && self.stdout.is_open() => {
                    wire::put_frame(&mut self.outgoing, kind::STDOUT, &self.stdout.buffer[..length]);
                },
                length = self.stderr.read(), if may_read && self.stderr.is_open() => {
                    wire::put_frame(&mut self.outgoing, kind::STDERR, &self.stderr.buffer[..length]);
                },
                () = feed(&mut self.stdin), if self.stdin.is_some() => {},
            }
        }
        let told = self.tell_the_end().await;
        self.phase == Phase::Gone && (told.is_ok() || self.agent_gone)
    }

    /// Takes note of children that have ended.
    fn collect(&mut self) {
        let reaped = tree::reap();
        if self.main_status.is_none()
            && let Some((_, status)) = reaped.ended.iter().find(|(pid, _)| *pid == self.main)
        {
            self.main_status = Some(*status);
            self.tree.main_was_collected();
        }
        if self.tree.is_gone(reaped.childless) {
            self.phase = Phase::Gone;
        } else if self.main_status.is_some() {
            // What it left running ends with it, asked first like everything else.
            self.end(None);
        }
    }

    /// Asks the tree to end, unless that has happened.
    fn end(&mut self, reason: Option<Reason>) {
        if self.phase != Phase::Running {
            return;
        }
        self.reason = reason;
        self.tree.terminate();
        let now = Instant::now();
        self.phase = match now.checked_add(self.grace) {
            Some(kill_at) => Phase::Ending { kill_at },
            None => Phase::killing(now),
        };
    }

    fn lose_agent(&mut self) {
        self.agent_gone = true;
        self.phase = Phase::killing(Instant::now());
        self.proceed();
    }

    /// Does what its time has come for.
    fn proceed(&mut self) {
        let now = Instant::now();
        match self.phase {
            Phase::Ending { kill_at } if now >= kill_at => self.phase = Phase::killing(now),
            Phase::Killing { .. } => {}
            Phase::Ending { .. } | Phase::Running | Phase::Gone | Phase::GivenUp => return,
        }
        if let Phase::Killing {
            next,
            pause,
            give_up_at,
        } = self.phase
            && now >= next
        {
            self.tree.kill();
            let pause = (pause * 2).min(KILL_PAUSES.1);
            self.phase = Phase::Killing {
                next: now + pause,
                pause,
                give_up_at,
            };
            self.collect();
            if self.phase != Phase::Gone && now >= give_up_at {
                self.phase = Phase::GivenUp;
            }
        }
    }

    /// What is left in the pipes, and the last frame. All writers are gone, so a pipe that yields nothing is empty even
    /// where a stranger holds its other end open.
    async fn tell_the_end(&mut self) -> Result<(), WireError> {
        if self.agent_gone {
            return Ok(());
        }
        let writer = &mut self.link.writer;
        writer.write_all(&self.outgoing).await?;
        for (pipe, kind) in [(&mut self.stdout, kind::STDOUT), (&mut self.stderr, kind::STDERR)] {
            while let Some(length) = pipe.read_rest() {
                self.outgoing.clear();
                wire::put_frame(&mut self.outgoing, kind, &pipe.buffer[..length]);
                writer.write_all(&self.outgoing).await?;
            }
        }
        self.outgoing.clear();
        if self.phase == Phase::GivenUp {
            let pids: Vec<String> = self.tree.survivors().iter().map(i32::to_string).collect();
            let note = format!(
                "\n[could not be ended, since another user's or held by the system: process {}]\n",
                pids.join(", ")
            );
            let note = note.as_bytes();
            wire::put_frame(
                &mut self.outgoing,
                kind::STDERR,
                &note[..note.len().min(OUTPUT_CHUNK)],
            );
        }
        let ended = Ended::Exited {
            status: self
                .main_status
                .unwrap_or(ExitStatus::Signal(rustix::process::Signal::KILL.as_raw())),
            timed_out: self.reason == Some(Reason::TimedOut),
            terminated: self.reason == Some(Reason::Terminated),
        };
        wire::put_frame(&mut self.outgoing, kind::ENDED, &wire::encode_ended(&ended));
        writer.write_all(&self.outgoing).await?;
        Ok(())
    }
}

impl Phase {
    fn killing(now: Instant) -> Self {
        Self::Killing {
            next: now,
            pause: KILL_PAUSES.0,
            give_up_at: now + KILL_PATIENCE,
        }
    }

    fn wakes_at(self) -> Option<Instant> {
        match self {
            Self::Ending { kill_at } => Some(kill_at),
            Self::Killing { next, .. } => Some(next),
            Self::Running | Self::Gone | Self::GivenUp => None,
        }
    }
}

/// Writes a piece of the standard input, and closes it after the last or when nobody reads it.
async fn feed(stdin: &mut Option<(pipe::Sender, Bytes)>) {
    let Some((pipe, rest)) = stdin else {
        return;
    };
    match pipe.write(rest).await {
        Ok(written) if written < rest.len() => rest.advance(written),
        Ok(_) | Err(_) => *stdin = None,
    }
}

/// The reading end of a pipe of the command.
struct Pipe {
    end: Option<pipe::Receiver>,
    buffer: Box<[u8]>,
}

impl Pipe {
    fn new(end: pipe::Receiver) -> Self {
        Self {
            end: Some(end),
            buffer: vec![0; OUTPUT_CHUNK].into_boxed_slice(),
        }
    }

    fn is_open(&self) -> bool {
        self.end.is_some()
    }

    /// Length of the next piece, now in the buffer; does not return at the end of the pipe, which it closes.
    ///
    /// Cancel-safe.
    async fn read(&mut self) -> usize {
        if let Some(end) = &mut self.end {
            match end.read(&mut self.buffer).await {
                Ok(0) | Err(_) => self.end = None,
                Ok(length) => return length,
            }
        }
        std::future::pending().await
    }

    /// Length of the next piece that is there already; `None` when there is none.
    fn read_rest(&mut self) -> Option<usize> {
        // Past the runtime, whose idea of what is readable may be older than the last writer's end.
        let end = self.end.as_ref()?;
        let length = rustix::io::retry_on_intr(|| rustix::io::read(end, &mut *self.buffer));
        length.ok().filter(|length| *length > 0)
    }
}
