//! `install-service` and `uninstall-service`.

use askalf_cli::ExitCode;

use crate::cli::{InstallService, UninstallService};
use crate::service::acts::Acts;
use crate::vault::Vault;

#[cfg(target_os = "linux")]
pub(crate) use linux::{install_service, uninstall_service};

/// The service of the system, where root's `connect` is to write into it and there is none yet.
#[cfg(target_os = "linux")]
pub(crate) fn install_for_root(vault: &Vault) -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() && !linux::has_service() {
        install_service(vault, false, InstallService::default())?;
    }
    Ok(())
}

/// The service of a credential that `connect` has just kept in this home.
pub(crate) fn install_for(vault: &Vault) -> anyhow::Result<ExitCode> {
    #[cfg(target_os = "linux")]
    if linux::is_at_home_of_service(vault.home().path()) {
        askalf_cli::print("The service of the system is installed, and takes it.\n")?;
        return Ok(ExitCode::Done);
    }
    let arguments = InstallService {
        // The service of the system has a home of its own: what is here moves there.
        #[cfg(target_os = "linux")]
        adopt: rustix::process::geteuid()
            .is_root()
            .then(|| vault.home().path().to_owned()),
        ..InstallService::default()
    };
    install_service(vault, false, arguments)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};

    use askalf_cli::{Failure, print};

    use super::*;
    use crate::commands::show_json;
    use crate::environment;
    use crate::service::openrc;
    use crate::service::systemd::{
        Install, SERVICE_HOME, Scope, Uninstall, install, installed, is_booted, uninstall,
    };

    pub(crate) fn install_service(
        vault: &Vault,
        home_is_named: bool,
        arguments: InstallService,
    ) -> anyhow::Result<ExitCode> {
        let InstallService {
            place,
            profile,
            adopt,
        } = arguments;
        let scope = scope(place.system, place.user);
        if scope == Scope::System && !is_booted() && openrc::is_booted() {
            return tell(openrc::install(place.dry_run, place.json)?, place.json);
        }
        if scope == Scope::System && home_is_named {
            refuse_home(vault.home().path())?;
        }
        let report = install(&Install {
            scope,
            profile,
            dry_run: place.dry_run,
            json: place.json,
            adopt,
            keys: vault.keys().clone(),
            user_home: vault.home().path().to_owned(),
            user_units: user_units()?,
            caller: environment::variable("SUDO_USER").filter(|name| name != "root"),
        })?;
        if place.json {
            show_json(&report)?;
            return Ok(ExitCode::Done);
        }
        let mut text = String::new();
        if let Some(status) = &report.status {
            writeln!(text, "The service runs: {status}")?;
        }
        text.push_str(&notes(&report.notes));
        if !report.dry_run {
            let user = if scope == Scope::User { " --user" } else { "" };
            writeln!(
                text,
                "See: systemctl{user} status askalf-agent; askalf-agent status"
            )?;
        }
        print(&text)?;
        Ok(ExitCode::Done)
    }

    pub(crate) fn uninstall_service(vault: &Vault, arguments: UninstallService) -> anyhow::Result<ExitCode> {
        let place = arguments.place;
        let scope = scope(place.system, place.user);
        if scope == Scope::System && !is_booted() && openrc::is_booted() {
            return tell(openrc::uninstall(place.dry_run, place.json)?, place.json);
        }
        let removed = uninstall(&Uninstall {
            scope,
            dry_run: place.dry_run,
            json: place.json,
            user_home: vault.home().path().to_owned(),
            user_units: user_units()?,
        })?;
        if place.json {
            show_json(&removed)?;
        } else {
            print(&notes(&removed.notes))?;
        }
        Ok(ExitCode::Done)
    }

    fn notes(notes: &[String]) -> String {
        notes.iter().fold(String::new(), |mut text, note| {
            text.push_str("note: ");
            text.push_str(note);
            text.push('\n');
            text
        })
    }

    /// What was asked for; else root makes a service of the system, and everybody else one of their own.
    fn scope(system: bool, user: bool) -> Scope {
        match (system, user) {
            (true, _) => Scope::System,
            (_, true) => Scope::User,
            _ if rustix::process::geteuid().is_root() => Scope::System,
            _ => Scope::User,
        }
    }

    /// Whether the service of the system is installed.
    pub(super) fn has_service() -> bool {
        installed(Path::new("/")).is_some()
    }

    /// Whether this is the home of the service of the system.
    pub(super) fn is_at_home_of_service(home: &Path) -> bool {
        installed(Path::new("/")).is_some_and(|service| service.home == home)
    }

    /// The service of the system has its own home.
    fn refuse_home(named: &Path) -> Result<(), Failure> {
        if named == Path::new(SERVICE_HOME) {
            return Ok(());
        }
        Err(Failure::new(
            ExitCode::Usage,
            format!("the service of the system keeps its files in {SERVICE_HOME} and nowhere else"),
        )
        .hint(format!(
            "leave --home and ASKALF_HOME out; to take that folder over: install-service --adopt {}",
            named.display()
        )))
    }

    fn user_units() -> Result<PathBuf, Failure> {
        environment::config_folder()
            .map(|folder| folder.join("systemd/user"))
            .ok_or_else(|| Failure::new(ExitCode::Failed, "this user has no home folder"))
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{install_service, uninstall_service};

/// Where there is no systemd: what was done and what a person should know.
fn tell(acts: Acts, json: bool) -> anyhow::Result<ExitCode> {
    let (acts, notes) = acts.into_parts();
    if json {
        super::show_json(&serde_json::json!({ "acts": acts, "notes": notes }))?;
    } else {
        let lines = notes.iter().map(|note| format!("note: {note}\n"));
        askalf_cli::print(&lines.collect::<String>())?;
    }
    Ok(ExitCode::Done)
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use super::*;

    #[cfg(windows)]
    mod system {
        use askalf_cli::Failure;

        use super::*;
        use crate::cli::ServicePlace;
        use crate::service::windows;

        pub(super) fn install(_: &Vault, place: &ServicePlace) -> Result<Acts, Failure> {
            of_the_system(place)?;
            windows::install(place.dry_run, place.json)
        }

        pub(super) fn uninstall(_: &Vault, place: &ServicePlace) -> Result<Acts, Failure> {
            of_the_system(place)?;
            windows::uninstall(place.dry_run, place.json)
        }

        fn of_the_system(place: &ServicePlace) -> Result<(), Failure> {
            if place.user {
                return Err(
                    Failure::new(ExitCode::Usage, "Windows has services of the machine alone")
                        .hint("leave --user out"),
                );
            }
            Ok(())
        }
    }

    #[cfg(target_os = "macos")]
    mod system {
        use askalf_cli::Failure;

        use super::*;
        use crate::cli::ServicePlace;
        use crate::environment;
        use crate::service::launchd;

        pub(super) fn install(vault: &Vault, place: &ServicePlace) -> Result<Acts, Failure> {
            launchd::install(&of(vault, place)?)
        }

        pub(super) fn uninstall(vault: &Vault, place: &ServicePlace) -> Result<Acts, Failure> {
            launchd::uninstall(&of(vault, place)?)
        }

        fn of(vault: &Vault, place: &ServicePlace) -> Result<launchd::Place, Failure> {
            let uid = rustix::process::geteuid();
            Ok(launchd::Place {
                system: place.system || (uid.is_root() && !place.user),
                caller: environment::variable("SUDO_USER").filter(|name| name != "root"),
                user_home: environment::user_home()
                    .ok_or_else(|| Failure::new(ExitCode::Failed, "this user has no home folder"))?,
                home: vault.home().path().to_owned(),
                uid: uid.as_raw(),
                dry_run: place.dry_run,
                json: place.json,
            })
        }
    }

    #[cfg(not(any(windows, target_os = "macos")))]
    mod system {
        use askalf_cli::Failure;

        use super::*;
        use crate::cli::ServicePlace;

        pub(super) fn install(_: &Vault, _: &ServicePlace) -> Result<Acts, Failure> {
            Err(no_services())
        }

        pub(super) fn uninstall(_: &Vault, _: &ServicePlace) -> Result<Acts, Failure> {
            Err(no_services())
        }

        fn no_services() -> Failure {
            Failure::new(ExitCode::Failed, "services are not made on this system")
                .hint("have 'askalf-agent daemon' started by what starts programs here")
        }
    }

    pub(crate) fn install_service(
        vault: &Vault,
        _home_is_named: bool,
        arguments: InstallService,
    ) -> anyhow::Result<ExitCode> {
        tell(system::install(vault, &arguments.place)?, arguments.place.json)
    }

    pub(crate) fn uninstall_service(vault: &Vault, arguments: UninstallService) -> anyhow::Result<ExitCode> {
        tell(system::uninstall(vault, &arguments.place)?, arguments.place.json)
    }
}
