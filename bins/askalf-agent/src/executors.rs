//! What runs tasks on this device, and with what around them.

use std::sync::Arc;

use askalf_agent_core::Executor;
use askalf_cli::Failure;
use askalf_cred::Home;
use askalf_exec::redact::Secrets;
use askalf_exec::{ClaudeExecutor, CliOptions, CodexExecutor, ShellExecutor, ShellOptions, TaskLimits};

use crate::shell::shell;
use crate::task_place::{TaskPlace, credential_folders};

/// The executors, installed or not, in the order in which the device prefers them.
pub(crate) fn executors(
    home: &Home,
    place: &TaskPlace,
    limits: &TaskLimits,
    secrets: &Secrets,
) -> Result<Vec<Arc<dyn Executor>>, Failure> {
    let runner = place.runner(limits)?;
    let shell = ShellOptions {
        environment: place.environment(),
        secrets: secrets.clone(),
        ..ShellOptions::new(shell(), place.folder(home))
    };
    let cli = CliOptions {
        environment: place.environment(),
        credentials: place.credentials(home),
        secrets: secrets.clone(),
        ..CliOptions::new(place.folder(home), credential_folders(home))
    };
    Ok(vec![
        Arc::new(ClaudeExecutor::new(Arc::clone(&runner), cli.clone())),
        Arc::new(CodexExecutor::new(Arc::clone(&runner), cli)),
        Arc::new(ShellExecutor::new(runner, shell)),
    ])
}
