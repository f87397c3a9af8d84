//! The runner: a process that starts one command, owns its tree and tells its agent over a link.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use askalf_agent_core::{CommandSpec, Ended, ExitStatus};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::command::{self, StartedCommand};
use crate::credential_folder::{CredentialFolder, SecretFile};
use crate::deadline::reached;
use crate::runner_host::{InputEnd, LinkReader, LinkWriter, OutputEnd, Wake, Wakes};
use crate::tree::{KILLED, Tree};
use crate::wire::{self, FrameReader, OUTPUT_CHUNK, Ready, WireError, kind};

/// How long a tree may take to be gone after SIGKILL before the runner gives up on it and says so. Only what the kernel
/// holds (a dead network file system) or another user's program takes longer than milliseconds.
pub(crate) const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Pauses between two rounds of killing; each round takes what was forked since the one before.
const KILL_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// What a runner process has of its surroundings.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// Where the folders with the secrets of commands are made; this user's alone, or one that is cleared of what a killed
    /// runner leaves.
    pub private_folders: PathBuf,
}

/// What a runner process exits with: success where nothing of its command is left.
pub(crate) fn exit_code(outcome: Result<bool, WireError>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

/// Runs the one command that comes over the link. Whether nothing is left in the end.
pub(crate) async fn serve(
    mut reader: LinkReader,
    mut writer: LinkWriter,
    wakes: Wakes,
    uid: u32,
    options: &RunnerOptions,
) -> Result<bool, WireError> {
    let mut greeting = BytesMut::new();
    wire::put_frame(&mut greeting, kind::READY, &Ready { uid }.encode());
    writer.write_all(&greeting).await?;
    writer.flush().await?;
    let mut frames = FrameReader::new(wire::MAX_TO_RUNNER);
    let Some(start) = frames.next(&mut reader).await? else {
        return Ok(true);
    };
    if start.kind != kind::START {
        return Err(WireError::Unexpected(start.kind));
    }
    let (mut spec, limits) = wire::decode_start(start.body)?;

    // A task that would run without its limits does not run.
    let started = limits
        .bind()
        .map_err(|error| error.to_string())
        .and_then(|()| hand_over_secret(&mut spec, options))
        .and_then(|folder| Ok((command::start(&spec)?, folder)));
    match started {
        Ok((started, folder)) => {
            let run = Run::new(
                &spec,
                started,
                folder,
                Link {
                    reader,
                    writer,
                    frames,
                },
            );
            Ok(run.until_the_end(wakes).await)
        }
        Err(why) => {
            let mut last = BytesMut::new();
            wire::put_frame(
                &mut last,
                kind::ENDED,
                &wire::encode_ended(&Ended::NotStarted(why)),
            );
            writer.write_all(&last).await?;
            writer.flush().await?;
            Ok(true)
        }
    }
}

/// Puts the secret of a command where that finds it.
fn hand_over_secret(
    spec: &mut CommandSpec,
    options: &RunnerOptions,
) -> Result<Option<CredentialFolder>, String> {
    let Some(private) = spec.private_folder.take() else {
        return Ok(None);
    };
    let secret = SecretFile {
        name: &private.file,
        content: &private.content,
    };
    let folder = CredentialFolder::create(&options.private_folders, &secret, private.take_along.as_deref())?;
    spec.environment
        .push((private.variable.into(), folder.path().into()));
    Ok(Some(folder))
}

struct Link {
    reader: LinkReader,
    writer: LinkWriter,
    frames: FrameReader,
}

/// Why the tree is being ended while its main process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    TimedOut,
    Terminated,
    /// A signal to the runner itself, or an event of its console: the status tells enough.
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
    main_status: Option<ExitStatus>,
    reason: Option<Reason>,
    phase: Phase,
    timeout_at: Option<Instant>,
    grace: Duration,
    folder: Option<CredentialFolder>,
    link: Link,
    agent_gone: bool,
    outgoing: BytesMut,
    stdin: Option<(InputEnd, Bytes)>,
    stdout: Pipe,
    stderr: Pipe,
}

