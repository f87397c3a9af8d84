//! The daemon's place to listen for commands: `agent.sock` in its home, or a named pipe on Windows.

use std::io::ErrorKind;

use askalf_agent_core::ApprovalQueue;
use askalf_agent_core::control::ControlOptions;
#[cfg(windows)]
use askalf_agent_core::control::PipeListener as Listener;
use askalf_cli::{ExitCode, Failure};
use askalf_cred::Home;
#[cfg(unix)]
use tokio::net::UnixListener as Listener;

/// Who may speak: this process's own user.
#[cfg(unix)]
pub(crate) fn options(approvals: ApprovalQueue) -> ControlOptions {
    ControlOptions {
        approvals: Some(approvals),
        ..ControlOptions::new(rustix::process::geteuid().as_raw())
    }
}

/// The pipe's access list says who may speak.
#[cfg(windows)]
pub(crate) fn options(approvals: ApprovalQueue) -> ControlOptions {
    ControlOptions {
        approvals: Some(approvals),
        ..ControlOptions::new()
    }
}

/// Listens; `None` where the disk takes no socket: a device that cannot be asked still works. The caller holds the lock.
pub(crate) fn listen(home: &Home) -> Result<Option<Listener>, Failure> {
    let path = home.socket_path();
    let error = match bind(home) {
        Ok(listener) => return Ok(Some(listener)),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem | ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            tracing::warn!(
                "there is no control socket at {}: {}. The agent runs without: 'status', 'disconnect' and 'pair' do \
                 not reach it",
                path.display(),
                error.kind()
            );
            Ok(None)
        }
        // What a path longer than its address has room for is called.
        ErrorKind::InvalidInput => Err(Failure::new(
            ExitCode::Configuration,
            format!("{} is too long for the path of a socket", path.display()),
        )
        .hint("name a folder with a shorter path in ASKALF_HOME: about 100 characters")),
        kind => Err(Failure::new(
            ExitCode::Permission,
            format!("cannot listen on {}: {kind}", path.display()),
        )
        .hint(if cfg!(windows) {
            "see whether another program has made the agent's pipe"
        } else {
            "check the rights of the agent's folder"
        })),
    }
}

#[cfg(unix)]
fn bind(home: &Home) -> std::io::Result<Listener> {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    let path = home.socket_path();
    // An agent that was killed leaves its socket; the lock says that nobody uses it.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = Listener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[cfg(windows)]
fn bind(home: &Home) -> std::io::Result<Listener> {
    Listener::bind(&home.socket_path())
}

/// Removes the socket of a daemon that ends, while the lock is held: nobody else's can be there. A pipe went with its listener.
pub(crate) fn remove(home: &Home) {
    #[cfg(unix)]
    if let Err(error) = std::fs::remove_file(home.socket_path()) {
        tracing::debug!("the control socket was not removed: {}", error.kind());
    }
    #[cfg(windows)]
    let _ = home;
}
