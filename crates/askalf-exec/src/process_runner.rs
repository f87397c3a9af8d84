//! The agent's side of a runner process.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use askalf_agent_core::{CommandSpec, Ended, Runner, RunnerError, RunnerEvent, RunningCommand};
use async_trait::async_trait;
use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::deadline::reached;
use crate::runner_link::{Link, Reader, Writer, spawn_linked};
use crate::runner_process::KILL_PATIENCE;
use crate::tree::{OrphanSweep, RunnerIdentity, become_subreaper};
use crate::wire::{self, FrameReader, WireError, kind};

/// How long a runner may take to greet and to take its command: generous for a device that swaps.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// How long a runner may stay silent after its command should have ended before it is held to be stuck (a task of the same
/// user can stop it) and is killed. Above its own patience with what it kills.
const STUCK_AFTER: Duration = Duration::from_secs(KILL_PATIENCE.as_secs() + 5);

/// Pauses between two passes of a sweep.
const SWEEP_PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(500));

/// Starts each command under a runner process of its own, which calls [`run_runner`](crate::run_runner) on
/// its standard input: one end of a socket pair. On Windows its standard input and output are two pipes.
///
/// The runner gets no environment, no output and a session of its own, on Windows a console and a job object. A
/// [`RunnerEvent::Ended`] is passed on only when the runner process is collected too. Where a runner died without telling
/// the end, what it left behind was adopted by this process (see [`become_subreaper`]), or is in the job object; it is
/// killed and collected first.
#[derive(Debug, Clone)]
pub struct ProcessRunner {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl ProcessRunner {
    /// A runner that is started as `program` with `arguments`. On Linux `/proc/self/exe` names the running binary even
    /// after its file was replaced or removed.
    pub fn new(program: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { program, arguments }
    }

