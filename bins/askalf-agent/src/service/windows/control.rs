//! Making the service and removing it, by the service control manager.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use askalf_cli::{ExitCode, Failure, in_plain_words};
use windows_service::Error;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceExitCode,
    ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState,
    ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::{ACCOUNT, NAME, arguments, hand_over, home, program};
use crate::service::acts::Acts;
use crate::service::programs;

/// The system's word for "there is no such service" (winerror.h).
const ERROR_SERVICE_DOES_NOT_EXIST: i32 = 1060;

/// How long the service may take to start or to stop: it ends its tasks first.
const PATIENCE: Duration = Duration::from_secs(40);

/// Pause between two looks at its state.
const PAUSE: Duration = Duration::from_millis(100);

const HINT: &str = "see agent.log in the service's home; the same command goes on where this one stopped";

/// What the system is told of the folders of this machine.
#[derive(Debug)]
pub(crate) struct Folders {
    program_data: PathBuf,
    program_files: PathBuf,
}

impl Folders {
    /// By the system's variables.
    fn of_the_system() -> Result<Self, Failure> {
        let folder = |variable: &str| {
            std::env::var_os(variable)
                .map(PathBuf::from)
                .filter(|folder| folder.is_absolute())
                .ok_or_else(|| {
                    Failure::new(
                        ExitCode::Failed,
                        format!("the system does not say where its folder {variable} is"),
                    )
                })
        };
        Ok(Self {
            program_data: folder("ProgramData")?,
            program_files: folder("ProgramFiles")?,
        })
    }
}

/// Makes the service, or brings one up to date, and starts it.
pub(crate) fn install(dry_run: bool, json: bool) -> Result<Acts, Failure> {
    let folders = Folders::of_the_system()?;
    let home = home(&folders.program_data);
    let mut acts = Acts::new(dry_run, json);
    let manager = if dry_run {
        None
    } else {
        Some(manager(ServiceManagerAccess::CREATE_SERVICE)?)
    };
    let present = match &manager {
        Some(manager) => open(manager, ServiceAccess::all())?,
        None => None,
    };
    if let Some(service) = &present {
        acts.act("stop", NAME, || stop(service))?;
    }
    let binary = place(&mut acts, &program(&folders.program_files))?;
    let info = info(&binary, &home);
    let line = programs::line(
        &binary.display().to_string(),
        &info
            .launch_arguments
            .iter()
            .map(|word| word.to_str().unwrap_or_default())
            .collect::<Vec<_>>(),
    );
    let mut service = present;
    acts.act("make the service", format!("{NAME} as {ACCOUNT}: {line}"), || {
        let Some(manager) = &manager else { return Ok(()) };
        let made = match service.take() {
            Some(service) => service.change_config(&info).map(|()| service),
            None => manager.create_service(&info, ServiceAccess::all()),
        };
        service = Some(made.map_err(|error| failure("made", &error))?);
        Ok(())
    })?;
    let mut not_restarted = None;
    acts.act(
        "have it restarted",
        "2 s after each end that nobody asked for",
        || {
            not_restarted = service.as_ref().and_then(|service| restart_always(service).err());
            Ok(())
        },
    )?;
    if let Some(failure) = not_restarted {
        acts.note(format!(
            "the service does not come back by itself from an end that nobody asked for: {failure}"
        ));
    }
    if !home.is_dir() {
        acts.act("make", home.display().to_string(), || {
            std::fs::create_dir_all(&home).map_err(|error| {
                Failure::new(
                    ExitCode::Failed,
                    format!("{} cannot be made: {}", home.display(), in_plain_words(&error)),
                )
            })
        })?;
    }
    for call in hand_over(&home, has_files(&home)) {
        acts.run(
            "icacls",
            &call.iter().map(String::as_str).collect::<Vec<_>>(),
            HINT,
        )?;
    }
    acts.act("start", NAME, || service.as_ref().map_or(Ok(()), start))?;
    acts.note(format!(
        "in a console of an administrator: askalf-agent --home \"{}\" pair CODE --url https://BRIDGE. The service takes the key at once",
        home.display()
    ));
    acts.note("tasks run as the service's own account and can read its key: dispatch only what you would run there by hand");
    Ok(acts)
}

/// Stops the service and removes it; its home stays.
pub(crate) fn uninstall(dry_run: bool, json: bool) -> Result<Acts, Failure> {
    let home = home(&Folders::of_the_system()?.program_data);
    let mut acts = Acts::new(dry_run, json);
    if dry_run {
        acts.act("stop", NAME, || Ok(()))?;
        acts.act("remove the service", NAME, || Ok(()))?;
    } else if let Some(service) = open(&manager(ServiceManagerAccess::CONNECT)?, ServiceAccess::all())? {
        acts.act("stop", NAME, || stop(&service))?;
        acts.act("remove the service", NAME, || {
            service.delete().map_err(|error| failure("removed", &error))
        })?;
    } else {
        acts.unchanged("remove the service", NAME)?;
    }
    acts.note(format!("{} with the key stays", home.display()));
    Ok(acts)
}

