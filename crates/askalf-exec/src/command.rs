//! The start of a command inside its runner.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use askalf_agent_core::CommandSpec;
use rustix::process::Pid;
use tokio::net::unix::pipe;

/// A command that runs, with this process's ends of its pipes.
pub(crate) struct StartedCommand {
    pub(crate) main: Pid,
    pub(crate) stdin: Option<pipe::Sender>,
    pub(crate) stdout: pipe::Receiver,
    pub(crate) stderr: pipe::Receiver,
}

/// Starts the command as the leader of a process group, or says why not, for a person.
pub(crate) fn start(spec: &CommandSpec) -> Result<StartedCommand, String> {
    check_folder(&spec.working_directory)?;
    let stdin = if spec.standard_input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    let mut child = Command::new(&spec.program)
        .args(&spec.arguments)
        .env_clear()
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.working_directory)
        .process_group(0)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{} {}", spec.program.display(), why_not(&error)))?;
    take_pipes(&mut child).map_err(|error| {
        // Never seen to fail; the command must not run on unowned then.
        let _gone = child.kill();
        let _gone = child.wait();
        format!(
            "the output of {} cannot be read: {}",
            spec.program.display(),
            crate::plain_io::text(&error)
        )
    })
}

fn take_pipes(child: &mut Child) -> io::Result<StartedCommand> {
    Ok(StartedCommand {
        main: Pid::from_child(child),
        stdin: child
            .stdin
            .take()
            .map(|end| pipe::Sender::from_owned_fd(end.into()))
            .transpose()?,
        stdout: receiver(child.stdout.take().map(OwnedFd::from))?,
        stderr: receiver(child.stderr.take().map(OwnedFd::from))?,
    })
}

fn receiver(end: Option<OwnedFd>) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(end.ok_or(io::ErrorKind::NotConnected)?)
}

/// The system reports a missing folder as if the program were missing, so it is looked at first.
fn check_folder(folder: &Path) -> Result<(), String> {
    let name = folder.display();
    if !folder.is_absolute() {
        return Err(format!("the working directory {name} is not an absolute path"));
    }
    match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(format!("the working directory {name} is not a directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("the working directory {name} does not exist"))
        }
        Err(error) => Err(format!(
            "the working directory {name} cannot be entered: {}",
            crate::plain_io::text(&error)
        )),
    }
}

fn why_not(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "cannot be started: permission denied".to_owned(),
        io::ErrorKind::ArgumentListTooLong => {
            "cannot be started: the command is longer than this system takes".to_owned()
        }
        _ => format!("cannot be started: {}", crate::plain_io::text(error)),
    }
}
