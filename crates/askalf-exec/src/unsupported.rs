//! Systems on which tasks cannot run yet.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use askalf_agent_core::{CommandSpec, Runner, RunnerError, RunningCommand};
use async_trait::async_trait;

/// A runner that refuses every command: there is none for this system yet.
#[derive(Debug, Clone)]
pub struct ProcessRunner;

impl ProcessRunner {
    /// The runner that refuses; the arguments are those of other systems.
    pub fn new(_program: PathBuf, _arguments: Vec<OsString>) -> Self {
        Self
    }
}

#[async_trait]
impl Runner for ProcessRunner {
    async fn start(&self, _command: CommandSpec) -> Result<Box<dyn RunningCommand>, RunnerError> {
        Err(RunnerError::Spawn(
            "tasks are not supported on this operating system yet".to_owned(),
        ))
    }
}

/// Does nothing on this system.
///
/// # Errors
/// None.
pub fn become_subreaper() -> io::Result<()> {
    Ok(())
}
