//! The executor of a model's command line: the prompt goes in on standard input, events come out on standard output.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use askalf_agent_core::{CancelSignal, CommandSpec, PrivateFolder, Runner, Task, TaskEnd, TaskOutput};
use askalf_proto::Cause;
use bytes::Bytes;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::command_run::{HowToRun, run_command};
use crate::credential_folder::{CredentialFolder, SecretFile, secret_of, tell_left};
use crate::ending::end_without_command;
use crate::environment::names_of;
use crate::interpreter::Interpreter;
use crate::output_log::DEFAULT_OUTPUT_CAP;
use crate::program_path::{path_of, program_path};
use crate::redact::Secrets;

/// How the executors of the Claude and Codex command lines run their tasks.
#[derive(Clone)]
pub struct CliOptions {
    /// The whole environment of a task: see [`scrubbed_environment`](crate::scrubbed_environment). Its `PATH` finds the
    /// program, its `HOME` the program's own login and settings.
    pub environment: Vec<(OsString, OsString)>,
    /// Folder of a task that names none; absolute. A relative one that a task names is taken from here.
    pub working_directory: PathBuf,
    /// Who hands the credentials of tasks over.
    pub credentials: CredentialPlace,
    /// Time between SIGTERM and SIGKILL; on Windows between Ctrl-Break and the end of the job object.
    pub grace: Duration,
    /// Most output of a result, in bytes inside a JSON string; at least 1 KiB.
    pub output_cap: usize,
    /// What no task prints.
    pub secrets: Secrets,
}

/// Who makes the folder in which the program of a task finds the task's credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialPlace {
    /// The agent, below this folder, which is its alone. See [`sweep_credential_folders`](crate::sweep_credential_folders).
    Agent(PathBuf),
    /// The runner, as the user that it runs as: the agent's own folders are closed to that one.
    Runner,
}

impl CliOptions {
    /// Options with credentials in folders of the agent below `credential_folders`, no environment, 5 s of grace and [`DEFAULT_OUTPUT_CAP`].
    pub fn new(working_directory: PathBuf, credential_folders: PathBuf) -> Self {
        Self {
            environment: Vec::new(),
            working_directory,
            credentials: CredentialPlace::Agent(credential_folders),
            grace: Duration::from_secs(5),
            output_cap: DEFAULT_OUTPUT_CAP,
            secrets: Secrets::default(),
        }
    }
}

/// Names of variables alone: a value may be anything.
impl fmt::Debug for CliOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CliOptions")
            .field("environment", &names_of(&self.environment))
            .field("working_directory", &self.working_directory)
            .field("credentials", &self.credentials)
            .field("grace", &self.grace)
            .field("output_cap", &self.output_cap)
            .field("secrets", &self.secrets)
            .finish()
    }
}

/// What differs from one program to another.
pub(crate) trait Cli: Send + Sync {
    /// Name of the program in `PATH`.
    const PROGRAM: &'static str;
    /// The variable that names the folder of its configuration.
    const CONFIG_VARIABLE: &'static str;
    /// The file in there that holds its login.
    const SECRET_FILE: &'static str;
    /// Its settings, seen from `HOME`.
    const SETTINGS: &'static str;

    /// Its arguments; never the prompt nor a secret, which anybody may read there.
    ///
    /// # Errors
    /// What of the task cannot be run, for a person.
    fn arguments(task: &Task) -> Result<Vec<OsString>, String>;

    /// The content of [`Cli::SECRET_FILE`] for these credentials.
    fn login(secret: &str) -> Zeroizing<String>;

    /// Reads what it writes.
    fn events() -> Box<dyn Interpreter>;
}

/// Runs the tasks of one program.
pub(crate) struct CliExecutor {
    runner: Arc<dyn Runner>,
    options: Arc<CliOptions>,
}

/// What a task starts with.
struct Start {
    program: PathBuf,
    credentials: Option<Handed>,
}

/// The credentials of a task.
enum Handed {
    /// In a folder that is there.
    Over(CredentialFolder),
    /// For the runner.
    ToRunner(PrivateFolder),
}

impl CliExecutor {
    pub(crate) fn new(runner: Arc<dyn Runner>, options: CliOptions) -> Self {
        Self {
            runner,
            options: Arc::new(options),
        }
    }

    pub(crate) fn is_installed<C: Cli>(&self) -> bool {
        program_path(C::PROGRAM, path_of(&self.options.environment)).is_some()
    }

