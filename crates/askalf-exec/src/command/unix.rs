//! Commands on Unix.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use askalf_agent_core::CommandSpec;
use rustix::process::Pid;
use tokio::net::unix::pipe;

use super::StartedCommand;
use crate::runner_host::OutputEnd;
use crate::tree::Tree;

pub(super) fn spawn(spec: &CommandSpec) -> io::Result<Child> {
    let stdin = if spec.standard_input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    Command::new(&spec.program)
        .args(&spec.arguments)
        .env_clear()
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.working_directory)
        .process_group(0)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

pub(super) fn take_over(mut child: Child) -> io::Result<StartedCommand> {
    take_pipes(&mut child).inspect_err(|_| {
        // Never seen to fail; the command must not run on unowned then.
        let _gone = child.kill();
        let _gone = child.wait();
    })
}

fn take_pipes(child: &mut Child) -> io::Result<StartedCommand> {
    Ok(StartedCommand {
        tree: Tree::new(Pid::from_child(child)),
        stdin: child
            .stdin
            .take()
            .map(|end| pipe::Sender::from_owned_fd(end.into()))
            .transpose()?,
        stdout: output_end(child.stdout.take().map(OwnedFd::from))?,
        stderr: output_end(child.stderr.take().map(OwnedFd::from))?,
    })
}

fn output_end(end: Option<OwnedFd>) -> io::Result<OutputEnd> {
    pipe::Receiver::from_owned_fd(end.ok_or(io::ErrorKind::NotConnected)?).map(OutputEnd::new)
}
