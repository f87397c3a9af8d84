//! No socket on Windows: a bridge there is for trying out.

use askalf_bridge_core::Bridge;
use askalf_cli::Failure;
use tokio::net::TcpStream;

use crate::home::Home;

/// What stands in for the socket.
pub(crate) struct LocalSocket;

impl LocalSocket {
    /// Says that there is none.
    pub(crate) fn listen(_: &Home) -> Result<Self, Failure> {
        tracing::warn!(
            "on Windows a running bridge takes no commands: stop it for 'keys', 'devices' and 'executions'"
        );
        Ok(Self)
    }

    /// Waits until the bridge shuts down.
    pub(crate) async fn serve(self, bridge: &Bridge) {
        bridge.shutting_down().await;
    }
}

/// Never a connection.
pub(crate) async fn connect(_: &Home) -> Option<TcpStream> {
    None
}

/// Nothing to remove.
pub(crate) fn remove(_: &Home) {}

/// Windows numbers no users; whoever can open the database is the administrator of it.
pub(crate) fn own_uid() -> u32 {
    0
}
