//! `daemon`: takes the home for itself, wires the parts together and runs until it is told to stop.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use anyhow::Context;
#[cfg(target_os = "linux")]
use askalf_agent_core::Pulse;
use askalf_agent_core::control;
use askalf_agent_core::journal::JournalFile;
use askalf_agent_core::{AgentOptions, AgentStatus, ApprovalQueue, Command, Proxies};
use askalf_cli::{ExitCode, ReloadRequests, StopRequests, private_folder};
use askalf_cred::Home;
use askalf_exec::sweep_credential_folders;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::spawn_blocking;

use crate::approval_prompt;
use crate::control_socket;
use crate::credential_file::{CredentialFile, FromEnvironment};
use crate::device_id_file::DeviceIdFile;
use crate::environment;
use crate::guard::{audit_log, guard};
use crate::home_lock;
use crate::redaction;
use crate::reload::Reloaded;
use crate::run_record::RunRecord;
use crate::start::start;
use crate::task_place::{TaskPlace, credential_folders};
use crate::vault::Vault;
#[cfg(target_os = "linux")]
use crate::{sd_notify::Notifier, service_manager::report};

/// Tasks at once where nothing is configured, as in the agents before this one.
pub(crate) const DEFAULT_CONCURRENT: u32 = 2;

pub(crate) async fn daemon(vault: &Vault, log_file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    daemon_until(vault, log_file, std::future::pending()).await
}

/// The same, which also stops when `asked` is done.
pub(crate) async fn daemon_until(
    vault: &Vault,
    log_file: Option<PathBuf>,
    asked: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<ExitCode> {
    let home = vault.home();
    let proxies = environment::proxies()?;
    let place = TaskPlace::from_environment()?;
    vault.create()?;
    let _lock = home_lock::take(home).await?;
    let record = Arc::new(RunRecord::begin(home, log_file).await);
    let outcome = run(vault, &place, proxies, asked, &record).await;
    match &outcome {
        Ok(_) => record.end(None).await,
        Err(error) => record.end(Some(&format!("{error:#}"))).await,
    }
    outcome
}

async fn run(
    vault: &Vault,
    place: &TaskPlace,
    proxies: Proxies,
    end: impl Future<Output = ()> + Send + 'static,
    record: &Arc<RunRecord>,
) -> anyhow::Result<ExitCode> {
    let home = vault.home();
    let secrets = redaction::secrets(home)?;
    let stop = StopRequests::new().context("signals cannot be caught")?;
    let reloads = ReloadRequests::new().context("signals cannot be caught")?;
    let listener = control_socket::listen(home)?;

    let (commands, received) = mpsc::channel(16);
    let (status, statuses) = watch::channel(AgentStatus::starting(
        env!("CARGO_PKG_VERSION"),
        crate::clock::unix_ms(),
    ));
    let (asked, requests) = mpsc::channel(16);
    let approvals = ApprovalQueue::default();
    approval_prompt::start(&approvals);
    let control = listener.map(|listener| {
        tokio::spawn(control::serve(
            listener,
            control_socket::options(approvals.clone()),
            statuses,
            asked,
        ))
    });
    let reload = Arc::new(Notify::new());
    tokio::spawn(pass_on(
        stop,
        end,
        reloads,
        requests,
        commands.clone(),
        Arc::clone(&reload),
        Arc::clone(record),
    ));

    let (config, keys) = start(vault).await?;
    // What a killed daemon left behind goes before any task runs, while the lock is held.
    let leftovers = credential_folders(home);
    let _swept = spawn_blocking(move || sweep_credential_folders(&leftovers)).await;
    let audit = audit_log(home);
    let heads = audit.heads();
    let guard = guard(home, place, approvals, audit);
    let parts = Reloaded {
        home: home.clone(),
        place: place.clone(),
        keys: keys.clone(),
        secrets: secrets.clone(),
        guard,
    };
    let settings = parts.settings(&config)?;
    let credentials = CredentialFile::new(
        home.clone(),
        keys,
        FromEnvironment {
            token: environment::api_key()?,
            url: environment::variable("ASKALF_URL"),
        },
        proxies,
    );
    let (changes, changed) = watch::channel(None);
    #[cfg_attr(
        not(target_os = "linux"),
        allow(unused_mut, reason = "changed where there are service managers")
    )]
    let mut options = AgentOptions {
        probe: settings.probe.clone(),
        max_concurrent: settings.max_concurrent,
        default_timeout: settings.default_timeout,
        audit_head: Some(heads),
        settings: Some(changed),
        tasks_run_as: place.other_user().map(str::to_owned),
        ..AgentOptions::new(settings.facts.clone())
    };
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
    tokio::spawn(parts.follow(reload, changes, commands));
    askalf_agent_core::run(
        options,
        redaction::covered(credentials, &secrets),
        settings.executors,
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

/// Passes on what signals and the control socket ask for. A reload is done beside, so that a disk that hangs holds up no stop.
async fn pass_on(
    mut stop: StopRequests,
    end: impl Future<Output = ()> + Send,
    mut reloads: ReloadRequests,
    mut requests: mpsc::Receiver<Command>,
    commands: mpsc::Sender<Command>,
    reload: Arc<Notify>,
    record: Arc<RunRecord>,
) {
    let (mut end, mut was_ended) = (pin!(end), false);
    let on_terminal = io::stdin().is_terminal();
    loop {
        let command = tokio::select! {
            () = stop.next() => {
                record.asked_by("a signal");
                Command::Stop
            }
            () = &mut end, if !was_ended => {
                was_ended = true;
                record.asked_by("the service manager");
                Command::Stop
            }
            // The same signal tells that the terminal was closed, whose daemon ends with it.
            () = reloads.next() => {
                if !on_terminal || io::stdin().is_terminal() {
                    tracing::info!("told to read the configuration again");
                    reload.notify_one();
                    continue;
                }
                record.asked_by("the end of its terminal");
                Command::Stop
            }
            // Without a control socket nobody asks over it.
            Some(request) = requests.recv() => match request {
                Command::CredentialChanged => {
                    reload.notify_one();
                    continue;
                }
                Command::Stop | Command::Drain => {
                    record.asked_by("'askalf-agent disconnect'");
                    request
                }
            },
        };
        if commands.send(command).await.is_err() {
            return;
        }
    }
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
