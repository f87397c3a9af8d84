//! The workspace for Windows: built with Debian's compiler, beside which the source of its standard library is packaged, and
//! run under Wine. A toolchain of rustup would need a target that not every machine can fetch.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Bridge, Output, Process, run as run_to_the_end};

use crate::{cargo, test, tools};

const TARGET: &str = "x86_64-pc-windows-gnu";

/// What is for Unix alone: the end-to-end tests, and these tasks.
const UNIX_ALONE: [&str; 4] = ["--exclude", "askalf-e2e", "--exclude", "xtask"];

/// The packages whose tests run under Wine: what an agent is made of.
const UNDER_WINE: [&str; 7] = [
    "askalf-proto",
    "askalf-bridge-auth",
    "askalf-cred",
    "askalf-agent-core",
    "askalf-exec",
    "askalf-cli",
    "askalf-agent",
];

/// Compiles everything that is for Windows, tests included. Nothing is linked or run.
pub(crate) fn check() -> Result<()> {
    let mut arguments = vec!["check", "--locked", "--workspace", "--all-targets"];
    arguments.extend(UNIX_ALONE);
    cargo::succeed(&mut command(&arguments)?, &arguments)
}

/// `cargo xtask test-windows`: tests under Wine, then a real agent there against a real bridge here.
pub(crate) fn test() -> Result<()> {
    let mut needed = tools::windows();
    needed.extend([tools::c_compiler(), tools::wine()]);
    tools::require(&needed)?;
    let wine = Wine::prepare()?;

    let mut arguments = vec!["test", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"];
    arguments.extend(UNDER_WINE.iter().flat_map(|package| ["--package", package]));
    let mut tests = command(&arguments)?;
    wine.surround(&mut tests)
        .env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", "wine");
    test::count(&mut tests).context("tests under Wine")?;

    println!("\nA bridge here and an agent under Wine:");
    wine.smoke()
}

/// Runs a program under Wine to its end, and yields what it prints.
pub(crate) fn run_program(program: &Path, arguments: &[&str]) -> Result<String> {
    let wine = Wine::prepare()?;
    let beside = program.with_file_name("bcryptprimitives.dll");
    fs::copy(wine.programs.join("bcryptprimitives.dll"), beside)?;
    let mut command = Command::new("wine");
    wine.surround(command.arg(program).args(arguments));
    let output = run_to_the_end("wine", &mut command, b"")?.expect_code(0)?;
    Ok(output.stdout)
}

/// Debian's cargo for Windows, in a target folder of its own: two compilers in one would build everything anew in turns.
fn command(arguments: &[&str]) -> Result<Command> {
    let mut command = cargo::cargo_of(Path::new(tools::DEBIANS_CARGO))?;
    command
        .args(arguments)
        .args(["-Zbuild-std=std,panic_abort", "--target", TARGET])
        .env("RUSTC", tools::DEBIANS_RUSTC)
        // Building the standard library is not a stable feature.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", tools::MINGW)
        .env("CARGO_TARGET_DIR", folder()?)
        .env_remove("RUSTUP_TOOLCHAIN");
    Ok(command)
}

fn folder() -> Result<PathBuf> {
    Ok(cargo::target_folder()?.join("windows"))
}

/// A Windows of its own under the target folder. Dropping it ends what runs there.
struct Wine {
    prefix: PathBuf,
    programs: PathBuf,
}

impl Wine {
    fn prepare() -> Result<Self> {
        let folder = folder()?;
        let wine = Self {
            prefix: folder.join("wine"),
            programs: folder.join(TARGET).join("debug"),
        };
        fs::create_dir_all(wine.programs.join("deps"))?;
        wine.add_missing_library()?;
        let mut boot = Command::new("wineboot");
        wine.surround(boot.arg("--init"));
        let booted = boot
            .stdin(Stdio::null())
            .status()
            .context("wineboot cannot be run")?;
        ensure!(booted.success(), "Wine does not start");
        // Wine's PowerShell is an empty shell that takes every command and runs none.
        let powershell = wine
            .prefix
            .join("drive_c/windows/system32/WindowsPowerShell/v1.0/powershell.exe");
        match fs::remove_file(powershell) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(wine),
        }
    }

    /// Wine before 9 lacks a library that the standard library takes one function from: put beside each program.
    fn add_missing_library(&self) -> Result<()> {
        let source = askalf_e2e::workspace_root()?.join("xtask/src/bcryptprimitives.c");
        let library = self.programs.join("bcryptprimitives.dll");
        let compiled = Command::new(tools::MINGW)
            .args(["-shared", "-o"])
            .args([&library, &source])
            .arg("-ladvapi32")
            .status()
            .with_context(|| format!("{} cannot be run", tools::MINGW))?;
        ensure!(compiled.success(), "{} does not compile", source.display());
        fs::copy(&library, self.programs.join("deps/bcryptprimitives.dll"))?;
        Ok(())
    }

    /// Makes this Windows the one that a command runs in.
    fn surround<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("WINEPREFIX", &self.prefix)
            .env("WINEDEBUG", "-all")
            .env("RUST_BACKTRACE", "0")
    }

    fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("wine");
        command
            .arg(self.programs.join("askalf-agent.exe"))
            .args(arguments);
        self.surround(&mut command)
            .env("ASKALF_HOME", r"C:\askalf-smoke")
            .env_remove("ASKALF_API_KEY")
            .env_remove("ASKALF_URL");
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let name = format!("askalf-agent.exe {}", arguments.join(" "));
        run_to_the_end(&name, &mut self.agent(arguments), input.as_bytes())?.expect_code(0)
    }

    fn smoke(&self) -> Result<()> {
        let home = self.prefix.join("drive_c/askalf-smoke");
        if home.exists() {
            fs::remove_dir_all(&home)?;
        }
        let folder = tempfile::tempdir()?;
        let bridge = Bridge::start_in(&cargo::build(&[])?, &folder.path().join("bridge"), &[])?;
        let key = bridge.mint("windows")?.key;
        self.run(&["pair", "-", "--url", &bridge.url(), "--name", "windows"], &key)?;
        say("paired");

        let daemon = Process::start("the agent under Wine", &mut self.agent(&["daemon"]), b"")?;
        let device = registered(&daemon)?;
        let status = self.run(&["status", "--json"], "")?.json()?;
        ensure!(status["state"] == "online", "not online, but {status}");
        say(&format!("online as {device}, asked over the named pipe"));

        let said = bridge
            .dispatch(&device, "echo \"hello from\" %OS%")?
            .expect_code(0)?;
        ensure!(
            said.stdout.trim_end() == "\"hello from\" Windows_NT",
            "the task printed {:?}",
            said.stdout
        );
        bridge.dispatch(&device, "exit 3")?.expect_code(3)?;
        say("a task through cmd, and one that fails");

        let long = bridge.dispatch_detached(&device, LONG_TASK)?;
        bridge.run(&["executions", "cancel", &long])?.expect_code(0)?;
        let row = bridge.wait_ended(&long)?;
        ensure!(row["status"] == "cancelled", "{row}");
        say("a task that was cancelled");

        let cut_off = bridge.dispatch_detached(&device, LONG_TASK)?;
        askalf_e2e::until("the start of the task", || {
            Ok((bridge.execution(&cut_off)?["status"] == "running").then_some(()))
        })?;
        daemon.kill()?;
        let mut daemon = Process::start("the agent under Wine", &mut self.agent(&["daemon"]), b"")?;
        ensure!(registered(&daemon)? == device, "another device id after a kill");
        let row = bridge.wait_ended(&cut_off)?;
        ensure!(row["cause"] == "interrupted", "{row}");
        say("killed with a task and started again: the same device, and the task is told as interrupted");

        self.run(&["disconnect"], "")?;
        let ended = daemon.end()?;
        ensure!(ended.success(), "the agent ended with {ended}");
        self.run(&["cred", "verify"], "")?;
        say("stopped; the key still unseals");
        self.service(&bridge)
    }

    /// The service, by Wine's service control manager. Accounts and access lists are not what Wine shows.
    fn service(&self, bridge: &Bridge) -> Result<()> {
        let home = r"C:\ProgramData\askalf-agent";
        let key = bridge.mint("service")?.key;
        // The program is copied to a folder of its own; libraries of the system serve it there.
        fs::copy(
            self.programs.join("bcryptprimitives.dll"),
            self.prefix.join("drive_c/windows/system32/bcryptprimitives.dll"),
        )?;
        // Wine ends its services with the last program that is none.
        let mut session = Command::new("wine");
        self.surround(session.args(["ping", "-n", "600", "127.0.0.1"]));
        let _session = Process::start("a program under Wine", &mut session, b"")?;
        let pair = [
            "--home",
            home,
            "pair",
            "-",
            "--url",
            &bridge.url(),
            "--name",
            "service",
        ];
        self.run(&pair, &key)?;
        self.run(&["install-service"], "")?;
        let online = |what: &str| {
            askalf_e2e::until(what, || {
                let devices = bridge.devices()?;
                let device = devices.iter().find(|device| device["device_name"] == "service");
                let online = device.filter(|device| device["status"] == "online");
                Ok(online.and_then(|device| device["id"].as_str()).map(str::to_owned))
            })
        };
        let device = online("the service online")?;
        let said = bridge.dispatch(&device, "echo served")?.expect_code(0)?;
        ensure!(said.stdout.trim_end() == "served", "{said:?}");
        say(&format!(
            "install-service: the service is online as {device} and runs a task"
        ));

        // In place, and with what a service manager does by itself.
        self.run(&["install-service"], "")?;
        bridge.wait_device(&device, "online")?;
        ensure!(online("the service online again")? == device, "another device id");
        say("install-service again: stopped, started, the same device");

        self.run(&["uninstall-service"], "")?;
        bridge.wait_device(&device, "offline")?;
        self.run(&["--home", home, "cred", "verify"], "")?;
        say("uninstall-service: stopped and removed; the key still unseals");
        Ok(())
    }
}

fn registered(daemon: &Process) -> Result<String> {
    daemon.wait_line("'Registered as device'", |line| {
        let (_, id) = line.text.split_once("Registered as device ")?;
        id.split_whitespace().next().map(str::to_owned)
    })
}

/// Waits far longer than any test.
const LONG_TASK: &str = "ping -n 600 127.0.0.1";

impl Drop for Wine {
    fn drop(&mut self) {
        let mut server = Command::new("wineserver");
        self.surround(server.arg("--kill"));
        // Where nothing runs there is nothing to end.
        let _ended = server.stdin(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn say(text: &str) {
    println!("   {text}");
}
