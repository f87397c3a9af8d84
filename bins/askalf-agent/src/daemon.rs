//! `daemon`: takes the home for itself, wires the parts together and runs until it is told to stop.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use askalf_agent_core::control::{self, ControlOptions};
use askalf_agent_core::{AgentOptions, AgentStatus, Command, Executor};
use askalf_cli::{ExitCode, Failure};
use askalf_cred::{AgentConfig, Home, LoadOutcome, load};
use askalf_exec::{ProcessRunner, ShellExecutor, ShellOptions, become_subreaper, scrubbed_environment};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::credential_file::{CredentialFile, FromEnvironment};
use crate::device_id_file::DeviceIdFile;
use crate::environment;
use crate::facts::device_facts;

/// Tasks at once where nothing is configured, as in the agents before this one.
pub(crate) const DEFAULT_CONCURRENT: u32 = 2;

pub(crate) async fn daemon(home: &Home) -> anyhow::Result<ExitCode> {
    home.create()
        .map_err(|error| Failure::new(ExitCode::Permission, &error).hint(error.hint()))?;
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
            // A full queue holds a stop already.
            let _full = commands.try_send(Command::Stop);
        }
    });

    let config = config(home);
    let executors = executors(home)?;
    let credentials = Arc::new(CredentialFile::new(
        home.clone(),
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

fn config(home: &Home) -> AgentConfig {
    match load(home) {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => credential.config,
        LoadOutcome::Absent | LoadOutcome::Refused(_) => AgentConfig::default(),
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
