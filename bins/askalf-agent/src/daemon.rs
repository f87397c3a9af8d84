//! `daemon`: takes the home for itself, wires the parts together and runs until it is told to stop.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use askalf_agent_core::control::{self, ControlOptions};
use askalf_agent_core::{AgentOptions, AgentStatus, Command, Executor};
use askalf_cli::{ExitCode, Failure};
use askalf_cred::{AgentConfig, Home};
use askalf_exec::{ProcessRunner, ShellExecutor, ShellOptions, become_subreaper, scrubbed_environment};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::credential_file::{CredentialFile, FromEnvironment};
use crate::device_id_file::DeviceIdFile;
use crate::environment;
use crate::facts::device_facts;
use crate::home_lock;
use crate::start::start;
use crate::vault::Vault;

/// Tasks at once where nothing is configured, as in the agents before this one.
pub(crate) const DEFAULT_CONCURRENT: u32 = 2;

pub(crate) async fn daemon(vault: &Vault) -> anyhow::Result<ExitCode> {
    let home = vault.home();
    let proxies = environment::proxies()?;
    vault.create()?;
    let _lock = home_lock::take(home).await?;
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be caught")?;
    let listener = listen(home)?;

    let (commands, received) = mpsc::channel(16);
    let (status, statuses) = watch::channel(AgentStatus::starting(
        env!("CARGO_PKG_VERSION"),
        crate::clock::unix_ms(),
    ));
    let uid = rustix::process::geteuid().as_raw();
    let control = listener.map(|listener| {
        tokio::spawn(control::serve(
            listener,
            ControlOptions::new(uid),
            statuses,
            commands.clone(),
        ))
    });
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if commands.send(Command::Stop).await.is_err() {
                return;
            }
        }
    });

    let (config, keys) = start(vault).await?;
    let executors = executors(home)?;
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
        // While the lock is held: nobody else's socket can be there.
        if let Err(error) = fs::remove_file(home.socket_path()) {
            tracing::debug!("the control socket was not removed: {}", error.kind());
        }
    }
    Ok(ExitCode::Done)
}

/// The control socket; `None` where the disk takes none: a device that cannot be asked still works. The caller holds
/// the lock.
fn listen(home: &Home) -> Result<Option<UnixListener>, Failure> {
    let path = home.socket_path();
    let bound = || {
        // An agent that was killed leaves its socket; the lock says that nobody uses it.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    let error = match bound() {
        Ok(listener) => return Ok(Some(listener)),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem | ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            tracing::warn!(
                "there is no control socket at {}: {}. The agent runs without: 'status', 'disconnect' and 'pair' do \
                 not reach it",
                path.display(),
                error.kind()
            );
            Ok(None)
        }
        // What a path longer than its address has room for is called.
        ErrorKind::InvalidInput => Err(Failure::new(
            ExitCode::Configuration,
            format!("{} is too long for the path of a socket", path.display()),
        )
        .hint("name a folder with a shorter path in ASKALF_HOME: about 100 characters")),
        kind => Err(Failure::new(
            ExitCode::Permission,
            format!("cannot listen on {}: {kind}", path.display()),
        )
        .hint("check the rights of the agent's folder")),
    }
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
    let working_directory = std::env::home_dir()
        .filter(|folder| folder.is_absolute() && folder.is_dir())
        .unwrap_or_else(|| home.path().to_owned());
    let shell = ["/bin/bash", "/usr/bin/bash"]
        .into_iter()
        .map(PathBuf::from)
        .find(|shell| shell.is_file());
    let options = ShellOptions {
        environment: scrubbed_environment(std::env::vars_os()),
        ..ShellOptions::new(
            shell.unwrap_or_else(|| PathBuf::from("/bin/sh")),
            working_directory,
        )
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
