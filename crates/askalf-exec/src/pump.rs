//! The way of a running command's output: read, made text, freed of secrets, kept for the result and passed on to whoever
//! watches.

use std::pin::Pin;
use std::time::Duration;

use askalf_agent_core::{CancelSignal, Ended, RunnerEvent, RunningCommand, TaskOutput};
use askalf_proto::OutputStream;
use tokio::time::{Instant, timeout};

use crate::deadline::reached;
use crate::interpreter::{Figures, Interpreter};
use crate::output_log::OutputLog;
use crate::progress::Progress;
use crate::redact::{Redaction, Redactor};
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
    stdout: Reader,
    stderr: Reader,
    /// When the command should be over by itself.
    overdue_at: Option<Instant>,
    cancelled: bool,
}

/// One stream: bytes become text, and text loses its secrets.
struct Reader {
    decoder: Decoder,
    redactor: Redactor,
}

/// What makes text of bytes.
enum Decoder {
    Text(Utf8Decoder),
    Program(Box<dyn Interpreter>),
}

impl Reader {
    fn new(decoder: Decoder, redaction: &Redaction) -> Self {
        Self {
            decoder,
            redactor: redaction.stream(),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> String {
        let text = match &mut self.decoder {
            Decoder::Text(decoder) => decoder.push(bytes),
            Decoder::Program(interpreter) => interpreter.push(bytes),
        };
        self.redactor.push(&text)
    }

    fn finish(&mut self) -> String {
        let rest = match &mut self.decoder {
            Decoder::Text(decoder) => decoder.finish(),
            Decoder::Program(interpreter) => interpreter.finish(),
        };
        let mut text = self.redactor.push(&rest);
        text += &self.redactor.finish();
        text
    }

    fn figures(&self) -> Option<Figures> {
        match &self.decoder {
            Decoder::Text(_) => None,
            Decoder::Program(interpreter) => Some(interpreter.figures()),
        }
    }
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
    /// What `redaction` names is neither kept nor passed on. Standard output is what `interpreter` makes of it, or the text
    /// that it is. `overdue_at` is when the command should be over by itself.
    pub(crate) fn new(
        running: Box<dyn RunningCommand>,
        interpreter: Option<Box<dyn Interpreter>>,
        output: TaskOutput,
        log: OutputLog,
        redaction: &Redaction,
        overdue_at: Option<Instant>,
    ) -> Self {
        let decoder = interpreter.map_or_else(|| Decoder::Text(Utf8Decoder::default()), Decoder::Program);
        Self {
            running,
            output,
            log,
            progress: Progress::default(),
            sending: None,
            stdout: Reader::new(decoder, redaction),
            stderr: Reader::new(Decoder::Text(Utf8Decoder::default()), redaction),
            overdue_at,
            cancelled: false,
        }
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
            let rest = self.reader(stream).finish();
            self.add(stream, &rest);
        }
        let _left_to_the_result = timeout(FLUSH_PATIENCE, self.flush()).await;
        Pumped {
            ended,
            cancelled: self.cancelled,
            duration,
            log: self.log,
            figures: self.stdout.figures(),
        }
    }

    fn take(&mut self, stream: OutputStream, bytes: &[u8]) {
        let text = self.reader(stream).push(bytes);
        self.add(stream, &text);
    }

    fn add(&mut self, stream: OutputStream, text: &str) {
        self.log.push(text);
        if !self.progress.is_full() {
            self.progress.push(stream, text, Instant::now());
        }
    }

    fn reader(&mut self, stream: OutputStream) -> &mut Reader {
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
