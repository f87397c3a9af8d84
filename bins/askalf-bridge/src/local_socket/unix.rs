//! The socket on Unix.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use askalf_bridge_core::{Bridge, Listener, ServeOptions, Transport, router};
use askalf_cli::{ExitCode, Failure, in_plain_words};
use tokio::net::{UnixListener, UnixStream};

use crate::home::Home;

/// The socket of a bridge that starts.
pub(crate) struct LocalSocket(UnixListener);

impl LocalSocket {
    /// Listens. The caller holds the lock of the home.
    pub(crate) fn listen(home: &Home) -> Result<Self, Failure> {
        let path = home.socket();
        let unusable = |error: &std::io::Error| {
            Failure::new(ExitCode::Permission, format!("cannot listen on {}: {}", path.display(), in_plain_words(error)))
                .hint("check the rights of the folder, or choose another with --home DIR (socket paths hold about 100 characters)")
        };
        // A bridge that was killed leaves its socket; the lock says that nobody uses it.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(unusable(&error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(|error| unusable(&error))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(|error| unusable(&error))?;
        Ok(Self(listener))
    }

    /// Serves commands until the bridge shuts down.
    pub(crate) async fn serve(self, bridge: &Bridge) {
        let uid = own_uid();
        let listener = Listener::Unix {
            listener: self.0,
            uid,
        };
        askalf_bridge_core::serve(
            listener,
            router(bridge.clone(), Transport::Local { uid }),
            ServeOptions::default(),
            bridge.shutting_down(),
        )
        .await;
    }
}

/// A connection to the bridge that runs here, if one does.
pub(crate) async fn connect(home: &Home) -> Option<UnixStream> {
    UnixStream::connect(home.socket()).await.ok()
}

/// Removes the socket of a bridge that ends, while the lock is held: nobody else's can be there.
pub(crate) fn remove(home: &Home) {
    if let Err(error) = fs::remove_file(home.socket()) {
        tracing::debug!("the command socket was not removed: {}", in_plain_words(&error));
    }
}

/// The user that this process runs as.
pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}
