//! Root's commands find the system service: they work on its home, as its user.

use std::path::{Path, PathBuf};

use askalf_cli::Failure;

use crate::cli::Command;
use crate::service::systemd::{become_user, installed, make_home_of};

/// The home that a command works on: the one that was named; for root on a machine with the system service, the service's. A command
/// that may write goes on as the service's user then, so that nothing in that home ever belongs to root.
pub(crate) fn of(named: Option<PathBuf>, command: &Command) -> Result<Option<PathBuf>, Failure> {
    let role = role(command);
    if named.is_some() || role == Role::Own || !rustix::process::geteuid().is_root() {
        return Ok(named);
    }
    let Some(service) = installed(Path::new("/")) else {
        return Ok(named);
    };
    if role == Role::ServiceUser {
        if !service.home.exists() {
            make_home_of(&service.home, &service.user)?;
        }
        become_user(&service.user)?;
        tracing::info!("this goes on as {}, in {}", service.user, service.home.display());
    }
    Ok(Some(service.home))
}

/// Whom a command runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It has nothing to do with a service's home.
    Own,
    /// The service's user, whose files it may write.
    ServiceUser,
    /// Root: the agent takes this from nobody else.
    Root,
}

fn role(command: &Command) -> Role {
    match command {
        Command::Daemon
        | Command::InstallService(_)
        | Command::UninstallService(_)
        | Command::Recovery
        | Command::Completions { .. }
        | Command::Runner(_) => Role::Own,
        Command::Approvals(_) => Role::Root,
        Command::Connect(_)
        | Command::Pair(_)
        | Command::Status(_)
        | Command::Disconnect
        | Command::Redact
        | Command::Scan(_)
        | Command::Cred(_)
        | Command::Policy(_)
        | Command::Audit(_) => Role::ServiceUser,
    }
}
