//! The control socket as a Unix socket: the system tells who the peer is.

use std::fmt;
use std::io;
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};

use super::super::{ControlError, ControlOptions};

pub(in super::super) type Listener = UnixListener;
pub(in super::super) type Stream = UnixStream;

/// Who is at the other end.
pub(in super::super) struct Peer {
    pub(in super::super) uid: u32,
    /// Its process at the time it connected, where the system tells.
    pub(in super::super) pid: Option<i32>,
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "user {}", self.uid)
    }
}

pub(in super::super) async fn accept(listener: &mut Listener) -> io::Result<Stream> {
    listener.accept().await.map(|(stream, _)| stream)
}

/// Who has connected; an error holds one who may not speak.
pub(in super::super) fn peer(stream: &Stream, options: &ControlOptions) -> io::Result<Result<Peer, Peer>> {
    let credentials = stream.peer_cred()?;
    let peer = Peer {
        uid: credentials.uid(),
        pid: credentials.pid(),
    };
    Ok(if may_speak(peer.uid, options.uid) {
        Ok(peer)
    } else {
        Err(peer)
    })
}

pub(in super::super) async fn connect(socket: &Path) -> Result<Stream, ControlError> {
    UnixStream::connect(socket)
        .await
        .map_err(|error| match error.kind() {
            // Invalid input is a path that no socket can have.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidInput => {
                ControlError::NotRunning
            }
            io::ErrorKind::PermissionDenied => ControlError::NotPermitted,
            _ => ControlError::Io(crate::driver::io_text(&error)),
        })
}

fn may_speak(peer: u32, daemon: u32) -> bool {
    peer == daemon || peer == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_daemons_user_and_root_may_speak() {
        assert!(may_speak(1000, 1000));
        assert!(may_speak(0, 1000));
        assert!(!may_speak(1001, 1000));
        assert!(!may_speak(1000, 0));
    }
}