    /// Starts the process, and the guardian that collects it.
    ///
    /// Blocks while the process is created, and needs the runtime's context.
    fn spawn(&self) -> std::io::Result<(Guarded, Link)> {
        become_subreaper()?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().stderr(Stdio::null());
        let (child, identity, link) = spawn_linked(command)?;
        let (kill, killed) = oneshot::channel();
        let (collected, gone) = oneshot::channel();
        tokio::spawn(async move {
            guard(child, identity, killed).await;
            let _nobody_waits = collected.send(());
        });
        let guarded = Guarded {
            kill: Some(kill),
            gone: Some(gone),
        };
        Ok((guarded, link))
    }
}

#[async_trait]
impl Runner for ProcessRunner {
    async fn start(&self, command: CommandSpec) -> Result<Box<dyn RunningCommand>, RunnerError> {
        let body = wire::encode_start(&command).map_err(|error| RunnerError::Command(error.to_string()))?;
        let runner = self.clone();
        let (guarded, Link { reader, writer }) = tokio::task::spawn_blocking(move || runner.spawn())
            .await
            .map_err(|_| RunnerError::Spawn("the agent is stopping".to_owned()))?
            .map_err(|error| RunnerError::Spawn(crate::plain_io::text(&error)))?;
        let mut running = Running {
            reader,
            writer,
            frames: FrameReader::new(wire::MAX_FROM_RUNNER),
            guarded,
            ends_by: Instant::now()
                .checked_add(command.timeout)
                .and_then(|end| end.checked_add(command.grace)),
            grace: command.grace,
            heard: Instant::now(),
            terminating: false,
            ended: None,
        };
        match timeout(ANSWER_PATIENCE, running.hand_over(&body)).await {
            Ok(Ok(())) => Ok(Box::new(running)),
            Ok(Err(error)) => Err(RunnerError::Socket(error.to_string())),
            Err(_) => Err(RunnerError::Socket(format!(
                "no answer within {} s",
                ANSWER_PATIENCE.as_secs()
            ))),
        }
    }
}

/// A runner process in the hands of its guardian.
#[derive(Debug)]
struct Guarded {
    /// Sent: kill it now. Dropped: it has to end by itself soon.
    kill: Option<oneshot::Sender<()>>,
    /// Answers when the process is collected and nothing is left of its tree.
    gone: Option<oneshot::Receiver<()>>,
}

/// Waits for the end of a runner, and ends what it left behind. Runs to its end whatever becomes of the handle.
async fn guard(mut child: Child, identity: RunnerIdentity, killed: oneshot::Receiver<()>) {
    let overdue = async {
        if killed.await.is_err() {
            sleep(STUCK_AFTER).await;
        }
    };
    let status = tokio::select! {
        status = child.wait() => status,
        () = overdue => {
            let _gone = child.start_kill();
            child.wait().await
        }
    };
    let orphans = identity.forget();
    // Only a runner that saw the last of its tree go returns success.
    if OrphanSweep::AFTER_SUCCESS || !status.is_ok_and(|status| status.success()) {
        sweep(orphans).await;
    }
}

async fn sweep(mut orphans: OrphanSweep) {
    let give_up_at = Instant::now() + KILL_PATIENCE;
    let mut pause = SWEEP_PAUSES.0;
    loop {
        let passed = tokio::task::spawn_blocking(move || {
            let done = orphans.pass();
            (orphans, done)
        });
        // Fails only where the runtime shuts down: this process ends.
        let Ok((back, done)) = passed.await else {
            return;
        };
        orphans = back;
        match done {
            Ok(true) => return,
            Ok(false) if Instant::now() < give_up_at => {}
            Ok(false) => {
                tracing::warn!("processes of a task whose runner died cannot be ended");
                return;
            }
            Err(error) => {
                tracing::warn!(
                    error = crate::plain_io::text(&error),
                    "cannot look for what a dead task runner left"
                );
                return;
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(SWEEP_PAUSES.1);
    }
}

#[derive(Debug)]
struct Running {
    reader: Reader,
    writer: Writer,
    frames: FrameReader,
    guarded: Guarded,
    /// When the runner has ended the command by itself, at the latest.
    ends_by: Option<Instant>,
    grace: Duration,
    /// When the runner was last heard.
    heard: Instant,
    terminating: bool,
    /// What is passed on when the process is collected.
    ended: Option<Ended>,
}

impl Running {
    async fn hand_over(&mut self, start: &[u8]) -> Result<(), WireError> {
        match self.frames.next(&mut self.reader).await? {
            Some(frame) if frame.kind == kind::READY && *frame.body == [wire::VERSION] => {}
            Some(frame) => return Err(WireError::Unexpected(frame.kind)),
            None => return Err(WireError::Cut),
        }
        let mut frame = BytesMut::new();
        wire::put_frame(&mut frame, kind::START, start);
        self.writer.write_all(&frame).await?;
        self.writer.flush().await?;
        self.heard = Instant::now();
        Ok(())
    }

    /// The runner is dead or of no use.
    fn lose(&mut self, why: &str) {
        tracing::warn!(why, "a task runner was lost");
        self.ended = Some(Ended::RunnerLost);
        if let Some(kill) = self.guarded.kill.take() {
            let _dead_already = kill.send(());
        }
    }
}

#[async_trait]
impl RunningCommand for Running {
    async fn next(&mut self) -> RunnerEvent {
        loop {
            if let Some(ended) = &self.ended {
                if let Some(gone) = &mut self.guarded.gone {
                    let _guardian_gone = gone.await;
                    self.guarded.gone = None;
                }
                return RunnerEvent::Ended(ended.clone());
            }
            // Silence counts from the last word: a slow reader must not find its runner overdue for its own delay.
            let stuck_at = self.ends_by.map(|end| end.max(self.heard) + STUCK_AFTER);
            tokio::select! {
                biased;
                frame = self.frames.next(&mut self.reader) => match frame {
                    Ok(Some(frame)) => {
                        self.heard = Instant::now();
                        match wire::decode_event(frame) {
                            Ok(RunnerEvent::Ended(ended)) => {
                                self.ended = Some(ended);
                                self.guarded.kill = None;
                            }
                            Ok(output) => return output,
                            Err(error) => self.lose(&error.to_string()),
                        }
                    }
                    Ok(None) => self.lose("it died"),
                    Err(error) => self.lose(&error.to_string()),
                },
                () = reached(stuck_at) => self.lose("it did not end its command in time"),
            }
        }
    }

    async fn terminate(&mut self) {
        if self.terminating {
            return;
        }
        self.terminating = true;
        let asked_end = Instant::now().checked_add(self.grace);
        self.ends_by = match (self.ends_by, asked_end) {
            (Some(own), Some(asked)) => Some(own.min(asked)),
            (own, asked) => own.or(asked),
        };
        let mut frame = BytesMut::new();
        wire::put_frame(&mut frame, kind::TERMINATE, &[]);
        // A dead runner is found by `next`.
        let _dead = self.writer.write_all(&frame).await;
        let _dead = self.writer.flush().await;
    }
}
