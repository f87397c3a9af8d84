//! The executor of shell commands.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use askalf_agent_core::{
    CancelSignal, CommandSpec, Ended, Executor, Runner, RunnerEvent, RunningCommand, Task, TaskEnd,
    TaskOutput,
};
use askalf_proto::{Cause, Executor as ExecutorKind, OutputStream};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, timeout};

use crate::deadline::reached;
use crate::ending::{Circumstances, end_without_command, task_end};
use crate::output_log::{DEFAULT_OUTPUT_CAP, OutputLog};
use crate::progress::Progress;
use crate::shell_arguments::shell_arguments;
use crate::utf8::Utf8Decoder;

/// How long the last pieces of output may take on their way once the task has ended. The result carries them too, and must
/// not wait for a connection that takes nothing.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

/// How the shell executor runs its tasks.
#[derive(Clone)]
pub struct ShellOptions {
    /// The shell; it is given `-c` and the task's input, or, by its name, what `cmd` and PowerShell take.
    pub shell: PathBuf,
    /// The whole environment of a task: see [`scrubbed_environment`](crate::scrubbed_environment).
    pub environment: Vec<(OsString, OsString)>,
    /// Folder of a task that names none; absolute. A relative one that a task names is taken from here.
    pub working_directory: PathBuf,
    /// Time between SIGTERM and SIGKILL; on Windows between Ctrl-Break and the end of the job object.
    pub grace: Duration,
    /// Most output of a result, in bytes inside a JSON string; at least 1 KiB.
    pub output_cap: usize,
}

impl ShellOptions {
    /// Options with no environment, 5 s of grace and [`DEFAULT_OUTPUT_CAP`].
    pub fn new(shell: PathBuf, working_directory: PathBuf) -> Self {
        Self {
            shell,
            environment: Vec::new(),
            working_directory,
            grace: Duration::from_secs(5),
            output_cap: DEFAULT_OUTPUT_CAP,
        }
    }
}

/// Names of variables alone: a value may be anything.
impl fmt::Debug for ShellOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        formatter
            .debug_struct("ShellOptions")
            .field("shell", &self.shell)
            .field("environment", &names)
            .field("working_directory", &self.working_directory)
            .field("grace", &self.grace)
            .field("output_cap", &self.output_cap)
            .finish()
    }
}

/// Runs a task's input as a shell command: `SHELL -c INPUT`, with an empty standard input. `cmd` gets `/d /s /c "INPUT"` and
/// reads its first line alone; PowerShell gets `-NoLogo -NoProfile -NonInteractive -Command INPUT`.
///
/// A command that the shell does not find is the shell's affair: it says so on standard error and exits with status 127.
pub struct ShellExecutor {
    runner: Arc<dyn Runner>,
    options: ShellOptions,
}

impl ShellExecutor {
    /// An executor that starts its shells under `runner`.
    pub fn new(runner: Arc<dyn Runner>, options: ShellOptions) -> Self {
        Self { runner, options }
    }

    fn command(&self, task: Task) -> CommandSpec {
        let default = &self.options.working_directory;
        CommandSpec {
            program: self.options.shell.clone().into(),
            arguments: shell_arguments(&self.options.shell, &task.input),
            environment: self.options.environment.clone(),
            working_directory: task
                .working_directory
                .map_or_else(|| default.clone(), |named| default.join(named)),
            standard_input: Bytes::new(),
            timeout: task.timeout,
            grace: self.options.grace,
        }
    }
}

#[async_trait]
impl Executor for ShellExecutor {
    fn kind(&self) -> ExecutorKind {
        ExecutorKind::Shell
    }

    async fn run(&self, task: Task, output: TaskOutput, mut cancel: CancelSignal) -> TaskEnd {
        let began = Instant::now();
        let time_limit = task.timeout;
        // A start that is dropped runs nothing: the command is handed over as its last step.
        let started = tokio::select! {
            biased;
            () = cancel.cancelled() => {
                return end_without_command(Cause::Cancelled, Some("cancelled".to_owned()), began.elapsed());
            }
            started = self.runner.start(self.command(task)) => started,
        };
        let running = match started {
            Ok(running) => running,
            Err(error) => {
                return end_without_command(Cause::Refused, Some(error.to_string()), began.elapsed());
            }
        };
        let pump = Pump {
            running,
            output,
            log: OutputLog::new(self.options.output_cap),
            progress: Progress::default(),
            sending: None,
            stdout: Utf8Decoder::default(),
            stderr: Utf8Decoder::default(),
            overdue_at: began
                .checked_add(time_limit)
                .and_then(|end| end.checked_add(self.options.grace)),
            cancelled: false,
        };
        let (ended, cancelled, duration, log) = pump.run(cancel, began).await;
        let around = Circumstances {
            timeout: time_limit,
            duration,
            cancelled,
        };
        TaskEnd {
            output: log.finish(),
            ..task_end(&ended, around)
        }
    }
}

/// Carries output from a running command to its watcher and its log.
struct Pump {
    running: Box<dyn RunningCommand>,
    output: TaskOutput,
    log: OutputLog,
    progress: Progress,
    /// A piece that waits for room in the watcher's queue.
    sending: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    stdout: Utf8Decoder,
    stderr: Utf8Decoder,
    /// When the command should be over by itself.
    overdue_at: Option<Instant>,
    cancelled: bool,
}

impl Pump {
    async fn run(mut self, mut cancel: CancelSignal, began: Instant) -> (Ended, bool, Duration, OutputLog) {
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
            let rest = self.decoder(stream).finish();
            self.add(stream, &rest);
        }
        let _left_to_the_result = timeout(FLUSH_PATIENCE, self.flush()).await;
        (ended, self.cancelled, duration, self.log)
    }

    fn take(&mut self, stream: OutputStream, bytes: &[u8]) {
        let text = self.decoder(stream).push(bytes);
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
