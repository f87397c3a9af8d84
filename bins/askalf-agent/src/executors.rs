//! What runs tasks on this device, and with what around them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use askalf_agent_core::{Executor, Runner};
use askalf_cli::{ExitCode, Failure};
use askalf_cred::Home;
use askalf_exec::redact::Secrets;
use askalf_exec::{
    ClaudeExecutor, CliOptions, CodexExecutor, ProcessRunner, ShellExecutor, ShellOptions, TaskLimits,
    become_subreaper, scrubbed_environment,
};

use crate::environment;
use crate::shell::shell;
use crate::task_limits::argument;

/// The executors, installed or not, in the order in which the device prefers them.
pub(crate) fn executors(
    home: &Home,
    limits: &TaskLimits,
    secrets: &Secrets,
) -> Result<Vec<Arc<dyn Executor>>, Failure> {
    let runner = runner(limits)?;
    let shell = ShellOptions {
        environment: task_environment(),
        secrets: secrets.clone(),
        ..ShellOptions::new(shell(), task_folder(home))
    };
    let cli = CliOptions {
        environment: task_environment(),
        secrets: secrets.clone(),
        ..CliOptions::new(task_folder(home), credential_folders(home))
    };
    Ok(vec![
        Arc::new(ClaudeExecutor::new(Arc::clone(&runner), cli.clone())),
        Arc::new(CodexExecutor::new(Arc::clone(&runner), cli)),
        Arc::new(ShellExecutor::new(runner, shell)),
    ])
}

/// What starts programs within these limits, with this process as the one that adopts what a killed runner leaves behind.
pub(crate) fn runner(limits: &TaskLimits) -> Result<Arc<dyn Runner>, Failure> {
    become_subreaper().map_err(|error| {
        Failure::new(
            ExitCode::Failed,
            format!(
                "the system does not let the agent adopt processes: {}",
                error.kind()
            ),
        )
    })?;
    let arguments = vec!["runner".into(), "--limits".into(), argument(limits).into()];
    Ok(Arc::new(ProcessRunner::new(own_binary()?, arguments)))
}

/// What of this process's environment a task may see.
pub(crate) fn task_environment() -> Vec<(OsString, OsString)> {
    scrubbed_environment(std::env::vars_os())
}

/// Where a task runs that names no folder.
pub(crate) fn task_folder(home: &Home) -> PathBuf {
    environment::user_home().unwrap_or_else(|| home.path().to_owned())
}

/// `state/run`: where credentials are while the tasks run that they belong to.
pub(crate) fn credential_folders(home: &Home) -> PathBuf {
    home.state_dir().join("run")
}

/// The running binary, whatever has become of its file since.
#[cfg(target_os = "linux")]
fn own_binary() -> Result<PathBuf, Failure> {
    Ok(PathBuf::from("/proc/self/exe"))
}

#[cfg(not(target_os = "linux"))]
fn own_binary() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|_| Failure::new(ExitCode::Failed, "the agent does not find its own binary"))
}
