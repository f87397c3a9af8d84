//! `askalf-agent` under test.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::binaries::{Binaries, binaries};
use crate::bridge::{Bridge, MintedKey};
use crate::command::Output;
use crate::process::Process;
use crate::program::{Kind, Program};

static AGENT: Kind = Kind {
    name: "askalf-agent",
    home_variable: "ASKALF_HOME",
    removed: &["ASKALF_API_KEY", "ASKALF_URL", "ASKALF_LOG"],
};

/// An agent with a folder of its own, over any number of daemons.
#[derive(Debug)]
pub struct Agent {
    program: Program,
    wrapper: Vec<String>,
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
        let mut agent = Self::in_folder(binaries()?, &folder.path().join("agent"));
        agent.program.own(folder);
        Ok(agent)
    }

    /// An agent in this folder.
    pub fn in_folder(binaries: &Binaries, home: &Path) -> Self {
        Self {
            program: Program::new(&AGENT, &binaries.agent, home),
            wrapper: Vec::new(),
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

    /// Runs the daemon by this command from now on, for example `unshare --uts`.
    pub fn wrap(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Runs its daemons, from now on, in a mount namespace of their own that `mounts`, a shell command, has changed. It knows
    /// the home as `$ASKALF_HOME`. False where the system gives no such namespace.
    pub fn mount(&mut self, mounts: &str) -> bool {
        let script = format!("{mounts} && exec \"$@\"");
        let wrapper = [
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            &script,
            "sh",
        ];
        let tried = Command::new(wrapper[0])
            .args(&wrapper[1..])
            .arg("true")
            .env("ASKALF_HOME", self.home())
            .status();
        let allowed = tried.is_ok_and(|status| status.success());
        if allowed {
            self.wrap(&wrapper);
        }
        allowed
    }

    /// `pair`, with the key on standard input.
    ///
    /// # Errors
    /// It does not start or end.
    pub fn pair(&self, url: &str, name: &str, key: &str) -> Result<Output> {
        self.run_with_input(&["pair", "-", "--url", url, "--name", name], key.as_bytes())
    }

    /// Runs a command on this folder that sees no other process of the machine, where the system grants that.
    ///
    /// # Errors
    /// It does not start or end.
    pub fn run_alone(&self, arguments: &[&str]) -> Result<Output> {
        let alone = ["unshare", "--pid", "--fork", "--mount-proc"].map(str::to_owned);
        let granted = Command::new(&alone[0])
            .args(&alone[1..])
            .arg("true")
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        let wrapper: &[String] = if granted { &alone } else { &[] };
        let name = format!("askalf-agent {}", arguments.join(" "));
        crate::command::run(&name, &mut self.command_by(wrapper, arguments), b"")
    }

    /// Starts a daemon without waiting for anything.
    ///
    /// # Errors
    /// It does not start, or one runs.
    pub fn spawn(&mut self) -> Result<&Process> {
        let mut command = self.command_by(&self.wrapper, &["daemon"]);
        self.program.start(&mut command)
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
        self.process()
    }

    /// How often the daemons of this folder have registered.
    pub fn registrations(&self) -> usize {
        self.log()
            .iter()
            .filter(|line| registered_as(&line.text).is_some())
            .count()
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
        // Until the daemon listens, `status` tells what the folder does, which may be the same word.
        let socket = self.home().join("agent.sock");
        crate::wait::until(&format!("state {state}"), || {
            let listens = socket.exists();
            let status = self.status()?;
            Ok((listens && status["state"] == state).then_some(status))
        })
        .with_context(|| self.daemon().map(Process::shown).unwrap_or_default())
    }

    /// The credential as it stands on disk.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn on_disk(&self) -> Result<OnDisk> {
        let file = |name: &str| -> Result<_> {
            use std::os::unix::fs::MetadataExt;
            let path = self.home().join(name);
            let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
            let metadata = path.metadata()?;
            Ok((name.to_owned(), bytes, metadata.ino(), metadata.modified()?))
        };
        let mut files = vec![file("agent.json")?];
        if self.home().join("keyfile").exists() {
            files.push(file("keyfile")?);
        }
        Ok(OnDisk { files })
    }
}

impl Deref for Agent {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl DerefMut for Agent {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}

fn registered_as(line: &str) -> Option<String> {
    let rest = line.split_once("Registered as device ")?.1;
    let end = rest
        .find(|char: char| !(char.is_ascii_alphanumeric() || char == '_'))
        .unwrap_or(rest.len());
    Some(rest[..end].to_owned())
}