impl Run {
    fn new(
        spec: &CommandSpec,
        started: StartedCommand,
        folder: Option<CredentialFolder>,
        link: Link,
    ) -> Self {
        Self {
            tree: started.tree,
            main_status: None,
            reason: None,
            phase: Phase::Running,
            timeout_at: Instant::now().checked_add(spec.timeout),
            grace: spec.grace,
            folder,
            link,
            agent_gone: false,
            outgoing: BytesMut::with_capacity(OUTPUT_CHUNK + 16),
            stdin: started.stdin.map(|pipe| (pipe, spec.standard_input.clone())),
            stdout: Pipe::new(started.stdout),
            stderr: Pipe::new(started.stderr),
        }
    }

    async fn until_the_end(mut self, mut wakes: Wakes) -> bool {
        while !matches!(self.phase, Phase::Gone | Phase::GivenUp) {
            // Output is read only when the last piece has left: a slow agent slows the command down, and nothing piles up
            // here. Time-outs, signals and the agent's word are heard all the same.
            let may_read = self.outgoing.is_empty() && !self.agent_gone;
            tokio::select! {
                wake = wakes.next(&mut self.tree) => match wake {
                    Wake::TreeChanged => self.collect(),
                    Wake::AskedToEnd => self.end(Some(Reason::Signalled)),
                },
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
        // The end is told when the secret is off the disk.
        let secret_left = self.remove_secret();
        let told = self.tell_the_end(secret_left).await;
        self.phase == Phase::Gone && (told.is_ok() || self.agent_gone)
    }

    /// Takes note of processes that have ended.
    fn collect(&mut self) {
        let collected = self.tree.collect();
        self.main_status = self.main_status.or(collected.main);
        if collected.gone {
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

    /// Removes the folder with the secret; what a person should know where that fails.
    fn remove_secret(&mut self) -> Option<String> {
        let folder = self.folder.take()?;
        let path = folder.path().display().to_string();
        let error = folder.remove().err()?;
        Some(format!(
            "{path} holds credentials of this task and cannot be removed: {}",
            crate::plain_io::text(&error)
        ))
    }

    /// What is left in the pipes, and the last frame. All writers are gone, so a pipe that yields nothing is empty even
    /// where a stranger holds its other end open.
    async fn tell_the_end(&mut self, secret_left: Option<String>) -> Result<(), WireError> {
        if self.agent_gone {
            return Ok(());
        }
        let writer = &mut self.link.writer;
        writer.write_all(&self.outgoing).await?;
        for (pipe, kind) in [(&mut self.stdout, kind::STDOUT), (&mut self.stderr, kind::STDERR)] {
            while let Some(length) = pipe.read_rest().await {
                self.outgoing.clear();
                wire::put_frame(&mut self.outgoing, kind, &pipe.buffer[..length]);
                writer.write_all(&self.outgoing).await?;
            }
        }
        self.outgoing.clear();
        let survivors = (self.phase == Phase::GivenUp).then(|| {
            let pids: Vec<String> = self.tree.survivors().iter().map(i32::to_string).collect();
            format!(
                "could not be ended, since another user's or held by the system: process {}",
                pids.join(", ")
            )
        });
        for note in survivors.into_iter().chain(secret_left) {
            let note = format!("\n[{note}]\n");
            let note = note.as_bytes();
            wire::put_frame(
                &mut self.outgoing,
                kind::STDERR,
                &note[..note.len().min(OUTPUT_CHUNK)],
            );
        }
        let ended = Ended::Exited {
            status: self.main_status.unwrap_or(KILLED),
            timed_out: self.reason == Some(Reason::TimedOut),
            terminated: self.reason == Some(Reason::Terminated),
        };
        wire::put_frame(&mut self.outgoing, kind::ENDED, &wire::encode_ended(&ended));
        writer.write_all(&self.outgoing).await?;
        writer.flush().await?;
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
async fn feed(stdin: &mut Option<(InputEnd, Bytes)>) {
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
    end: Option<OutputEnd>,
    buffer: Box<[u8]>,
}

impl Pipe {
    fn new(end: OutputEnd) -> Self {
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
    async fn read_rest(&mut self) -> Option<usize> {
        let length = self.end.as_mut()?.read_rest(&mut self.buffer).await;
        (length > 0).then_some(length)
    }
}
