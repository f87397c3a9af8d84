//! A command under a runner, as its agent holds it: the same whichever way the runner was come by.

use std::time::Duration;

use askalf_agent_core::{CommandSpec, Ended, RunnerEvent, RunningCommand};
use async_trait::async_trait;
use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::deadline::reached;
use crate::runner_link::{Link, Reader, Writer};
use crate::runner_process::KILL_PATIENCE;
use crate::wire::{self, FrameReader, Ready, WireError, kind};

/// How long a runner may take to greet and to take its command: generous for a device that swaps.
pub(crate) const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// How long a runner may stay silent after its command should have ended before it is held to be stuck (a task of the same
/// user can stop it) and is killed. Above its own patience with what it kills.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(KILL_PATIENCE.as_secs() + 5);

/// Nothing came within [`ANSWER_PATIENCE`].
pub(crate) fn no_answer() -> String {
    format!("no answer within {} s", ANSWER_PATIENCE.as_secs())
}

/// A runner process in the hands of its guardian.
#[derive(Debug)]
pub(crate) struct Guarded {
    /// Sent: kill it now. Dropped: it has to end by itself soon.
    kill: Option<oneshot::Sender<()>>,
    /// Answers when the process is collected and nothing is left of its tree.
    gone: oneshot::Receiver<()>,
}

impl Guarded {
    pub(crate) fn new(kill: oneshot::Sender<()>, gone: oneshot::Receiver<()>) -> Self {
        Self {
            kill: Some(kill),
            gone,
        }
    }
}

/// A command that was or will be handed to the runner at the other end of a link.
#[derive(Debug)]
pub(crate) struct Running {
    reader: Reader,
    writer: Writer,
    frames: FrameReader,
    /// The runner's process, where it is this one's child.
    guarded: Option<Guarded>,
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
    pub(crate) fn new(
        Link { reader, writer }: Link,
        guarded: Option<Guarded>,
        command: &CommandSpec,
    ) -> Self {
        Self {
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
        }
    }

    /// What the runner says of itself first.
    pub(crate) async fn greeting(&mut self) -> Result<Ready, WireError> {
        match self.frames.next(&mut self.reader).await? {
            Some(frame) => Ready::decode(&frame),
            None => Err(WireError::Closed),
        }
    }

    /// Hands the command over: body of its frame.
    pub(crate) async fn hand_over(&mut self, start: &[u8]) -> Result<(), WireError> {
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
        if let Some(kill) = self.guarded.as_mut().and_then(|guarded| guarded.kill.take()) {
            let _dead_already = kill.send(());
        }
    }
}

#[async_trait]
impl RunningCommand for Running {
    async fn next(&mut self) -> RunnerEvent {
        loop {
            if let Some(ended) = &self.ended {
                if let Some(guarded) = &mut self.guarded {
                    let _guardian_gone = (&mut guarded.gone).await;
                    self.guarded = None;
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
                                if let Some(guarded) = &mut self.guarded {
                                    guarded.kill = None;
                                }
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
