//! The executor of shell commands.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use askalf_agent_core::{CancelSignal, CommandSpec, Executor, Runner, Task, TaskEnd, TaskOutput};
use askalf_proto::{Cause, Executor as ExecutorKind};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::ending::{Circumstances, end_without_command, task_end};
use crate::output_log::{DEFAULT_OUTPUT_CAP, OutputLog};
use crate::pump::Pump;
use crate::shell_arguments::shell_arguments;

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
/// A task with a named command runs that program instead, with its arguments as they are and without a shell.
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
        let (program, arguments) = match task.named_command.as_deref() {
            Some([program, arguments @ ..]) => {
                (program.into(), arguments.iter().map(OsString::from).collect())
            }
            Some([]) | None => (
                self.options.shell.clone().into(),
                shell_arguments(&self.options.shell, &task.input),
            ),
        };
        CommandSpec {
            program,
            arguments,
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
        let overdue_at = began
            .checked_add(time_limit)
            .and_then(|end| end.checked_add(self.options.grace));
        let pump = Pump::new(
            running,
            output,
            OutputLog::new(self.options.output_cap),
            overdue_at,
        );
        let pumped = pump.run(cancel, began).await;
        let around = Circumstances {
            timeout: time_limit,
            duration: pumped.duration,
            cancelled: pumped.cancelled,
        };
        TaskEnd {
            output: pumped.log.finish(),
            ..task_end(&pumped.ended, around)
        }
    }
}
