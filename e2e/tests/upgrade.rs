//! `askalf-agent upgrade`, with a daemon that a small supervisor starts again, as a service manager would.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Binaries, Bridge, Output, binaries, until};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::Ed25519KeyPair;

const OLD: &str = env!("CARGO_PKG_VERSION");
/// As long as the old one: it is written over it in the program.
const NEW: &str = "9.0.0";

/// The key pair of RFC 8032, 7.1, test 1: the secret half as it stands in files, and the public one as OpenSSL writes it.
const SECRET_KEY: &str = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

/// A device whose agent stands in a folder of its own, and the packages for it.
struct Rig {
    folder: tempfile::TempDir,
    program: PathBuf,
    old: Vec<u8>,
}

impl Rig {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let programs = folder.path().join("bin");
        fs::create_dir(&programs)?;
        let program = programs.join("askalf-agent");
        // Without what debuggers want it is a tenth as large.
        let stripped = Command::new("strip")
            .arg("-o")
            .args([&program, &binaries()?.agent])
            .status();
        ensure!(stripped.is_ok_and(|status| status.success()), "strip");
        let old = fs::read(&program)?;
        fs::write(folder.path().join("release.pub"), PUBLIC_KEY)?;
        Ok(Self { folder, program, old })
    }

    fn agent(&self) -> Result<Agent> {
        let programs = Binaries {
            agent: self.program.clone(),
            bridge: binaries()?.bridge.clone(),
        };
        Ok(Agent::in_folder(&programs, &self.path("home")))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same program with another version.
    fn other_version(&self, version: &str) -> Vec<u8> {
        assert_eq!(version.len(), OLD.len());
        let mut bytes = self.old.clone();
        for at in 0..bytes.len() - OLD.len() {
            if bytes[at..].starts_with(OLD.as_bytes()) {
                bytes[at..at + OLD.len()].copy_from_slice(version.as_bytes());
            }
        }
        bytes
    }

    /// A signed package of this program, in a folder of its own.
    fn package(&self, version: &str, program: &[u8]) -> Result<PathBuf> {
        let name = format!("askalf-agent-{version}-test");
        let stage = self.path("stage").join(&name);
        let out = self.path(&format!("release-{version}"));
        fs::create_dir_all(&stage)?;
        fs::create_dir_all(&out)?;
        fs::write(stage.join("askalf-agent"), program)?;
        fs::set_permissions(stage.join("askalf-agent"), fs::Permissions::from_mode(0o755))?;
        let package = out.join(format!("{name}.tar.gz"));
        succeed(
            Command::new("tar")
                .args(["--create", "--use-compress-program", "gzip -1", "--file"])
                .arg(&package)
                .arg("--directory")
                .arg(self.path("stage"))
                .arg(&name),
        )?;
        let sums = Command::new("sha256sum")
            .arg(format!("{name}.tar.gz"))
            .current_dir(&out)
            .output()?;
        fs::write(out.join("SHA256SUMS"), sums.stdout)?;
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&STANDARD.decode(SECRET_KEY)?);
        let key = key.ok().context("no key")?;
        let sums = fs::read(out.join("SHA256SUMS"))?;
        fs::write(out.join("SHA256SUMS.sig"), key.sign(&sums))?;
        Ok(package)
    }

    fn upgrade(&self, package: &Path, more: &[&str]) -> Result<Output> {
        let key = self.path("release.pub");
        // The daemon ends by itself, and the supervisor starts what stands in the place then.
        let restart = format!(
            "{} --home {} disconnect",
            binaries()?.agent.display(),
            self.path("home").display()
        );
        let mut words = vec![
            "upgrade",
            text(package)?,
            "--trusted-key",
            text(&key)?,
            "--restart-with",
            &restart,
        ];
        words.extend(more);
        self.agent()?.run(&words)
    }

    fn ensure_old(&self) -> Result<()> {
        ensure!(
            fs::read(&self.program)? == self.old,
            "another program stands there"
        );
        self.ensure_no_leftovers()
    }

    fn ensure_no_leftovers(&self) -> Result<()> {
        for entry in fs::read_dir(self.path("bin"))? {
            let name = entry?.file_name();
            ensure!(
                name == "askalf-agent" || name == "askalf-agent.previous",
                "{name:?} was left behind"
            );
        }
        Ok(())
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {output:?}");
    Ok(())
}

/// Starts the daemon again and again, until it is dropped.
struct Supervisor {
    child: Child,
    stop: PathBuf,
    program: PathBuf,
    home: PathBuf,
}

