//! Removing the service. The credential stays, and so does the user that owns it.

use std::path::{Path, PathBuf};

use askalf_cli::Failure;
use serde::Serialize;

use super::acts::{Act, Acts};
use super::install::check;
use super::units::UnitFile;
use super::{SERVICE, SERVICE_HOME, SYSTEM_UNITS, Scope, systemctl};

/// What is to be removed.
#[derive(Debug)]
pub(crate) struct Uninstall {
    pub scope: Scope,
    pub dry_run: bool,
    pub json: bool,
    /// The agent's home of a user's service.
    pub user_home: PathBuf,
    /// The folder of the units of a user's own manager.
    pub user_units: PathBuf,
}

/// What was done.
#[derive(Debug, Serialize)]
pub(crate) struct Removed {
    pub scope: &'static str,
    pub dry_run: bool,
    /// Where the credential is.
    pub home: PathBuf,
    pub acts: Vec<Act>,
    pub notes: Vec<String>,
}

/// Stops the service and removes its units.
pub(crate) fn uninstall(wanted: &Uninstall) -> Result<Removed, Failure> {
    check(wanted.scope, wanted.dry_run, "uninstall-service")?;
    let mut acts = Acts::new(wanted.dry_run, wanted.json);
    let (folder, home) = match wanted.scope {
        Scope::System => (Path::new(SYSTEM_UNITS), PathBuf::from(SERVICE_HOME)),
        Scope::User => (wanted.user_units.as_path(), wanted.user_home.clone()),
    };
    let names = match wanted.scope {
        Scope::System => UnitFile::NAMES.to_vec(),
        Scope::User => vec![SERVICE],
    };
    let present: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| folder.join(name).exists())
        .collect();
    for name in wanted.scope.units_to_enable().iter().rev() {
        // A unit of a package is not ours to remove, but to stop.
        let known =
            systemctl::ask(wanted.scope, &["show", "--property=LoadState", "--value", name]) == "loaded";
        if known || present.contains(name) {
            acts.systemctl(wanted.scope, &["disable", "--now", name])?;
        } else {
            acts.unchanged("stop", *name)?;
        }
    }
    for name in present {
        acts.remove(&folder.join(name))?;
    }
    acts.systemctl(wanted.scope, &["daemon-reload"])?;
    acts.note(format!(
        "the credential and the agent's records stay in {}; 'install-service' goes on with them, and who removes the \
         folder must pair the device anew",
        home.display()
    ));
    if wanted.scope == Scope::System {
        acts.note(format!(
            "the users stay too, as owners of their files: {}",
            UnitFile::USERS.join(", ")
        ));
    }
    let (done, notes) = acts.into_parts();
    Ok(Removed {
        scope: wanted.scope.as_str(),
        dry_run: wanted.dry_run,
        home,
        acts: done,
        notes,
    })
}
