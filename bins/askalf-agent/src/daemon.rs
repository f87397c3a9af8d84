//! `daemon`: takes the home for itself, wires the parts together and runs until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use askalf_agent_core::control;
use askalf_agent_core::{AgentOptions, AgentStatus, ApprovalQueue, Command, Executor};
use askalf_cli::{ExitCode, Failure, StopRequests};
use askalf_cred::{AgentConfig, Home};
use askalf_exec::{ProcessRunner, ShellExecutor, ShellOptions, become_subreaper, scrubbed_environment};
use tokio::sync::{mpsc, watch};

use crate::approval_prompt;
use crate::control_socket;
use crate::credential_file::{CredentialFile, FromEnvironment};
use crate::device_id_file::DeviceIdFile;
use crate::environment;
use crate::facts::device_facts;
use crate::guard::{guard, task_folder};
use crate::home_lock;
use crate::shell::shell;
use crate::start::start;
use crate::vault::Vault;

/// Tasks at once where nothing is configured, as in the agents before this one.
pub(crate) const DEFAULT_CONCURRENT: u32 = 2;

pub(crate) async fn daemon(vault: &Vault) -> anyhow::Result<ExitCode> {
    let home = vault.home();
    let proxies = environment::proxies()?;
    vault.create()?;
    let _lock = home_lock::take(home).await?;
    let mut stop = StopRequests::new().context("signals cannot be caught")?;
    let listener = control_socket::listen(home)?;

    let (commands, received) = mpsc::channel(16);
    let (status, statuses) = watch::channel(AgentStatus::starting(
        env!("CARGO_PKG_VERSION"),
        crate::clock::unix_ms(),
    ));
    let approvals = ApprovalQueue::default();
    approval_prompt::start(&approvals);
    let control = listener.map(|listener| {
        tokio::spawn(control::serve(
            listener,
            control_socket::options(approvals.clone()),
            statuses,
            commands.clone(),
        ))
    });
    tokio::spawn(async move {
        loop {
            stop.next().await;
            if commands.send(Command::Stop).await.is_err() {
                return;
            }
        }
    });

    let (config, keys) = start(vault).await?;
    let guard = guard(home, approvals);
    let executors = executors(home)?
        .into_iter()
        .map(|executor| guard.around(executor))
        .collect();
    let credentials = Arc::new(CredentialFile::new(
        home.clone(),
        keys,
        FromEnvironment {
            token: environment::api_key()?,
            url: environment::variable("ASKALF_URL"),
        },
        proxies,
    ));
    let options = options(&config);
    askalf_agent_core::run(
        options,
        credentials,
        executors,
        Arc::new(DeviceIdFile::new(home)),
        received,
        status,
    )
    .await;

    if let Some(control) = control {
        control.abort();
        control_socket::remove(home);
    }
    Ok(ExitCode::Done)
}

fn options(config: &AgentConfig) -> AgentOptions {
    let mut options = AgentOptions::new(device_facts(config.device_name.clone()));
    options.max_concurrent = config.max_concurrent.unwrap_or(DEFAULT_CONCURRENT);
    if let Some(timeout) = config.execution_timeout_ms {
        options.default_timeout = Duration::from_millis(timeout);
    }
    options
}

fn executors(home: &Home) -> Result<Vec<Arc<dyn Executor>>, Failure> {
    // Adopts what a killed runner leaves behind, so that it can be ended.
    become_subreaper().map_err(|error| {
        Failure::new(
            ExitCode::Failed,
            format!(
                "the system does not let the agent adopt processes: {}",
                error.kind()
            ),
        )
    })?;
    let runner = Arc::new(ProcessRunner::new(own_binary()?, vec!["runner".into()]));
    let options = ShellOptions {
        environment: scrubbed_environment(std::env::vars_os()),
        ..ShellOptions::new(shell(), task_folder(home))
    };
    Ok(vec![Arc::new(ShellExecutor::new(runner, options))])
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
