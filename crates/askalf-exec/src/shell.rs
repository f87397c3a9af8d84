//! The executor of shell commands.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use askalf_agent_core::{CancelSignal, CommandSpec, Executor, Runner, Task, TaskEnd, TaskOutput};
use askalf_proto::Executor as ExecutorKind;
use async_trait::async_trait;
use bytes::Bytes;

use crate::command_run::{HowToRun, run_command};
use crate::environment::names_of;
use crate::output_log::DEFAULT_OUTPUT_CAP;
use crate::redact::Secrets;
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
    /// What never leaves in output or an error; a task's credentials come on top.
    pub secrets: Secrets,
}

impl ShellOptions {
    /// Options with no environment, 5 s of grace, [`DEFAULT_OUTPUT_CAP`] and the built-in kinds of secrets.
    pub fn new(shell: PathBuf, working_directory: PathBuf) -> Self {
        Self {
            shell,
            environment: Vec::new(),
            working_directory,
            grace: Duration::from_secs(5),
            output_cap: DEFAULT_OUTPUT_CAP,
            secrets: Secrets::default(),
        }
    }
}

/// Names of variables alone: a value may be anything.
impl fmt::Debug for ShellOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ShellOptions")
            .field("shell", &self.shell)
            .field("environment", &names_of(&self.environment))
            .field("working_directory", &self.working_directory)
            .field("grace", &self.grace)
            .field("output_cap", &self.output_cap)
            .field("secrets", &self.secrets)
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
            private_folder: None,
        }
    }
}

#[async_trait]
impl Executor for ShellExecutor {
    fn kind(&self) -> ExecutorKind {
        ExecutorKind::Shell
    }

    async fn run(&self, task: Task, output: TaskOutput, cancel: CancelSignal) -> TaskEnd {
        let redaction = self.options.secrets.redaction(task.credentials.as_ref());
        let command = self.command(task);
        let how = HowToRun {
            output_cap: self.options.output_cap,
            redaction: &redaction,
            interpreter: None,
        };
        run_command(&*self.runner, command, output, cancel, how).await
    }
}
