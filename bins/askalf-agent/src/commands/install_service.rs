//! `install-service` and `uninstall-service`.

use askalf_cli::ExitCode;

use crate::cli::{InstallService, UninstallService};

#[cfg(target_os = "linux")]
pub(crate) use linux::{install_service, uninstall_service};

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};

    use askalf_cli::{Failure, print};

    use super::*;
    use crate::commands::show_json;
    use crate::environment;
    use crate::service::systemd::{Install, SERVICE_HOME, Scope, Uninstall, install, uninstall};
    use crate::vault::Vault;

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

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use askalf_cli::Failure;

    use super::*;
    use crate::vault::Vault;

    pub(crate) fn install_service(
        _vault: &Vault,
        _home_is_named: bool,
        _arguments: InstallService,
    ) -> anyhow::Result<ExitCode> {
        Err(no_systemd().into())
    }

    pub(crate) fn uninstall_service(
        _vault: &Vault,
        _arguments: UninstallService,
    ) -> anyhow::Result<ExitCode> {
        Err(no_systemd().into())
    }

    fn no_systemd() -> Failure {
        Failure::new(ExitCode::Failed, "services are made where systemd runs")
            .hint("have 'askalf-agent daemon' started by what starts programs here")
    }
}
