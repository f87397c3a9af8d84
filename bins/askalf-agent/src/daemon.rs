//! `daemon`: takes the home for itself, wires the parts together and runs until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
#[cfg(target_os = "linux")]
use askalf_agent_core::Pulse;
use askalf_agent_core::control;
use askalf_agent_core::journal::JournalFile;
use askalf_agent_core::{AgentOptions, AgentStatus, ApprovalQueue, Command};
use askalf_cli::{ExitCode, StopRequests, private_folder};
use askalf_cred::{AgentConfig, Home};
use askalf_exec::sweep_credential_folders;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

use crate::approval_prompt;
use crate::control_socket;
use crate::credential_file::{CredentialFile, FromEnvironment};
use crate::device_id_file::DeviceIdFile;
use crate::environment;
use crate::executors::executors;
use crate::facts::{Probe, identity};
use crate::guard::{audit_log, guard};
use crate::home_lock;
use crate::redaction;
use crate::start::start;
use crate::task_limits;
use crate::task_place::{TaskPlace, credential_folders};
use crate::vault::Vault;
#[cfg(target_os = "linux")]
use crate::{sd_notify::Notifier, service_manager::report};

/// Tasks at once where nothing is configured, as in the agents before this one.
pub(crate) const DEFAULT_CONCURRENT: u32 = 2;

pub(crate) async fn daemon(vault: &Vault) -> anyhow::Result<ExitCode> {
    let home = vault.home();
    let proxies = environment::proxies()?;
    let place = TaskPlace::from_environment()?;
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
    // What a killed daemon left behind goes before any task runs, while the lock is held.
    let leftovers = credential_folders(home);
    let _swept = spawn_blocking(move || sweep_credential_folders(&leftovers)).await;
    let audit = audit_log(home);
    let heads = audit.heads();
    let guard = guard(home, &place, approvals, audit);
    let executors = executors(home, &place, &task_limits::configured(&config)?, &secrets)?
        .into_iter()
        .map(|executor| guard.around(executor))
        .collect();
    let credentials = CredentialFile::new(
        home.clone(),
        keys,
        FromEnvironment {
            token: environment::api_key()?,
            url: environment::variable("ASKALF_URL"),
        },
        proxies,
    );
    let mut options = options(&config);
    options.audit_head = Some(heads);
    options.tasks_run_as = place.other_user().map(str::to_owned);
    // Lock, config and control socket are held: the start is complete, whatever becomes of the bridge.
    #[cfg(target_os = "linux")]
    let service_manager = match Notifier::new(&environment::service_manager()) {
        Ok(Some(notifier)) => {
            let pulse = options.pulse.insert(Pulse::default()).clone();
            Some(tokio::spawn(report(notifier, status.subscribe(), pulse)))
        }
        Ok(None) => None,
        Err(error) => {
            tracing::warn!("the service manager cannot be told anything: {}", error.kind());
            None
        }
    };
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

    #[cfg(target_os = "linux")]
    if let Some(reported) = service_manager {
        // The last status is on its way: nothing is left to wait for but a send.
        let _told = reported.await;
    }
    if let Some(control) = control {
        control.abort();
        control_socket::remove(home);
    }
    Ok(ExitCode::Done)
}

fn options(config: &AgentConfig) -> AgentOptions {
    let name = config.device_name.clone();
    // The driver looks at the rest before it tells a bridge anything.
    let mut options = AgentOptions::new(identity(name.clone()));
    options.probe = Some(Arc::new(Probe::new(name)));
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
