//! What the two binaries have in common under test: a folder, commands on it, and one long-running process at a time.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{Output, run};
use crate::process::{Line, Process, shell_code};

/// A binary on a folder of its own, over any number of its processes.
#[derive(Debug)]
pub struct Program {
    kind: &'static Kind,
    binary: PathBuf,
    home: PathBuf,
    variables: Vec<(String, OsString)>,
    process: Option<Process>,
    past_lines: Vec<Line>,
    _folder: Option<tempfile::TempDir>,
}

/// One of the two binaries.
#[derive(Debug)]
pub(crate) struct Kind {
    /// As errors call it.
    pub(crate) name: &'static str,
    /// The variable that names its folder.
    pub(crate) home_variable: &'static str,
    /// Variables that it must not inherit.
    pub(crate) removed: &'static [&'static str],
}

impl Program {
    pub(crate) fn new(kind: &'static Kind, binary: &Path, home: &Path) -> Self {
        Self {
            kind,
            binary: binary.to_owned(),
            home: home.to_owned(),
            variables: Vec::new(),
            process: None,
            past_lines: Vec::new(),
            _folder: None,
        }
    }

    /// Removes the folder with this program.
    pub(crate) fn own(&mut self, folder: tempfile::TempDir) {
        self._folder = Some(folder);
    }

    /// Its folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Sets a variable of the environment for everything that is started from now on.
    pub fn set_variable(&mut self, name: &str, value: impl Into<OsString>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    /// A command on this folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_by(&[], arguments)
    }

    pub(crate) fn command_by(&self, wrapper: &[String], arguments: &[&str]) -> Command {
        let mut command = match wrapper {
            [] => Command::new(&self.binary),
            [program, rest @ ..] => {
                let mut command = Command::new(program);
                command.args(rest).arg(&self.binary);
                command
            }
        };
        command
            .args(arguments)
            .env(self.kind.home_variable, &self.home)
            .current_dir("/");
        for name in self.kind.removed {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command on this folder.
    ///
    /// # Errors
    /// It does not start or end.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.run_with_input(arguments, b"")
    }

    /// Runs a command that reads its standard input.
    ///
    /// # Errors
    /// It does not start or end.
    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Result<Output> {
        let name = format!("{} {}", self.kind.name, arguments.join(" "));
        run(&name, &mut self.command(arguments), input)
    }

    pub(crate) fn start(&mut self, command: &mut Command) -> Result<&Process> {
        ensure!(self.process.is_none(), "{} runs", self.kind.name);
        let process = Process::start(self.kind.name, command, b"")?;
        Ok(self.process.insert(process))
    }

    /// The running process.
    ///
    /// # Errors
    /// None runs.
    pub fn process(&self) -> Result<&Process> {
        let name = self.kind.name;
        self.process.as_ref().with_context(|| format!("no {name} runs"))
    }

    /// Stops it with SIGTERM; its exit code.
    ///
    /// # Errors
    /// None runs, or it does not end.
    pub fn terminate(&mut self) -> Result<i32> {
        let (status, lines) = self.take()?.terminate()?;
        self.past_lines.extend(lines);
        Ok(shell_code(status))
    }

    /// Stops it with SIGKILL.
    ///
    /// # Errors
    /// None runs, or it does not end.
    pub fn kill(&mut self) -> Result<()> {
        let lines = self.take()?.kill()?;
        self.past_lines.extend(lines);
        Ok(())
    }

    /// Waits until it has ended by itself; its exit code.
    ///
    /// # Errors
    /// None runs, or it does not end.
    pub fn wait_exit(&mut self) -> Result<i32> {
        let mut process = self.take()?;
        let status = process.end()?;
        self.past_lines.extend(process.lines());
        Ok(shell_code(status))
    }

    /// All that every process of this folder wrote.
    pub fn log(&self) -> Vec<Line> {
        let mut lines = self.past_lines.clone();
        lines.extend(self.process.iter().flat_map(Process::lines));
        lines
    }

    fn take(&mut self) -> Result<Process> {
        let name = self.kind.name;
        self.process.take().with_context(|| format!("no {name} runs"))
    }
}
