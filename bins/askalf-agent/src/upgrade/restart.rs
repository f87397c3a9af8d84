//! How the daemon comes to run the new program.

use std::process::{Command, Stdio};

use askalf_cli::{ExitCode, Failure, one_line};

/// The unit of the agent.
const UNIT: &str = "askalf-agent.service";

/// What restarts the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Restart {
    /// The service manager, whose arguments these are.
    Systemd(&'static [&'static str]),
    /// A command line of the person's.
    Shell(String),
}

impl Restart {
    /// The command that was given, else the service manager where the daemon with this process id is its own. `None`: a person.
    pub(crate) fn of(given: Option<String>, daemon: Option<&str>) -> Option<Self> {
        if let Some(command) = given {
            return Some(Self::Shell(command));
        }
        let daemon = daemon?;
        let managers: [&[&str]; 2] = [&[], &["--user"]];
        managers
            .into_iter()
            .find(|manager| main_process(manager).is_some_and(|found| found == daemon))
            .map(Self::Systemd)
    }

    /// Restarts it.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut command = match self {
            Self::Systemd(manager) => {
                let mut command = Command::new("systemctl");
                command.args(*manager).args(["restart", UNIT]);
                command
            }
            Self::Shell(line) => {
                let mut command = Command::new("sh");
                command.args(["-c", line]);
                command
            }
        };
        let failed = |why: String| {
            Failure::new(
                ExitCode::Failed,
                format!("the agent could not be restarted: {why}"),
            )
            .hint("restart it by hand, then see 'askalf-agent status'")
        };
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed(askalf_cli::in_plain_words(&error)))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(failed(match said.trim() {
            "" => "the command failed".to_owned(),
            said => one_line(said),
        }))
    }
}

/// The process of the service, where this manager has one.
fn main_process(manager: &[&str]) -> Option<String> {
    let output = Command::new("systemctl")
        .args(manager)
        .args(["show", "--property=MainPID", "--value", UNIT])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let process = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !process.is_empty() && process != "0").then_some(process)
}
