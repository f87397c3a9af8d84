//! The start of a command inside its runner.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io;
use std::path::Path;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

use askalf_agent_core::CommandSpec;

use crate::runner_host::{InputEnd, OutputEnd};
use crate::tree::Tree;

/// A command that runs, with this process's ends of its pipes.
pub(crate) struct StartedCommand {
    pub(crate) tree: Tree,
    pub(crate) stdin: Option<InputEnd>,
    pub(crate) stdout: OutputEnd,
    pub(crate) stderr: OutputEnd,
}

/// Starts the command as the leader of a process group, or says why not, for a person.
pub(crate) fn start(spec: &CommandSpec) -> Result<StartedCommand, String> {
    check_folder(&spec.working_directory)?;
    let child =
        system::spawn(spec).map_err(|error| format!("{} {}", spec.program.display(), why_not(&error)))?;
    system::take_over(child).map_err(|error| {
        format!(
            "{} cannot be watched: {}",
            spec.program.display(),
            crate::plain_io::text(&error)
        )
    })
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
        // The second is what Windows calls it.
        io::ErrorKind::ArgumentListTooLong | io::ErrorKind::InvalidFilename => {
            "cannot be started: the command is longer than this system takes".to_owned()
        }
        _ => format!("cannot be started: {}", crate::plain_io::text(error)),
    }
}