    pub(crate) async fn run<C: Cli>(&self, task: Task, output: TaskOutput, cancel: CancelSignal) -> TaskEnd {
        let began = Instant::now();
        let refused = |why: String| end_without_command(Cause::Refused, Some(why), began.elapsed());
        if task.input.trim().is_empty() {
            return refused("the task has no prompt".to_owned());
        }
        let arguments = match C::arguments(&task) {
            Ok(arguments) => arguments,
            Err(why) => return refused(why),
        };
        let (options, preparing) = (Arc::clone(&self.options), task.clone());
        let start = match spawn_blocking(move || prepare::<C>(&options, &preparing)).await {
            Ok(Ok(start)) => start,
            Ok(Err(why)) => return refused(why),
            Err(_) => return refused("the agent is stopping".to_owned()),
        };
        let redaction = self.options.secrets.redaction(task.credentials.as_ref());
        let command = self.command::<C>(task, arguments, &start);
        let how = HowToRun {
            output_cap: self.options.output_cap,
            redaction: &redaction,
            interpreter: Some(C::events()),
        };
        let end = run_command(&*self.runner, command, output, cancel, how).await;
        if let Some(Handed::Over(folder)) = start.credentials {
            remove(folder).await;
        }
        end
    }

    fn command<C: Cli>(&self, task: Task, arguments: Vec<OsString>, start: &Start) -> CommandSpec {
        let mut environment = self.options.environment.clone();
        let private_folder = match &start.credentials {
            Some(Handed::Over(folder)) => {
                environment.push((C::CONFIG_VARIABLE.into(), folder.path().into()));
                None
            }
            Some(Handed::ToRunner(folder)) => Some(folder.clone()),
            None => None,
        };
        let default = &self.options.working_directory;
        CommandSpec {
            program: start.program.clone().into(),
            arguments,
            environment,
            working_directory: task
                .working_directory
                .map_or_else(|| default.clone(), |named| default.join(named)),
            standard_input: Bytes::from(task.input),
            timeout: task.timeout,
            grace: self.options.grace,
            private_folder,
        }
    }
}

/// Finds the program and hands the credentials over. Blocks.
fn prepare<C: Cli>(options: &CliOptions, task: &Task) -> Result<Start, String> {
    let program = program_path(C::PROGRAM, path_of(&options.environment))
        .ok_or_else(|| format!("{} is not installed on this device", C::PROGRAM))?;
    let credentials = secret_of(task).map(|secret| {
        let settings = home_of(&options.environment).map(|home| home.join(C::SETTINGS));
        let login = C::login(secret);
        match &options.credentials {
            CredentialPlace::Agent(place) => {
                let file = SecretFile {
                    name: C::SECRET_FILE,
                    content: login.as_bytes(),
                };
                CredentialFolder::create(place, &file, settings.as_deref()).map(Handed::Over)
            }
            CredentialPlace::Runner => Ok(Handed::ToRunner(PrivateFolder {
                variable: C::CONFIG_VARIABLE.to_owned(),
                file: C::SECRET_FILE.to_owned(),
                content: Bytes::copy_from_slice(login.as_bytes()),
                take_along: settings,
            })),
        }
    });
    Ok(Start {
        program,
        credentials: credentials.transpose()?,
    })
}

/// The home folder of whoever runs tasks.
fn home_of(environment: &[(OsString, OsString)]) -> Option<&Path> {
    let variable = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    let home = environment
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(variable));
    home.map(|(_, home)| Path::new(home))
        .filter(|home| home.is_absolute())
}

/// Waits until the folder is gone: the end of a task is told when its secret is off the disk.
async fn remove(folder: CredentialFolder) {
    let path = folder.path().to_owned();
    if let Ok(Err(error)) = spawn_blocking(move || folder.remove()).await {
        tell_left(&path, &error);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use askalf_proto::Credentials;

    use super::*;

    pub(crate) fn task(input: &str) -> Task {
        Task {
            execution_id: "exec_1".into(),
            input: input.into(),
            timeout: Duration::from_secs(60),
            working_directory: None,
            credentials: None,
            max_turns: None,
            max_budget: None,
            agent_id: None,
            agent_name: None,
            named_command: None,
        }
    }

    #[test]
    fn credentials_of_blanks_are_none() {
        let with = |secret: &str| Task {
            credentials: Some(Credentials::new(secret)),
            ..task("x")
        };
        assert_eq!(secret_of(&with(" \n")), None);
        assert_eq!(secret_of(&with(" t\n")), Some("t"));
        assert_eq!(secret_of(&task("x")), None);
    }

    #[test]
    fn options_that_are_printed_show_no_value_of_the_environment() {
        let options = CliOptions {
            environment: vec![("HOME".into(), "/hidden".into())],
            ..CliOptions::new("/".into(), "/run".into())
        };
        let printed = format!("{options:?}");
        assert!(
            printed.contains("HOME") && !printed.contains("hidden"),
            "{printed}"
        );
    }
}
