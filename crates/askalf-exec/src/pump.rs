//! The way of a running command's output: read, made text, kept for the result and passed on to whoever watches.

use std::pin::Pin;
use std::time::Duration;

use askalf_agent_core::{CancelSignal, Ended, RunnerEvent, RunningCommand, TaskOutput};
use askalf_proto::OutputStream;
use tokio::time::{Instant, timeout};

use crate::deadline::reached;
use crate::interpreter::{Figures, Interpreter};
use crate::output_log::OutputLog;
use crate::progress::Progress;
use crate::utf8::Utf8Decoder;

/// How long the last pieces of output may take on their way once the task has ended. The result carries them too, and must
/// not wait for a connection that takes nothing.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

/// Carries output from a running command to its watcher and its log.
pub(crate) struct Pump {
    running: Box<dyn RunningCommand>,
    output: TaskOutput,
    log: OutputLog,
    progress: Progress,
    /// A piece that waits for room in the watcher's queue.
    sending: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    stdout: Utf8Decoder,
    stderr: Utf8Decoder,
    /// Takes standard output in the place of its decoder.
    interpreter: Option<Box<dyn Interpreter>>,
    /// When the command should be over by itself.
    overdue_at: Option<Instant>,
    cancelled: bool,
}

/// What is left of a command when it has ended.
pub(crate) struct Pumped {
    pub(crate) ended: Ended,
    /// It was asked to end.
    pub(crate) cancelled: bool,
    /// How long it ran.
    pub(crate) duration: Duration,
    /// What it wrote.
    pub(crate) log: OutputLog,
    /// What it told of its run, where somebody reads that.
    pub(crate) figures: Option<Figures>,
}

impl Pump {
    /// `overdue_at` is when the command should be over by itself.
    pub(crate) fn new(
        running: Box<dyn RunningCommand>,
        output: TaskOutput,
        log: OutputLog,
        overdue_at: Option<Instant>,
    ) -> Self {
        Self {
            running,
            output,
            log,
            progress: Progress::default(),
            sending: None,
            stdout: Utf8Decoder::default(),
            stderr: Utf8Decoder::default(),
            interpreter: None,
            overdue_at,
            cancelled: false,
        }
    }

    /// With standard output as `interpreter` reads it, if there is one.
    pub(crate) fn interpreted(self, interpreter: Option<Box<dyn Interpreter>>) -> Self {
        Self { interpreter, ..self }
    }

    /// Carries until the command, which began at `began`, has ended.
    pub(crate) async fn run(mut self, mut cancel: CancelSignal, began: Instant) -> Pumped {
        let ended = loop {
            let now = Instant::now();
            // A watcher that takes nothing slows the command down, but must not hide the end of one that is to end: then
            // what finds no room goes to the log alone.
            let hurried = self.cancelled || self.overdue_at.is_some_and(|at| now >= at);
            let may_read = hurried || !self.progress.is_full();
            let due = self.progress.due().filter(|_| self.sending.is_none());
            tokio::select! {
                () = cancel.cancelled(), if !self.cancelled => {
                    self.cancelled = true;
                    self.running.terminate().await;
                }
                () = finish(&mut self.sending), if self.sending.is_some() => self.sending = None,
                () = reached(due) => self.send_next(),
                () = reached(self.overdue_at), if !hurried => {}
                event = self.running.next(), if may_read => match event {
                    RunnerEvent::Output(stream, bytes) => self.take(stream, &bytes),
                    RunnerEvent::Ended(ended) => break ended,
                },
            }
        };
        let duration = began.elapsed();
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            let rest = match (stream, &mut self.interpreter) {
                (OutputStream::Stdout, Some(interpreter)) => interpreter.finish(),
                _ => self.decoder(stream).finish(),
            };
            self.add(stream, &rest);
        }
        let _left_to_the_result = timeout(FLUSH_PATIENCE, self.flush()).await;
        Pumped {
            ended,
            cancelled: self.cancelled,
            duration,
            log: self.log,
            figures: self.interpreter.map(|interpreter| interpreter.figures()),
        }
    }

    fn take(&mut self, stream: OutputStream, bytes: &[u8]) {
        let text = match (stream, &mut self.interpreter) {
            (OutputStream::Stdout, Some(interpreter)) => interpreter.push(bytes),
            _ => self.decoder(stream).push(bytes),
        };
        self.add(stream, &text);
    }

    fn add(&mut self, stream: OutputStream, text: &str) {
        self.log.push(text);
        if !self.progress.is_full() {
            self.progress.push(stream, text, Instant::now());
        }
    }

    fn decoder(&mut self, stream: OutputStream) -> &mut Utf8Decoder {
        match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        }
    }

    fn send_next(&mut self) {
        if let Some((stream, text)) = self.progress.take(Instant::now()) {
            let output = self.output.clone();
            self.sending = Some(Box::pin(async move { output.send(stream, text).await }));
        }
    }

    async fn flush(&mut self) {
        loop {
            finish(&mut self.sending).await;
            self.sending = None;
            self.send_next();
            if self.sending.is_none() {
                return;
            }
        }
    }
}

async fn finish(sending: &mut Option<Pin<Box<dyn Future<Output = ()> + Send>>>) {
    if let Some(sending) = sending {
        sending.await;
    }
}
