//! A pair of pipes: the runner has their ends as its standard input and output.

use std::io;
use std::process::Stdio;

use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::Link;
use crate::tree::RunnerIdentity;

pub(crate) type Reader = ChildStdout;
pub(crate) type Writer = ChildStdin;

/// `CREATE_NO_WINDOW`: a console of its own that nobody sees. Ctrl-C at the agent's does not reach tasks, and Ctrl-Break for a
/// task has a console to go through.
const NO_WINDOW: u32 = 0x0800_0000;

/// Starts `command` at the other end of a new link.
pub(crate) fn spawn_linked(mut command: Command) -> io::Result<(Child, RunnerIdentity, Link)> {
    command
        .creation_flags(NO_WINDOW)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let (mut child, identity) = RunnerIdentity::register(|| command.spawn())?;
    let link = Link {
        reader: child.stdout.take().ok_or(io::ErrorKind::NotConnected)?,
        writer: child.stdin.take().ok_or(io::ErrorKind::NotConnected)?,
    };
    Ok((child, identity, link))
}
