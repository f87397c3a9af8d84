//! `askalf-agent` under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::binaries::{Binaries, binaries};
use crate::bridge::{Bridge, MintedKey};
use crate::command::{Output, run};
use crate::process::{Line, Process};

/// An agent with a folder of its own, over any number of daemons.
#[derive(Debug)]
pub struct Agent {
    binaries: Binaries,
    home: PathBuf,
    wrapper: Vec<String>,
    variables: Vec<(String, String)>,
    daemon: Option<Process>,
    past_lines: Vec<Line>,
    _folder: Option<tempfile::TempDir>,
}

/// The credential as it stands on disk: equal only where no byte, inode or time of change differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDisk {
    files: Vec<(String, Vec<u8>, u64, SystemTime)>,
}

impl Agent {
    /// An unpaired agent in a new scratch folder.
    ///
    /// # Errors
    /// The binaries or the folder cannot be made.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut agent = Self::in_folder(binaries()?.clone(), &folder.path().join("agent"));
        agent._folder = Some(folder);
        Ok(agent)
    }

    /// An agent in this folder.
    pub fn in_folder(binaries: Binaries, home: &Path) -> Self {
        Self {
            binaries,
            home: home.to_owned(),
            wrapper: Vec::new(),
            variables: Vec::new(),
            daemon: None,
            past_lines: Vec::new(),
            _folder: None,
        }
    }

    /// An agent that is paired with this bridge by a new key.
    ///
    /// # Errors
    /// Minting or pairing fails.
    pub fn paired(bridge: &Bridge, name: &str) -> Result<(Self, MintedKey)> {
        let agent = Self::new()?;
        let key = bridge.mint(name)?;
        agent.pair(&bridge.url(), name, &key.key)?.expect_code(0)?;
        Ok((agent, key))
    }

    /// An agent that is paired and online; its device id.
    ///
    /// # Errors
    /// A step fails.
    pub fn online(bridge: &Bridge, name: &str) -> Result<(Self, String)> {
        let (mut agent, _) = Self::paired(bridge, name)?;
        let device = agent.start()?;
        Ok((agent, device))
    }

    /// Its folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Runs the daemon by this command from now on, for example `unshare --uts`.
    pub fn wrap(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Sets a variable of the environment for everything that is started from now on.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// A command on this agent's folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.wrapped(&[], arguments)
    }

    fn wrapped(&self, wrapper: &[String], arguments: &[&str]) -> Command {
        let mut command = match wrapper {
            [] => Command::new(&self.binaries.agent),
            [program, rest @ ..] => {
                let mut command = Command::new(program);
                command.args(rest).arg(&self.binaries.agent);
                command
            }
        };
        command
            .args(arguments)
            .env("ASKALF_HOME", &self.home)
            .current_dir("/");
        for name in ["ASKALF_API_KEY", "ASKALF_URL", "ASKALF_LOG"] {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command on this agent's folder.
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
        run(
            &format!("askalf-agent {}", arguments.join(" ")),
            &mut self.command(arguments),
            input,
        )
    }

    /// `pair`, with the key on standard input.
    ///
    /// # Errors
    /// It does not start or end.
    pub fn pair(&self, url: &str, name: &str, key: &str) -> Result<Output> {
        self.run_with_input(&["pair", "-", "--url", url, "--name", name], key.as_bytes())
    }

    /// Starts a daemon without waiting for anything.
    ///
    /// # Errors
    /// It does not start, or one runs.
    pub fn spawn(&mut self) -> Result<&Process> {
        ensure!(self.daemon.is_none(), "a daemon runs");
        let daemon = Process::start("the agent", &mut self.wrapped(&self.wrapper, &["daemon"]), b"")?;
        Ok(self.daemon.insert(daemon))
    }

    /// Starts a daemon and waits until it has registered; its device id.
    ///
    /// # Errors
    /// It does not register.
    pub fn start(&mut self) -> Result<String> {
        self.spawn()?;
        self.wait_registered()
    }

    /// Waits until the running daemon has registered for the first time; its device id.
    ///
    /// # Errors
    /// It does not register.
    pub fn wait_registered(&self) -> Result<String> {
        self.daemon()?
            .wait_line("registration", |line| registered_as(&line.text))
    }

    /// Waits until the running daemon has registered again, after the first `skip` lines of its log.
    ///
    /// # Errors
    /// It does not register.
    pub fn wait_registered_after(&self, skip: usize) -> Result<String> {
        self.daemon()?
            .wait_line_after(skip, "registration", |line| registered_as(&line.text))
    }

    /// The time from the start of the daemon's process to its registration.
    ///
    /// # Errors
    /// It does not register.
    pub fn time_to_registered(&self) -> Result<Duration> {
        let daemon = self.daemon()?;
        let at = daemon.wait_line("registration", |line| registered_as(&line.text).map(|_| line.at))?;
        Ok(at.duration_since(daemon.started()))
    }

    /// The running daemon.
    ///
    /// # Errors
    /// None runs.
    pub fn daemon(&self) -> Result<&Process> {
        self.daemon.as_ref().context("no daemon runs")
    }

    /// Stops the daemon with SIGTERM; its exit code.
    ///
    /// # Errors
    /// None runs, or it does not end.
    pub fn terminate(&mut self) -> Result<i32> {
        let (status, lines) = self.daemon.take().context("no daemon runs")?.terminate()?;
        self.past_lines.extend(lines);
        Ok(crate::process::shell_code(status))
    }

    /// Stops the daemon with SIGKILL.
    ///
    /// # Errors
    /// None runs, or it does not end.
    pub fn kill(&mut self) -> Result<()> {
        let lines = self.daemon.take().context("no daemon runs")?.kill()?;
        self.past_lines.extend(lines);
        Ok(())
    }

    /// Waits until the daemon has ended by itself; its exit code.
    ///
    /// # Errors
    /// None runs, or it does not end.
    pub fn wait_exit(&mut self) -> Result<i32> {
        let mut daemon = self.daemon.take().context("no daemon runs")?;
        let status = daemon.end()?;
        self.past_lines.extend(daemon.lines());
        Ok(crate::process::shell_code(status))
    }

    /// All that every daemon of this folder wrote.
    pub fn log(&self) -> Vec<Line> {
        let mut lines = self.past_lines.clone();
        lines.extend(self.daemon.iter().flat_map(Process::lines));
        lines
    }

    /// `status --json`.
    ///
    /// # Errors
    /// The command fails.
    pub fn status(&self) -> Result<Value> {
        self.run(&["status", "--json"])?.json()
    }

    /// Waits until `status --json` says this state; the whole status.
    ///
    /// # Errors
    /// It does not come to it; the error shows the daemon's log.
    pub fn wait_state(&self, state: &str) -> Result<Value> {
        crate::wait::until(&format!("state {state}"), || {
            let status = self.status()?;
            Ok((status["state"] == state).then_some(status))
        })
        .with_context(|| self.daemon.as_ref().map(Process::shown).unwrap_or_default())
    }

    /// The credential as it stands on disk.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn on_disk(&self) -> Result<OnDisk> {
        let file = |name: &str| -> Result<_> {
            use std::os::unix::fs::MetadataExt;
            let path = self.home.join(name);
            let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
            let metadata = path.metadata()?;
            Ok((name.to_owned(), bytes, metadata.ino(), metadata.modified()?))
        };
        let mut files = vec![file("agent.json")?];
        if self.home.join("keyfile").exists() {
            files.push(file("keyfile")?);
        }
        Ok(OnDisk { files })
    }
}

fn registered_as(line: &str) -> Option<String> {
    let rest = line.split_once("Registered as device ")?.1;
    let end = rest
        .find(|char: char| !(char.is_ascii_alphanumeric() || char == '_'))
        .unwrap_or(rest.len());
    Some(rest[..end].to_owned())
}
