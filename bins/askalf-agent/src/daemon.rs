//! `daemon`: takes the home for itself, wires the parts together and runs until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use askalf_agent_core::control;
use askalf_agent_core::journal::JournalFile;
use askalf_agent_core::{AgentOptions, AgentStatus, Command, Executor};
use askalf_cli::{ExitCode, Failure, StopRequests, private_folder};
use askalf_cred::{AgentConfig, Home};
use askalf_exec::redact::Secrets;
use askalf_exec::{ProcessRunner, ShellExecutor, ShellOptions, become_subreaper, scrubbed_environment};
use tokio::sync::{mpsc, watch};

use crate::control_socket;
use crate::credential_file::{CredentialFile, FromEnvironment};
use crate::device_id_file::DeviceIdFile;
use crate::environment;
use crate::facts::device_facts;
use crate::home_lock;
use crate::redaction;
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
    let secrets = redaction::secrets(home)?;
    let mut stop = StopRequests::new().context("signals cannot be caught")?;
    let listener = control_socket::listen(home)?;

    let (commands, received) = mpsc::channel(16);
    let (status, statuses) = watch::channel(AgentStatus::starting(
        env!("CARGO_PKG_VERSION"),
        crate::clock::unix_ms(),
    ));
    let control = listener.map(|listener| {
        tokio::spawn(control::serve(
            listener,
            control_socket::options(),
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
    let executors = executors(home, &secrets)?;
    let credentials = CredentialFile::new(
        home.clone(),
        keys,
        FromEnvironment {
            token: environment::api_key()?,
            url: environment::variable("ASKALF_URL"),
        },
        proxies,
    );
    let options = options(&config);
    askalf_agent_core::run(
        options,
        redaction::covered(credentials, &secrets),
        executors,
        Arc::new(journal(home)),
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

/// The execution journal; the home is this process's alone.
fn journal(home: &Home) -> JournalFile {
    let folder = home.state_dir();
    if let Err(error) = private_folder().create(&folder) {
        // The journal says what follows.
        tracing::debug!("{} cannot be made: {}", folder.display(), error.kind());
    }
    JournalFile::new(folder.join("executions.db"))
}

fn executors(home: &Home, secrets: &Secrets) -> Result<Vec<Arc<dyn Executor>>, Failure> {
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
    let working_directory = std::env::home_dir()
        .filter(|folder| folder.is_absolute() && folder.is_dir())
        .unwrap_or_else(|| home.path().to_owned());
    let options = ShellOptions {
        environment: scrubbed_environment(std::env::vars_os()),
        secrets: secrets.clone(),
        ..ShellOptions::new(shell(), working_directory)
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
