//! Commands on Windows.

use std::io;
use std::process::Stdio;

use askalf_agent_core::CommandSpec;
use tokio::process::{Child, Command};

use super::StartedCommand;
use crate::runner_host::OutputEnd;
use crate::shell_arguments::is_cmd;
use crate::tree::Tree;

/// `CREATE_NEW_PROCESS_GROUP`: Ctrl-Break can be sent to the command without being sent to its runner.
const NEW_GROUP: u32 = 0x200;

pub(super) fn spawn(spec: &CommandSpec) -> io::Result<Child> {
    let stdin = if spec.standard_input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    let mut command = Command::new(&spec.program);
    if is_cmd(spec.program.as_ref()) {
        // It reads its command line by rules of its own, which quoting as for other programs would break.
        for argument in &spec.arguments {
            command.raw_arg(argument);
        }
    } else {
        command.args(&spec.arguments);
    }
    command
        .env_clear()
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.working_directory)
        .creation_flags(NEW_GROUP)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

pub(super) fn take_over(mut child: Child) -> io::Result<StartedCommand> {
    let stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Kills the child where it fails.
    let tree = Tree::new(child)?;
    Ok(StartedCommand {
        tree,
        stdin,
        stdout: OutputEnd::stdout(stdout.ok_or(io::ErrorKind::NotConnected)?),
        stderr: OutputEnd::stderr(stderr.ok_or(io::ErrorKind::NotConnected)?),
    })
}
