//! A socket pair: the runner has one end as its standard input.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};

use super::Link;
use crate::tree::RunnerIdentity;

pub(crate) type Reader = OwnedReadHalf;
pub(crate) type Writer = OwnedWriteHalf;

/// Starts `command` at the other end of a new link.
pub(crate) fn spawn_linked(mut command: Command) -> io::Result<(Child, RunnerIdentity, Link)> {
    let (near, far) = UnixStream::pair()?;
    let far = far.into_std()?;
    far.set_nonblocking(false)?;
    // No process group of its own: a leader of one could not open a session.
    command
        .stdin(Stdio::from(OwnedFd::from(far)))
        .stdout(Stdio::null());
    let (child, identity) = RunnerIdentity::register(|| command.spawn())?;
    let (reader, writer) = near.into_split();
    Ok((child, identity, Link { reader, writer }))
}
