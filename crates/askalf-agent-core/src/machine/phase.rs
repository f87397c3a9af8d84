//! How far the connection is.

use super::Moment;
use super::event::SocketId;
use super::session::Session;

/// What is under way. [`State`](super::State) is what a person is shown of it.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Nothing: a credential is being read for the first time, or the agent is about to end.
    Idle,
    /// There is no usable credential.
    NoCredential,
    /// A connection is being dialled.
    Dialing { socket: SocketId, overdue: Moment },
    /// The socket is open and the device has asked to be registered.
    Registering(Registering),
    /// The device is registered.
    Online(Session),
    /// The next dial is due at this moment.
    Waiting { until: Moment },
    /// It is over.
    Stopped,
}

/// An open socket that has not said `device:registered`.
#[derive(Debug)]
pub(crate) struct Registering {
    pub(crate) socket: SocketId,
    /// How often the device has asked on this socket.
    pub(crate) tries: u32,
    pub(crate) overdue: Moment,
    /// The bridge holds the socket for registered already: asking again leads nowhere.
    pub(crate) already: bool,
}

impl Phase {
    /// The connection, where there is one.
    pub(crate) fn socket(&self) -> Option<SocketId> {
        match self {
            Self::Dialing { socket, .. } => Some(*socket),
            Self::Registering(registering) => Some(registering.socket),
            Self::Online(session) => Some(session.socket),
            Self::Idle | Self::NoCredential | Self::Waiting { .. } | Self::Stopped => None,
        }
    }
}
