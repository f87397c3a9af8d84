//! The daemon as the process of the service.

#![allow(
    unsafe_code,
    reason = "the library's macro makes the function that the system calls, and turns its arguments into strings"
)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use askalf_cli::{ExitCode, Failure};
use tokio::sync::Notify;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher};

use super::NAME;
use crate::daemon::daemon_until;
use crate::vault::Vault;

/// How long the manager waits for the end: tasks are ended first.
const STOP_HINT: Duration = Duration::from_secs(30);

/// What the function that the system calls works on: it takes nothing of ours.
static VAULT: OnceLock<Vault> = OnceLock::new();

define_windows_service!(service_entry, service_main);

/// Where the daemon's lines go: nobody sees the standard error of a service.
pub(crate) fn log_file(home: &Path) -> PathBuf {
    home.join("agent.log")
}

/// Hands this process to the service control manager, which started it, until the service has ended.
pub(crate) fn run(vault: Vault) -> anyhow::Result<ExitCode> {
    let _set_once = VAULT.set(vault);
    service_dispatcher::start(NAME, service_entry).map_err(|_| {
        Failure::new(
            ExitCode::Usage,
            "'service-run' is for the service control manager alone",
        )
        .hint("'askalf-agent install-service' makes and starts the service; 'askalf-agent daemon' runs in this console")
    })?;
    Ok(ExitCode::Done)
}

fn service_main(_arguments: Vec<OsString>) {
    if let Err(error) = serve() {
        tracing::error!("the service ends: {error:#}");
    }
}

fn serve() -> anyhow::Result<()> {
    let stop = Arc::<Notify>::default();
    let handle = Arc::<OnceLock<ServiceStatusHandle>>::default();
    let (asked, own) = (Arc::clone(&stop), Arc::clone(&handle));
    let registered = service_control_handler::register(NAME, move |event| match event {
        ServiceControl::Stop | ServiceControl::Shutdown | ServiceControl::Preshutdown => {
            if let Some(handle) = own.get() {
                let _shown_late = handle.set_service_status(status(ServiceState::StopPending, 0));
            }
            asked.notify_one();
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    })
    .context("the service control manager does not take this process")?;
    let _set_once = handle.set(registered);
    registered
        .set_service_status(status(ServiceState::Running, 0))
        .context("the service control manager cannot be told")?;
    let ended = run_daemon(stop);
    let code = match &ended {
        Ok(code) => code.number(),
        Err(error) => {
            let code = error
                .downcast_ref::<Failure>()
                .map_or(ExitCode::Failed, Failure::code);
            code.number()
        }
    };
    registered
        .set_service_status(status(ServiceState::Stopped, code.into()))
        .context("the service control manager cannot be told")?;
    ended.map(drop)
}

fn run_daemon(stop: Arc<Notify>) -> anyhow::Result<ExitCode> {
    let vault = VAULT.get().context("the service has no home")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime did not start")?;
    let ended = runtime.block_on(daemon_until(
        vault,
        Some(log_file(vault.home().path())),
        async move { stop.notified().await },
    ));
    runtime.shutdown_background();
    ended
}

fn status(state: ServiceState, code: u32) -> ServiceStatus {
    let accepts = match state {
        ServiceState::Running => ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN,
        _ => ServiceControlAccept::empty(),
    };
    ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: accepts,
        exit_code: match code {
            0 => ServiceExitCode::NO_ERROR,
            code => ServiceExitCode::ServiceSpecific(code),
        },
        checkpoint: 0,
        wait_hint: if state == ServiceState::StopPending {
            STOP_HINT
        } else {
            Duration::ZERO
        },
        process_id: None,
    }
}
