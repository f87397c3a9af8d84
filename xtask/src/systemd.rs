//! `cargo xtask test-systemd`: the agent as a service of a real systemd, in a container that boots one. It prints every figure.

mod connect;
mod npm;
mod service;
mod tasks;
mod user;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use askalf_e2e::{Binaries, Bridge, PATIENCE};

use crate::container::Container;
use crate::{cargo, rootfs, tools};
use service::{Service, Start};

/// The most that may pass from the start of the unit to the registration.
const REGISTERED_WITHIN: Duration = Duration::from_secs(2);

/// What is between the machine and a bridge that is not there must not show in these.
const START_WITHIN: Duration = Duration::from_secs(2);

/// The highest exposure of a profile that is called strict.
const STRICT_EXPOSURE: f64 = 3.0;

/// Restarts where nothing else is said.
const RESTARTS: usize = 100;

/// Where the agent's binary is put for the install: no folder of programs.
const BINARY: &str = "/root/askalf-agent";

/// Runs everything; `--restarts N` and `--release`.
pub(crate) fn test(arguments: &[&str]) -> Result<()> {
    let (mut restarts, mut release) = (RESTARTS, false);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match *word {
            "--restarts" => {
                let number = words.next().context("--restarts wants a number")?;
                restarts = number.parse().context("--restarts wants a number")?;
            }
            "--release" => release = true,
            other => bail!("no option '{other}': --restarts N, --release"),
        }
    }
    ensure!(
        tools::is_root(),
        "a container is booted by root: run this as root"
    );
    let mut all = rootfs::tools();
    all.push(tools::c_compiler());
    tools::require(&all)?;
    let binaries = cargo::build(if release { &["--release"] } else { &[] })?;

    let started = Instant::now();
    let mut scene = Scene::new(&binaries)?;
    scene.install()?;
    scene.examine_units()?;
    scene.pair_as_root()?;
    scene.restart_often(restarts)?;
    scene.change_surroundings()?;
    scene.reload()?;
    scene.reboot()?;
    scene.without_a_bridge()?;
    scene.killed_and_stuck()?;
    scene.revoked_and_paired_again()?;
    tasks::under_each_profile(&scene)?;
    tasks::approved_by_root(&scene)?;
    scene.uninstall()?;
    connect::and_install(&scene)?;
    npm::take_over(&mut scene)?;
    user::own_service(&scene)?;
    println!("\nAll of it held, in {} s.", started.elapsed().as_secs());
    Ok(())
}

/// A bridge, and a machine with the service in one network.
struct Scene {
    container: Container,
    bridge: Bridge,
    // After the bridge in it.
    _folder: tempfile::TempDir,
    boot: Duration,
    device: String,
}

impl Scene {
    fn new(binaries: &Binaries) -> Result<Self> {
        title("boot a machine");
        let (container, boot) =
            Container::boot("services", |root| root.add_program(&binaries.agent, BINARY))?;
        let version = container.shell("systemctl --version")?;
        say(&format!(
            "{}, booted in {}",
            version.lines().next().unwrap_or_default(),
            ms(boot)
        ));
        let folder = tempfile::tempdir()?;
        let bridge = Bridge::start_by(
            binaries,
            &folder.path().join("bridge"),
            &container.network_command(),
            &[],
        )?;
        say(&format!(
            "a bridge at {}, in the machine's own network",
            bridge.url()
        ));
        Ok(Self {
            container,
            bridge,
            _folder: folder,
            boot,
            device: String::new(),
        })
    }

