//! `daemon`: takes the home for itself, wires the parts together and runs until it is told to stop.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use askalf_agent_core::control::{self, ControlOptions};
use askalf_agent_core::{AgentOptions, AgentStatus, Command, Executor};
use askalf_cli::{ExitCode, Failure};
use askalf_cred::{
    AgentConfig, Home, KeySources, LoadOutcome, MigrationStep, Recovery, Settled, harden_process,
    migrate_with,
};
use askalf_exec::{ProcessRunner, ShellExecutor, ShellOptions, become_subreaper, scrubbed_environment};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::credential_file::{CredentialFile, FromEnvironment};
use crate::device_id_file::DeviceIdFile;
use crate::environment;
use crate::facts::device_facts;
use crate::machine_facts::machine_facts;
use crate::vault::Vault;

/// Tasks at once where nothing is configured, as in the agents before this one.
pub(crate) const DEFAULT_CONCURRENT: u32 = 2;

pub(crate) async fn daemon(vault: &Vault) -> anyhow::Result<ExitCode> {
    let home = vault.home();
    vault.create()?;
    // From here on this process holds the key.
    if let Err(error) = harden_process() {
        tracing::warn!("{error}. {}", error.hint());
    }
    let _lock = lock(home)?;
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be caught")?;
    let listener = listen(home)?;

    let (commands, received) = mpsc::channel(16);
    let (status, statuses) = watch::channel(AgentStatus::starting(
        env!("CARGO_PKG_VERSION"),
        crate::clock::unix_ms(),
    ));
    let uid = rustix::process::geteuid().as_raw();
    let control = tokio::spawn(control::serve(
        listener,
        ControlOptions::new(uid),
        statuses,
        commands.clone(),
    ));
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

    control.abort();
    // While the lock is held: nobody else's socket can be there.
    if let Err(error) = fs::remove_file(home.socket_path()) {
        tracing::debug!("the control socket was not removed: {}", error.kind());
    }
    Ok(ExitCode::Done)
}

/// Takes the home for this process alone.
fn lock(home: &Home) -> Result<File, Failure> {
    let path = home.lock_path();
    let unusable = |error: std::io::Error| {
        Failure::new(
            ExitCode::Permission,
            format!("{} cannot be locked: {}", path.display(), error.kind()),
        )
        .hint("check owner and mode of the agent's folder")
    };
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {
            // The number is for people; nothing is ever decided by it.
            file.set_len(0).map_err(unusable)?;
            file.write_all(format!("{}\n", std::process::id()).as_bytes())
                .map_err(unusable)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let known = file.take(16).read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            let holder = if known {
                format!(" (process {})", pid.trim())
            } else {
                String::new()
            };
            Err(Failure::new(
                ExitCode::TryAgain,
                format!("an agent runs in {} already{holder}", home.path().display()),
            )
            .hint("see 'askalf-agent status'; 'askalf-agent disconnect' stops it"))
        }
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// The control socket. The caller holds the lock.
fn listen(home: &Home) -> Result<UnixListener, Failure> {
    let path: PathBuf = home.socket_path();
    let unusable = |error: std::io::Error| {
        Failure::new(ExitCode::Permission, format!("cannot listen on {}: {}", path.display(), error.kind()))
            .hint("check the rights of the agent's folder; socket paths hold about 100 characters: ASKALF_HOME may name a shorter one")
    };
    // An agent that was killed leaves its socket; the lock says that nobody uses it.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(unusable(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(unusable)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(unusable)?;
    Ok(listener)
}

/// Completes what an act left staged and seals the key of an older agent anew, once; on files of our own nothing is
/// written. Yields the config, and the keys that later loads need.
async fn start(vault: &Vault) -> anyhow::Result<(AgentConfig, KeySources)> {
    let migrating = vault.clone();
    let migration = tokio::task::spawn_blocking(move || {
        let options = migrating
            .save_options()
            .keys(migrating.keys().clone().machine(machine_facts()));
        migrate_with(migrating.home(), SystemTime::now(), &options)
    })
    .await
    .context("reading the credential was cut off")?;
    tell_recovery(&migration.recovery);
    let hint = migration.step.hint().unwrap_or_default();
    let mut keys = vault.keys().clone();
    match &migration.step {
        MigrationStep::Done { .. } => tracing::info!("{}. {hint}", migration.step),
        MigrationStep::Failed { .. } => {
            tracing::warn!("{}. {hint}", migration.step);
            keys = keys.machine(machine_facts());
        }
        _ => {}
    }
    let config = match migration.outcome {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => credential.config,
        LoadOutcome::Absent | LoadOutcome::Refused(_) => AgentConfig::default(),
    };
    for field in config.misread() {
        tracing::warn!("agent.json: the value of '{field}' has the wrong type and is not used");
    }
    Ok((config, keys))
}

fn tell_recovery(recovery: &Recovery) {
    match recovery.keyfile {
        Some(Settled::RolledForward) => {
            tracing::info!("a rotation of the keyfile that was cut off is complete")
        }
        Some(Settled::RolledBack) => tracing::info!("a rotation of the keyfile that was cut off is undone"),
        _ => {}
    }
    if let Some(file) = &recovery.completed {
        tracing::info!(
            "a save that was cut off is complete: {} is in place",
            file.display()
        );
    }
    if let Some(file) = &recovery.moved_aside {
        tracing::info!("the torn agent.json is kept as {}", file.display());
    }
    if let Some(fault) = &recovery.fault {
        tracing::warn!(
            "what an earlier act left staged stays so: {fault}. {}",
            fault.hint()
        );
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
        .filter(|folder| folder.is_dir())
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
