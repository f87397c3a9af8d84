//! What carries the control socket: a Unix socket, or a named pipe on Windows.

#[cfg(windows)]
mod named_pipe;
#[cfg(windows)]
mod pipe_access;
#[cfg(unix)]
mod unix_socket;

#[cfg(windows)]
pub(super) use named_pipe::{Listener, Peer, Stream, accept, connect, peer};
#[cfg(windows)]
pub use named_pipe::{PipeListener, pipe_name};
#[cfg(unix)]
pub(super) use unix_socket::{Listener, Peer, Stream, accept, connect, peer};