/// What an act wrote into the service's home becomes the service's.
pub(crate) fn after_act(on: &Path) -> Result<(), Failure> {
    let Ok(folders) = Folders::of_the_system() else {
        return Ok(());
    };
    let home = home(&folders.program_data);
    if on != home
        || open(
            &manager(ServiceManagerAccess::CONNECT)?,
            ServiceAccess::QUERY_STATUS,
        )?
        .is_none()
    {
        return Ok(());
    }
    for call in hand_over(&home, has_files(&home)) {
        programs::succeed(
            "icacls",
            &call.iter().map(String::as_str).collect::<Vec<_>>(),
            HINT,
        )?;
    }
    Ok(())
}

fn has_files(home: &Path) -> bool {
    std::fs::read_dir(home).is_ok_and(|mut entries| entries.next().is_some())
}

/// Puts the running program where only administrators can change it.
fn place(acts: &mut Acts, to: &Path) -> Result<PathBuf, Failure> {
    let running = std::env::current_exe()
        .map_err(|_| Failure::new(ExitCode::Failed, "the program's own file is not found"))?;
    if running != to {
        acts.copy_program(&running, to)?;
    }
    Ok(to.to_owned())
}

fn info(binary: &Path, home: &Path) -> ServiceInfo {
    ServiceInfo {
        name: NAME.into(),
        display_name: "askalf device agent".into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: binary.to_owned(),
        launch_arguments: arguments(home).into_iter().map(OsString::from).collect(),
        dependencies: Vec::new(),
        account_name: Some(ACCOUNT.into()),
        account_password: None,
    }
}

fn restart_always(service: &Service) -> Result<(), Failure> {
    let restart = ServiceAction {
        action_type: ServiceActionType::Restart,
        delay: Duration::from_secs(2),
    };
    let actions = ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(Duration::from_secs(24 * 60 * 60)),
        reboot_msg: None,
        command: None,
        // The last one stands for all that follow.
        actions: Some(vec![restart; 3]),
    };
    service
        .set_description("Holds this device's key, connects it to an askalf bridge and runs the tasks that come from there.")
        .and_then(|()| service.update_failure_actions(actions))
        .and_then(|()| service.set_failure_actions_on_non_crash_failures(true))
        .map_err(|error| failure("set up", &error))
}

fn start(service: &Service) -> Result<(), Failure> {
    let no_arguments: [&OsStr; 0] = [];
    service
        .start(&no_arguments)
        .map_err(|error| failure("started", &error))?;
    wait_for(service, ServiceState::Running)
}

/// Stops it and waits for its end; nothing where it does not run.
fn stop(service: &Service) -> Result<(), Failure> {
    let state = service
        .query_status()
        .map_err(|error| failure("asked", &error))?
        .current_state;
    if state == ServiceState::Stopped {
        return Ok(());
    }
    service.stop().map_err(|error| failure("stopped", &error))?;
    wait_for(service, ServiceState::Stopped)
}

fn wait_for(service: &Service, wanted: ServiceState) -> Result<(), Failure> {
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        let status = service.query_status().map_err(|error| failure("asked", &error))?;
        if status.current_state == wanted {
            return Ok(());
        }
        if status.current_state == ServiceState::Stopped {
            let code = match status.exit_code {
                ServiceExitCode::Win32(code) | ServiceExitCode::ServiceSpecific(code) => code,
            };
            return Err(Failure::new(
                ExitCode::Failed,
                format!("the service ended as it started, with exit code {code}"),
            )
            .hint(HINT));
        }
        if Instant::now() >= give_up_at {
            return Err(Failure::new(
                ExitCode::Failed,
                format!("the service does not follow within {} s", PATIENCE.as_secs()),
            )
            .hint(HINT));
        }
        std::thread::sleep(PAUSE);
    }
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager, Failure> {
    ServiceManager::local_computer(None::<&OsStr>, ServiceManagerAccess::CONNECT | access)
        .map_err(|error| failure("made or removed", &error))
}

/// The service, where there is one.
fn open(manager: &ServiceManager, access: ServiceAccess) -> Result<Option<Service>, Failure> {
    match manager.open_service(NAME, access) {
        Ok(service) => Ok(Some(service)),
        Err(Error::Winapi(error)) if error.raw_os_error() == Some(ERROR_SERVICE_DOES_NOT_EXIST) => Ok(None),
        Err(error) => Err(failure("opened", &error)),
    }
}

fn failure(be: &str, error: &Error) -> Failure {
    match error {
        Error::Winapi(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Failure::new(
            ExitCode::Permission,
            format!("the service cannot be {be}: it is the administrators'"),
        )
        .hint("run the same command in a console of an administrator"),
        Error::Winapi(error) => {
            let text = error.to_string();
            let text = text
                .split(" (os error")
                .next()
                .unwrap_or_default()
                .trim_end_matches('.');
            Failure::new(ExitCode::Failed, format!("the service cannot be {be}: {text}")).hint(HINT)
        }
        other => Failure::new(ExitCode::Failed, format!("the service cannot be {be}: {other}")).hint(HINT),
    }
}