impl Supervisor {
    fn start(rig: &Rig) -> Result<Self> {
        let stop = rig.path("stop");
        let child = Command::new("sh")
            .args(["-c", r#"while [ ! -e "$1" ]; do "$0" daemon; sleep 0.1; done"#])
            .arg(&rig.program)
            .arg(&stop)
            .env("ASKALF_HOME", rig.path("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            child,
            stop,
            program: binaries()?.agent.clone(),
            home: rig.path("home"),
        })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = fs::write(&self.stop, "");
        let _ = Command::new(&self.program)
            .arg("--home")
            .arg(&self.home)
            .arg("disconnect")
            .output();
        let _ = self.child.wait();
    }
}

fn online(agent: &Agent) -> Result<serde_json::Value> {
    until("the device to be online", || {
        let status = agent.status()?;
        Ok((status["state"] == "online").then_some(status))
    })
}

fn device_under_a_supervisor(rig: &Rig, bridge: &Bridge) -> Result<(Agent, Supervisor)> {
    let agent = rig.agent()?;
    let key = bridge.mint("laptop")?;
    agent.pair(&bridge.url(), "laptop", &key.key)?.expect_code(0)?;
    let supervisor = Supervisor::start(rig)?;
    online(&agent)?;
    Ok((agent, supervisor))
}

#[test]
fn a_new_agent_takes_the_place_and_the_device_stays_the_same() -> Result<()> {
    let bridge = Bridge::start()?;
    let rig = Rig::new()?;
    let (agent, _supervisor) = device_under_a_supervisor(&rig, &bridge)?;
    let device = agent.status()?["device_id"].clone();
    fs::set_permissions(&rig.program, fs::Permissions::from_mode(0o751))?;

    let package = rig.package(NEW, &rig.other_version(NEW))?;
    let upgraded = rig.upgrade(&package, &[])?.expect_code(0)?;
    let shown = rig.program.display();
    ensure!(
        upgraded.stdout
            == format!(
                "askalf-agent {NEW} is in place at {shown}; {OLD} is kept as {shown}.previous.\nThe agent runs {NEW} and is \
                 online.\n"
            ),
        "{upgraded:?}"
    );
    let status = online(&agent)?;
    ensure!(
        status["version"] == NEW && status["device_id"] == device,
        "{status}"
    );
    ensure!(rig.program.metadata()?.mode() & 0o777 == 0o751, "another mode");
    ensure!(fs::read(rig.path("bin/askalf-agent.previous"))? == rig.old);
    rig.ensure_no_leftovers()?;

    // Once more is nothing to do; back is a downgrade.
    let again = rig.upgrade(&package, &[])?.expect_code(0)?;
    ensure!(again.stdout.contains("already; nothing is changed"), "{again:?}");
    let old = rig.package(OLD, &rig.old)?;
    let refused = rig.upgrade(&old, &[])?.expect_code(1)?;
    ensure!(
        refused.stderr.contains("is older than this one, 9.0.0"),
        "{refused:?}"
    );
    rig.upgrade(&old, &["--allow-downgrade"])?.expect_code(0)?;
    ensure!(online(&agent)?["version"] == OLD);
    rig.ensure_old()
}

#[test]
fn an_agent_that_does_not_register_is_taken_back() -> Result<()> {
    let bridge = Bridge::start()?;
    let rig = Rig::new()?;
    let (agent, _supervisor) = device_under_a_supervisor(&rig, &bridge)?;

    // It tells its version, and ends as a daemon.
    let broken = format!("#!/bin/sh\n[ \"$1\" = --version ] && exec echo askalf-agent {NEW}\nexit 1\n");
    let package = rig.package(NEW, broken.as_bytes())?;
    let failed = rig.upgrade(&package, &["--wait", "2"])?.expect_code(1)?;
    ensure!(
        failed.stderr
            == format!(
                "error: {NEW} did not register within 2 s: it does not run; {OLD} is back in its place and is online\nhint: see \
                 what the new one logged, then try again\n"
            ),
        "{failed:?}"
    );
    ensure!(online(&agent)?["version"] == OLD);
    rig.ensure_old()?;

    // Nor does it stay where the restart fails at once.
    let failed = rig
        .upgrade(
            &package,
            &[
                "--wait",
                "2",
                "--restart-with",
                "echo no such service >&2; exit 5",
            ],
        )?
        .expect_code(2)?;
    ensure!(
        failed.stderr.contains("cannot be used multiple times"),
        "{failed:?}"
    );
    let key = rig.path("release.pub");
    let words = [
        "upgrade",
        text(&package)?,
        "--trusted-key",
        text(&key)?,
        "--restart-with",
        "echo no such service >&2; exit 5",
    ];
    let failed = agent.run(&words)?.expect_code(1)?;
    let why = "the agent could not be restarted: no such service";
    ensure!(
        failed
            .stderr
            .contains(&format!("{why}; {OLD} is back in its place, and {why}")),
        "{failed:?}"
    );
    rig.ensure_old()
}

#[test]
fn what_nobody_vouches_for_changes_nothing() -> Result<()> {
    let rig = Rig::new()?;
    let agent = rig.agent()?;
    let package = rig.package(NEW, &rig.other_version(NEW))?;
    let key = rig.path("release.pub");
    let folder = package.parent().context("no folder")?;
    let refused = |words: &[&str], code: i32, why: &str| -> Result<()> {
        let mut all = vec!["upgrade", text(&package)?];
        all.extend(words);
        let output = agent.run(&all)?.expect_code(code)?;
        ensure!(output.stderr.contains(why), "{why}: {output:?}");
        rig.ensure_old()
    };
    let trusted = ["--trusted-key", text(&key)?];

    refused(&[], 77, "no key says who may sign it")?;
    refused(&["--trusted-key", text(&package)?], 2, "it is not text")?;
    let signature = fs::read(folder.join("SHA256SUMS.sig"))?;
    let sums = fs::read(folder.join("SHA256SUMS"))?;
    fs::write(folder.join("SHA256SUMS.sig"), &signature[1..])?;
    refused(&trusted, 77, "SHA256SUMS.sig is not by a trusted key")?;
    fs::remove_file(folder.join("SHA256SUMS.sig"))?;
    refused(&trusted, 77, "SHA256SUMS.sig beside it: no such file or folder")?;
    fs::write(folder.join("SHA256SUMS.sig"), &signature)?;

    let whole = fs::read(&package)?;
    fs::write(&package, &whole[..whole.len() - 1])?;
    refused(&trusted, 77, "its checksum is not the one in SHA256SUMS")?;
    refused(
        &["--allow-unsigned"],
        77,
        "its checksum is not the one in SHA256SUMS",
    )?;
    fs::write(folder.join("SHA256SUMS"), "")?;
    refused(&["--allow-unsigned"], 77, "SHA256SUMS does not name it")?;
    fs::remove_file(folder.join("SHA256SUMS"))?;
    refused(&["--allow-unsigned"], 1, "holds no askalf-agent")?;
    fs::write(&package, "nonsense")?;
    refused(&["--allow-unsigned"], 1, "holds no askalf-agent")?;

    // With nobody to restart, the program alone is put in place, and the person is told.
    fs::write(&package, &whole)?;
    fs::write(folder.join("SHA256SUMS"), &sums)?;
    let mut words = vec!["upgrade", text(&package)?];
    words.extend(trusted);
    let upgraded = agent.run(&words)?.expect_code(0)?;
    ensure!(
        upgraded
            .stdout
            .contains("No service runs here that could be restarted."),
        "{upgraded:?}"
    );
    let version = agent.run(&["--version"])?.expect_code(0)?;
    ensure!(
        version.stdout.trim() == format!("askalf-agent {NEW}"),
        "{version:?}"
    );
    Ok(())
}

#[test]
fn a_program_that_does_not_run_here_is_no_upgrade() -> Result<()> {
    let rig = Rig::new()?;
    for (program, why) in [
        (&b"\x7fELF not really"[..], "does not run here"),
        (
            b"#!/bin/sh\necho another-agent 9.0.0\n",
            "does not tell its version",
        ),
    ] {
        let package = rig.package(NEW, program)?;
        let failed = rig.upgrade(&package, &[])?.expect_code(1)?;
        ensure!(failed.stderr.contains(why), "{failed:?}");
        rig.ensure_old()?;
    }
    Ok(())
}

#[test]
fn an_upgrade_that_dies_leaves_both_programs_whole_and_the_next_one_works() -> Result<()> {
    let bridge = Bridge::start()?;
    let rig = Rig::new()?;
    let (agent, _supervisor) = device_under_a_supervisor(&rig, &bridge)?;
    let broken = format!("#!/bin/sh\n[ \"$1\" = --version ] && exec echo askalf-agent {NEW}\nexit 1\n");
    let package = rig.package(NEW, broken.as_bytes())?;

    // What an earlier one may have left is in nobody's way.
    fs::write(rig.path("bin/askalf-agent.upgrade"), "half")?;
    fs::write(rig.path("bin/askalf-agent.previous.new"), "half")?;
    let mut upgrade = Command::new(&rig.program)
        .args([
            "upgrade",
            text(&package)?,
            "--allow-unsigned",
            "--restart-with",
            "true",
        ])
        .env("ASKALF_HOME", rig.path("home"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    until("the new program in its place", || {
        Ok((fs::read(&rig.program)? == broken.as_bytes()).then_some(()))
    })?;
    // It waits for the new one: a second upgrade is told so.
    let second = Command::new(rig.path("bin/askalf-agent.previous"))
        .args(["upgrade", text(&package)?, "--allow-unsigned"])
        .output()?;
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    ensure!(
        second.status.code() == Some(75) && told.contains("another upgrade works in"),
        "{told}"
    );
    upgrade.kill()?;
    upgrade.wait()?;
    ensure!(fs::read(rig.path("bin/askalf-agent.previous"))? == rig.old);

    // What a person does then, as docs/operations.md says.
    succeed(
        Command::new("mv")
            .arg(rig.path("bin/askalf-agent.previous"))
            .arg(&rig.program),
    )?;
    ensure!(online(&agent)?["version"] == OLD);
    let good = rig.package("9.0.1", &rig.other_version("9.0.1"))?;
    rig.upgrade(&good, &[])?.expect_code(0)?;
    ensure!(online(&agent)?["version"] == "9.0.1");
    rig.ensure_no_leftovers()
}
