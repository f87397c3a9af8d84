//! A container that boots its own systemd on a machine whose own may be another, or none: systemd-nspawn in a network namespace
//! that outlives its reboots.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use askalf_e2e::{Output, Process};

use crate::rootfs::RootFs;

/// How long a boot may take.
const BOOT: Duration = Duration::from_secs(60);

/// How long systemd-nspawn may take to end once its container has.
const ENDING: Duration = Duration::from_secs(10);

/// What systemd-nspawn exits with where the container wants to be booted again.
const REBOOT: i32 = 133;

/// A booted system. Dropping it ends it and removes what it stood on.
pub(crate) struct Container {
    name: String,
    // Before the network and the files that it uses.
    machine: Option<Machine>,
    network: NetworkNamespace,
    files: RootFs,
}

struct Machine {
    nspawn: Process,
    /// The process id of its init, as seen from here.
    init: u32,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // systemd-nspawn that is killed leaves its container running: the container's init ends first, and with it all that
        // is in there. Only the child of ours that it is, and not what has its number now.
        if let Some(init) = child_named(self.nspawn.pid(), "systemd") {
            let _gone = Command::new("kill").args(["-KILL", &init.to_string()]).status();
            let _killed_then = self.nspawn.end_within(ENDING);
        }
    }
}

impl Container {
    /// Boots a copy of the kept system after `prepare` has changed it. Yields also how long the boot took.
    pub(crate) fn boot(name: &str, prepare: impl FnOnce(&RootFs) -> Result<()>) -> Result<(Self, Duration)> {
        let files = RootFs::new(name)?;
        prepare(&files)?;
        let network = NetworkNamespace::new(name)?;
        let mut container = Self {
            name: name.to_owned(),
            machine: None,
            network,
            files,
        };
        let took = container.start()?;
        Ok((container, took))
    }

    /// A command here that shares only the container's network.
    pub(crate) fn network_command(&self) -> [String; 4] {
        ["ip", "netns", "exec", &self.network.name].map(str::to_owned)
    }

    /// A command in it, as root.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let init = self.machine.as_ref().context("the container does not run")?.init;
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &init.to_string(), "--all", "--"])
            .args(arguments)
            .env_clear()
            .envs([
                (
                    "PATH",
                    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                ),
                ("HOME", "/root"),
                ("LANG", "C.UTF-8"),
                ("SYSTEMD_PAGER", ""),
                ("SYSTEMD_COLORS", "0"),
            ]);
        Ok(command)
    }

    /// Runs a command in it to its end, as root.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.run_with_input(arguments, b"")
    }

    /// Runs a command in it that reads its standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Result<Output> {
        askalf_e2e::run(&arguments.join(" "), &mut self.command(arguments)?, input)
    }

    /// Runs a shell's line in it; an error where it fails. Yields its standard output.
    pub(crate) fn shell(&self, line: &str) -> Result<String> {
        let output = self.run(&["sh", "-c", line])?.expect_code(0);
        Ok(output
            .with_context(|| format!("'{line}' in the container"))?
            .stdout)
    }

    /// Has it boot again, and waits until it has. Yields how long that took from the end of the old one.
    pub(crate) fn reboot(&mut self) -> Result<Duration> {
        self.run(&["systemctl", "reboot"])?;
        let mut machine = self.machine.take().context("the container does not run")?;
        let status = machine.nspawn.end()?;
        drop(machine);
        ensure!(
            status.code() == Some(REBOOT),
            "the container ended with {status} instead of a reboot"
        );
        self.start()
    }

    fn start(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let mut command = Command::new("setpriv");
        // Where this process is killed, the container is shut down in order: nothing of it stays.
        command
            .args(["--pdeathsig", "TERM", "--"])
            .args([
                "systemd-nspawn",
                "--quiet",
                "--register=no",
                "--keep-unit",
                "--boot",
            ])
            .args(["--resolv-conf=off", "--console=pipe"])
            .arg(format!("--machine={}", self.name))
            .arg(format!(
                "--network-namespace-path=/run/netns/{}",
                self.network.name
            ))
            .arg("--directory")
            .arg(self.files.path());
        let nspawn = Process::start("systemd-nspawn", &mut command, b"")?;
        self.machine = Some(Machine { nspawn, init: 0 });
        loop {
            if self.is_up()? {
                return Ok(started.elapsed());
            }
            if started.elapsed() > BOOT {
                let said = self
                    .machine
                    .as_ref()
                    .map(|it| it.nspawn.stdout())
                    .unwrap_or_default();
                bail!("the container does not boot:\n{said}");
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Whether its services have started.
    fn is_up(&mut self) -> Result<bool> {
        let Some(machine) = &mut self.machine else {
            return Ok(false);
        };
        let Some(init) = child_named(machine.nspawn.pid(), "systemd") else {
            return Ok(false);
        };
        machine.init = init;
        let state = self.run(&["systemctl", "is-system-running"])?;
        match state.stdout.trim() {
            "running" => Ok(true),
            "degraded" => bail!(
                "the container's system is degraded: {}",
                self.shell("systemctl --failed --no-legend")?
            ),
            _ => Ok(false),
        }
    }
}

/// The child of a process that runs a program of this name.
fn child_named(parent: u32, name: &str) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .find(|pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
        })
}

/// A network namespace with a loopback and nothing else. Dropping it removes it.
struct NetworkNamespace {
    name: String,
}

impl NetworkNamespace {
    fn new(name: &str) -> Result<Self> {
        sweep()?;
        let name = format!("askalf-{}-{name}", std::process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        ip(&["-n", &namespace.name, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        let _left = ip(&["netns", "delete", &self.name]);
    }
}

/// Removes what runs left behind that were killed.
fn sweep() -> Result<()> {
    for line in ip(&["netns", "list"])?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let owner = name
            .strip_prefix("askalf-")
            .and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _left = ip(&["netns", "delete", name]);
        }
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<String> {
    let name = format!("ip {}", arguments.join(" "));
    let output = askalf_e2e::run(&name, Command::new("ip").args(arguments), b"")?;
    Ok(output.expect_code(0).context(name)?.stdout)
}