    fn service(&self) -> Service<'_> {
        Service(&self.container)
    }

    fn install(&self) -> Result<()> {
        title("install-service");
        let files = "find /etc /usr/local /var/lib -newer /etc/hostname -type f | sort; cat /etc/passwd";
        let before = self.container.shell(files)?;
        self.container
            .run(&[BINARY, "install-service", "--dry-run"])?
            .expect_code(0)?;
        ensure!(
            self.container.shell(files)? == before,
            "a dry run changed something"
        );
        say("--dry-run changed nothing");
        let started = Instant::now();
        let output = self.container.run(&[BINARY, "install-service"])?.expect_code(0)?;
        say(&format!("done in {}:", ms(started.elapsed())));
        output.stdout.lines().for_each(say);
        self.container.shell(
            "cmp /root/askalf-agent /usr/local/bin/askalf-agent && test ! -e /var/lib/.askalf-agent.adopt",
        )?;
        let status = self.service().wait_status("unpaired")?;
        ensure!(status.contains("askalf-agent pair"), "no command in: {status}");
        let again = self
            .container
            .run(&["askalf-agent", "install-service"])?
            .expect_code(0)?;
        let written = again
            .stdout
            .lines()
            .filter(|line| line.starts_with("write") && !line.ends_with("nothing to do"));
        ensure!(
            written.count() == 0,
            "a second install wrote something: {}",
            again.stdout
        );
        say("a second install writes nothing");
        let mode = self.container.shell("stat -c '%U %a' /var/lib/askalf-agent")?;
        ensure!(mode.trim() == "askalf-agent 700", "the home is {mode}");
        Ok(())
    }

    fn examine_units(&self) -> Result<()> {
        title("systemd-analyze");
        let units = "/etc/systemd/system/askalf-agent.service /etc/systemd/system/askalf-task.socket \
            /etc/systemd/system/askalf-task@.service";
        for profile in tasks::PROFILES {
            self.install_profile(profile)?;
            let verified = self
                .container
                .shell(&format!("systemd-analyze verify --man=no {units} 2>&1"))?;
            ensure!(verified.trim().is_empty(), "{profile}: verify says {verified}");
            let mut shown = Vec::new();
            for unit in ["askalf-agent.service", "askalf-task@.service"] {
                let exposure = self.exposure(unit)?;
                ensure!(
                    profile != "strict" || exposure <= STRICT_EXPOSURE,
                    "{unit} is exposed {exposure} under the strict profile"
                );
                shown.push(format!("{unit} {exposure:.1}"));
            }
            say(&format!(
                "{profile:<10} verify clean; exposure: {}",
                shown.join(", ")
            ));
        }
        self.install_profile("standard")
    }

    fn install_profile(&self, profile: &str) -> Result<()> {
        let install = ["askalf-agent", "install-service", "--profile", profile];
        self.container.run(&install)?.expect_code(0)?;
        Ok(())
    }

    fn exposure(&self, unit: &str) -> Result<f64> {
        let line = format!(
            "systemd-analyze security --offline=true /etc/systemd/system/{unit} --no-pager | tail -n 1"
        );
        let said = self.container.shell(&line)?;
        let (_, figure) = said.rsplit_once("level for ").context("no exposure")?;
        let figure = figure
            .split_once(": ")
            .map(|(_, rest)| rest.split_whitespace().next());
        let figure = figure
            .flatten()
            .with_context(|| format!("no exposure in {said}"))?;
        figure.parse().with_context(|| format!("no exposure in {said}"))
    }

    fn pair_as_root(&mut self) -> Result<()> {
        title("pair, as root");
        let started = Instant::now();
        let device = self.pair(None)?;
        say(&format!(
            "online {} after the command began, without another one",
            ms(started.elapsed())
        ));
        self.device = device;
        Ok(())
    }

    /// Pairs by a code, for this device or a new one; yields the device once it is online.
    fn pair(&self, device: Option<&str>) -> Result<String> {
        let mut words = vec!["pair-code", "new", "--name", "machine", "--json"];
        words.extend(device.into_iter().flat_map(|device| ["--device", device]));
        let code = self.bridge.run(&words)?.json()?;
        let code = code["code"].as_str().context("no code")?.to_owned();
        let url = self.bridge.url();
        let pair = ["askalf-agent", "pair", code.as_str(), "--url", url.as_str()];
        let output = self.container.run(&pair)?.expect_code(0)?;
        output.stdout.lines().for_each(say);
        self.service().wait_status("online")?;
        let foreign =
            "find /var/lib/askalf-agent ! -user askalf-agent; find /root/.askalf 2>/dev/null || true";
        let foreign = self.container.shell(foreign)?;
        ensure!(foreign.trim().is_empty(), "not the service's own: {foreign}");
        self.service().device()
    }

    fn restart_often(&self, restarts: usize) -> Result<()> {
        title(&format!("{restarts} restarts"));
        let mut starts = Vec::new();
        for _ in 0..restarts {
            starts.push(self.service().restart(&self.device)?);
        }
        tell(&starts)?;
        let refused = self
            .container
            .shell("journalctl -u askalf-agent --no-pager | grep -c AUTH_FAILED || true")?;
        ensure!(refused.trim() == "0", "AUTH_FAILED {refused} times");
        say("same device each time; AUTH_FAILED in the journal: 0");
        Ok(())
    }

    fn change_surroundings(&self) -> Result<()> {
        title("other surroundings, a restart after each");
        let changes = [
            (
                "environment, with daemon-reload",
                "mkdir -p /etc/systemd/system/askalf-agent.service.d && printf '[Service]\\nEnvironment=LANG=de_DE.UTF-8 \
                 TZ=Asia/Tokyo NODE_ENV=production\\n' > /etc/systemd/system/askalf-agent.service.d/test.conf && \
                 systemctl daemon-reload"
                    .to_owned(),
            ),
            (
                "host name",
                "hostname other-name && echo other-name > /etc/hostname".to_owned(),
            ),
            (
                "a new network interface",
                "ip link add new0 type veth peer name peer0 && ip address add 198.51.100.7/24 dev new0 && ip link set new0 up".to_owned(),
            ),
            (
                "another one, with another address, and the first gone",
                "ip link add new1 address 02:00:00:00:00:77 type veth peer name peer1 && ip link set new1 up && ip link delete new0"
                    .to_owned(),
            ),
        ];
        for (what, line) in changes {
            self.container.shell(&line)?;
            let start = self.service().restart(&self.device)?;
            say(&format!(
                "{what:<55} registered {} after the start",
                ms(start.registered)
            ));
        }
        Ok(())
    }

    fn reload(&self) -> Result<()> {
        title("reload");
        let pid = self.service().property("MainPID")?;
        self.container
            .run(&["systemctl", "reload", "askalf-agent"])?
            .expect_code(0)?;
        until("the line of the reload", || {
            let lines = self
                .container
                .shell("journalctl -u askalf-agent -o cat --no-pager -n 20")?;
            Ok(lines.contains("the configuration was read again").then_some(()))
        })?;
        ensure!(self.service().property("MainPID")? == pid, "another process");
        self.service().wait_status("online")?;
        say("the configuration was read again, by the same process, which stayed online");
        let doctor = self.container.run(&["askalf-agent", "doctor"])?;
        doctor.stdout.lines().for_each(say);
        ensure!(
            doctor.code == 0,
            "root's doctor exits {}: {}",
            doctor.code,
            doctor.stderr
        );
        Ok(())
    }

    fn reboot(&mut self) -> Result<()> {
        title("reboot");
        let boot = self.container.reboot()?;
        let start = self.service().started(&self.device, None)?;
        say(&format!(
            "booted in {}; registered {} after the unit's start",
            ms(boot),
            ms(start.registered)
        ));
        ensure!(start.registered <= REGISTERED_WITHIN, "too late");
        Ok(())
    }

    fn without_a_bridge(&mut self) -> Result<()> {
        title("no bridge");
        self.bridge.terminate()?;
        let started = Instant::now();
        self.container
            .run(&["systemctl", "restart", "askalf-agent"])?
            .expect_code(0)?;
        let restart = started.elapsed();
        let status = self.service().wait_status("backoff")?;
        say(&format!(
            "'systemctl restart' took {}; status: {status}",
            ms(restart)
        ));
        let boot = self.container.reboot()?;
        say(&format!(
            "boot took {} ({} before there was a service)",
            ms(boot),
            ms(self.boot)
        ));
        ensure!(restart <= START_WITHIN, "an absent bridge delays the restart");
        ensure!(
            boot <= self.boot + START_WITHIN,
            "an absent bridge delays the boot: {} instead of {}",
            ms(boot),
            ms(self.boot)
        );
        self.service().wait_status("backoff")?;
        self.bridge.serve()?;
        let back = Instant::now();
        self.service().wait_status("online")?;
        say(&format!(
            "online {} after the bridge came back",
            ms(back.elapsed())
        ));
        ensure!(self.service().device()? == self.device, "another device");
        Ok(())
    }

    fn killed_and_stuck(&self) -> Result<()> {
        title("killed, and stuck");
        let service = self.service();
        let pid = service.property("MainPID")?;
        self.container.run(&["kill", "-KILL", &pid])?.expect_code(0)?;
        let start = service.started(&self.device, Some(&pid))?;
        say(&format!(
            "after SIGKILL: registered {} after the new start",
            ms(start.registered)
        ));
        self.container.shell(
            "printf '[Service]\\nWatchdogSec=2\\n' > /etc/systemd/system/askalf-agent.service.d/test.conf && systemctl \
             daemon-reload && systemctl restart askalf-agent",
        )?;
        service.wait_status("online")?;
        let pid = service.property("MainPID")?;
        let quiet = Instant::now();
        while quiet.elapsed() < Duration::from_secs(6) {
            std::thread::park_timeout(Duration::from_millis(200));
        }
        ensure!(
            service.property("MainPID")? == pid,
            "the watchdog ended an agent that lives"
        );
        self.container.run(&["kill", "-STOP", &pid])?.expect_code(0)?;
        let stuck = Instant::now();
        service.started(&self.device, Some(&pid))?;
        let said = self
            .container
            .shell("journalctl -u askalf-agent --no-pager | grep -c 'Watchdog timeout'")?;
        say(&format!(
            "a watchdog of 2 s leaves it alone for 6 s; after SIGSTOP it is registered again within {} (time-outs in the \
             journal: {})",
            ms(stuck.elapsed()),
            said.trim()
        ));
        self.container.shell(
            "rm /etc/systemd/system/askalf-agent.service.d/test.conf && systemctl daemon-reload && systemctl restart \
             askalf-agent",
        )?;
        service.wait_status("online")?;
        Ok(())
    }

    fn revoked_and_paired_again(&self) -> Result<()> {
        title("a revoked key, and pairing again");
        let service = self.service();
        let pid = service.property("MainPID")?;
        let keys = self.bridge.run(&["keys", "list", "--json"])?.json()?;
        let keys = keys.as_array().context("no keys")?;
        for key in keys.iter().filter(|key| key["status"] == "active") {
            let id = key["id"].as_str().context("a key without id")?;
            self.bridge.run(&["keys", "revoke", id])?.expect_code(0)?;
        }
        let status = service.wait_status("repair_required")?;
        let shown = self
            .container
            .shell("systemctl status askalf-agent --no-pager || true")?;
        let line = shown
            .lines()
            .find(|line| line.trim_start().starts_with("Status:"));
        let line = line.context("systemctl status shows no status")?.trim();
        let journal = self
            .container
            .shell("journalctl -u askalf-agent --no-pager -o cat | grep 're-pair required' | tail -n 1")?;
        say(&format!("unit: {}", service.property("ActiveState")?));
        say(&format!("systemctl status: {line}"));
        say(&format!("journal: {}", journal.trim()));
        ensure!(
            service.property("ActiveState")? == "active",
            "the unit is not active"
        );
        for text in [&status, line, journal.as_str()] {
            ensure!(
                text.contains("revoked") && text.contains("askalf-agent pair"),
                "no reason or no command in: {text}"
            );
        }
        let check = self.container.run(&["askalf-agent", "status", "--check"])?;
        ensure!(check.code == 78, "status --check exits {}", check.code);
        let started = Instant::now();
        let device = self.pair(Some(&self.device))?;
        say(&format!(
            "paired as root: online {} after the command began",
            ms(started.elapsed())
        ));
        ensure!(device == self.device, "{device} instead of {}", self.device);
        ensure!(service.property("MainPID")? == pid, "the agent was restarted");
        Ok(())
    }

    fn uninstall(&self) -> Result<()> {
        title("uninstall-service");
        let kept = "cd /var/lib/askalf-agent && sha256sum agent.json keyfile state/device-id";
        let before = self.container.shell(kept)?;
        let output = self
            .container
            .run(&["askalf-agent", "uninstall-service"])?
            .expect_code(0)?;
        output.stdout.lines().for_each(say);
        let left = self.container.shell(
            "systemctl list-unit-files --no-legend 'askalf*'; find /etc/systemd -name '*askalf*' -not -path \
             '*/askalf-agent.service.d'; pgrep -a askalf || true",
        )?;
        ensure!(left.trim().is_empty(), "left behind: {left}");
        ensure!(self.container.shell(kept)? == before, "the credential changed");
        say("no unit and no process is left; agent.json, keyfile and device id are as they were");
        self.container
            .run(&["askalf-agent", "uninstall-service"])?
            .expect_code(0)?;
        self.container
            .run(&["askalf-agent", "install-service"])?
            .expect_code(0)?;
        self.service().wait_status("online")?;
        ensure!(
            self.service().device()? == self.device,
            "another device after installing again"
        );
        say("installed again: the same device is online");
        Ok(())
    }
}

fn tell(starts: &[Start]) -> Result<()> {
    for (what, time) in [
        ("from the unit's start to registered", Start::REGISTERED),
        ("'systemctl restart' itself", Start::COMMAND),
    ] {
        let mut times: Vec<Duration> = starts.iter().map(time).collect();
        times.sort();
        let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) else {
            return Ok(());
        };
        say(&format!(
            "{what:<36} median {}, longest {}",
            ms(*median),
            ms(*longest)
        ));
        ensure!(*longest <= REGISTERED_WITHIN, "{what}: {}", ms(*longest));
    }
    Ok(())
}

fn title(text: &str) {
    println!("\n== {text}");
}

fn say(line: &str) {
    println!("   {line}");
}

fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// Looks until something is there; an error after the harness's patience.
fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "{what}: not within {} s",
            PATIENCE.as_secs()
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
