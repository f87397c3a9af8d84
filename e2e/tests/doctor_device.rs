//! `doctor` on what is wrong with a device itself: each check fails for real, and says so.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, KEY, Output, SmallDisk, until};
use serde_json::Value;

/// A device that is set up for a bridge which nobody has started.
fn set_up() -> Result<Agent> {
    let agent = Agent::new()?;
    let arguments = ["connect", "-", "--url", "ws://127.0.0.1:9", "--no-verify"];
    agent.run_with_input(&arguments, KEY.as_bytes())?.expect_code(0)?;
    Ok(agent)
}

struct Report {
    code: i32,
    json: Value,
}

/// The report of a doctor that sees no other process.
fn doctor(agent: &Agent, arguments: &[&str]) -> Result<Report> {
    let all: Vec<&str> = ["doctor", "--json"].iter().chain(arguments).copied().collect();
    report(agent.run_alone(&all)?)
}

fn doctor_among_others(agent: &Agent) -> Result<Report> {
    report(agent.run(&["doctor", "--json"])?)
}

fn report(output: Output) -> Result<Report> {
    let json = serde_json::from_str(&output.stdout).with_context(|| format!("{output:?}"))?;
    Ok(Report {
        code: output.code,
        json,
    })
}

impl Report {
    fn check(&self, id: &str) -> Result<&Value> {
        let checks = self.json["checks"].as_array().context("checks")?;
        checks
            .iter()
            .find(|check| check["id"] == id)
            .with_context(|| format!("no check {id}: {}", self.json))
    }

    /// That the check ended so, for that reason, and saw and advised something with these words.
    fn says(&self, id: &str, outcome: &str, reason: &str, saw: &str, next: &str) -> Result<()> {
        let check = self.check(id)?;
        let is_in = |field: &str, words: &str| check[field].as_str().is_some_and(|text| text.contains(words));
        ensure!(
            check["outcome"] == outcome
                && check["reason"].as_str().unwrap_or_default() == reason
                && is_in("saw", saw)
                && is_in("next", next),
            "{check}"
        );
        Ok(())
    }
}

#[test]
fn a_device_that_is_well_has_no_problem_and_keeps_its_place() -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    let report = doctor(&agent, &[])?;
    let checks = report.json["checks"].as_array().context("checks")?;
    let ids: Vec<_> = checks.iter().filter_map(|check| check["id"].as_str()).collect();
    ensure!(
        ids == [
            "home",
            "permissions",
            "state-folder",
            "disk-space",
            "leftovers",
            "config",
            "keyfile",
            "credential",
            "policy",
            "journal",
            "daemon",
            "one-machine",
            "service",
            "old-agent",
            "key-in-arguments",
            "key-in-unit",
            "proxy",
            "dns",
            "tcp",
            "tls",
            "upgrade",
            "clock",
            "token"
        ],
        "{ids:?}"
    );
    ensure!(
        report.code == 0 && report.json["exit_code"] == 0,
        "{}",
        report.json
    );
    report.says("token", "ok", "", "the bridge takes the key", "")?;
    report.says("daemon", "ok", "", &device, "")?;
    report.says("clock", "ok", "", "within 1 s", "")?;
    report.says("tls", "skipped", "", "on this machine", "")?;

    // The session of the daemon was not touched, and the text says the same without colour, as it is no terminal.
    ensure!(agent.registrations() == 1 && agent.status()?["state"] == "online");
    ensure!(bridge.devices()?.len() == 1);
    let text = agent.run_alone(&["doctor"])?.expect_code(0)?.stdout;
    ensure!(
        text.contains("ok       token             the bridge takes the key\n"),
        "{text}"
    );
    ensure!(
        text.contains("no problems, ") && !text.contains('\u{1b}'),
        "{text}"
    );
    Ok(())
}

#[test]
fn no_folder_and_a_file_in_its_place() -> Result<()> {
    let agent = Agent::new()?;
    let report = doctor(&agent, &["--fix"])?;
    ensure!(report.code == 78, "{}", report.json);
    report.says(
        "home",
        "problem",
        "home-missing",
        "there is no folder",
        "pair the device",
    )?;
    report.says("config", "problem", "absent", "not paired", "pair CODE")?;
    for id in ["permissions", "state-folder", "disk-space"] {
        report.says(id, "skipped", "", "see 'home'", "")?;
    }
    report.says("dns", "skipped", "", "see 'config'", "")?;
    ensure!(!agent.home().exists(), "looking makes nothing");

    fs::write(agent.home(), "")?;
    doctor(&agent, &[])?.says("home", "problem", "home-not-a-folder", "is not a folder", "move")
}

#[test]
fn open_files_are_found_and_closed_without_a_change_to_the_credential() -> Result<()> {
    let agent = set_up()?;
    let mode =
        |name: &str| -> Result<u32> { Ok(agent.home().join(name).metadata()?.permissions().mode() & 0o777) };
    let open = |name: &str, mode: u32| {
        fs::set_permissions(agent.home().join(name), fs::Permissions::from_mode(mode))
    };
    open("keyfile", 0o644)?;
    open("agent.json", 0o660)?;
    fs::write(agent.home().join("elsewhere"), "")?;
    symlink("/etc/passwd", agent.home().join("link"))?;
    let before = agent.on_disk()?;
    let report = doctor(&agent, &[])?;
    ensure!(report.code == 78);
    report.says("permissions", "problem", "exposed", "keyfile", "--fix")?;
    report.says("keyfile", "problem", "keyfile-wrong-mode", "", "")?;
    ensure!(mode("keyfile")? == 0o644, "looking closes nothing");

    let report = doctor(&agent, &["--fix"])?;
    report.says("permissions", "ok", "", "for its owner alone", "")?;
    report.says("keyfile", "ok", "", "unseals the key", "")?;
    let fixed = report.check("permissions")?["fixed"].to_string();
    ensure!(fixed.contains("has the mode 600, it had 644"), "{fixed}");
    ensure!((mode("keyfile")?, mode("agent.json")?) == (0o600, 0o600));
    ensure!(
        agent.on_disk()? == before,
        "no byte of the credential was written"
    );
    ensure!(Path::new("/etc/passwd").metadata()?.permissions().mode() & 0o777 == 0o644);
    Ok(())
}

#[test]
fn what_is_wrong_with_config_key_and_keyfile_is_named() -> Result<()> {
    let agent = set_up()?;
    let config = agent.home().join("agent.json");
    let whole = fs::read_to_string(&config)?;
    let put = |text: &str| fs::write(&config, text);

    put("{\"url\":")?;
    let report = doctor(&agent, &[])?;
    ensure!(report.code == 78);
    report.says("config", "problem", "config-torn", "", "")?;
    report.says("credential", "problem", "config-torn", "", "")?;
    report.says("token", "skipped", "", "see 'credential'", "")?;
    put(&whole.replace("ws://127.0.0.1:9", "ftp://x"))?;
    doctor(&agent, &[])?.says(
        "config",
        "problem",
        "url-unknown-scheme",
        "'ftp'",
        "write it like",
    )?;
    put(&whole.replace("\"url\"", "\"maxConcurrent\":\"two\",\"url\""))?;
    doctor(&agent, &[])?.says(
        "config",
        "warning",
        "config-wrong-type",
        "maxConcurrent",
        "mend the file",
    )?;
    put(&whole.replace("\"url\"", "\"taskLimits\":{\"openFiles\":\"x\"},\"url\""))?;
    doctor(&agent, &[])?.says("config", "problem", "task-limits", "taskLimits", "whole number")?;
    put(&whole)?;
    fs::write(agent.home().join("redaction.txt"), "nonsense")?;
    doctor(&agent, &[])?.says("config", "problem", "redaction-rules", "redaction.txt", "")?;
    fs::remove_file(agent.home().join("redaction.txt"))?;
    doctor(&agent, &[])?.says("config", "ok", "", "ws://127.0.0.1:9", "")?;

    let keyfile = agent.home().join("keyfile");
    fs::rename(&keyfile, agent.home().join("away"))?;
    let report = doctor(&agent, &["--fix"])?;
    report.says("keyfile", "problem", "keyfile-missing", "keyfile", "")?;
    ensure!(!keyfile.exists(), "nothing is made in its place");
    fs::write(&keyfile, [7; 32])?;
    fs::set_permissions(&keyfile, fs::Permissions::from_mode(0o600))?;
    doctor(&agent, &[])?.says("keyfile", "problem", "sealed-under-another-key", "", "")?;

    put(&format!(r#"{{"url":"ws://127.0.0.1:9","apiKey":"{KEY}"}}"#))?;
    let report = doctor(&agent, &[])?;
    report.says("credential", "warning", "plaintext", "unsealed", "pair")?;
    ensure!(!report.json.to_string().contains(KEY));
    Ok(())
}

#[test]
fn policy_journal_and_state_that_cannot_be_used_are_named() -> Result<()> {
    let agent = set_up()?;
    let state = agent.home().join("state");
    fs::write(agent.home().join("policy.json"), "{")?;
    fs::write(&state, "")?;
    let report = doctor(&agent, &[])?;
    report.says(
        "policy",
        "problem",
        "policy-invalid",
        "every task is refused",
        "mend the file",
    )?;
    report.says(
        "state-folder",
        "problem",
        "state-not-a-folder",
        "is not a folder",
        "move",
    )?;
    fs::remove_file(&state)?;
    fs::remove_file(agent.home().join("policy.json"))?;

    let report = doctor(&agent, &["--fix"])?;
    report.says("state-folder", "ok", "", "can be written", "")?;
    ensure!(
        report.check("state-folder")?["fixed"]
            .to_string()
            .contains("was made")
    );
    fs::write(state.join("executions.db"), "this is no database at all")?;
    doctor(&agent, &[])?.says(
        "journal",
        "problem",
        "journal-damaged",
        "is no journal",
        "next start",
    )?;
    fs::remove_file(state.join("executions.db"))?;
    fs::write(state.join("executions.db.unreadable-20260101T000000Z"), "")?;
    doctor(&agent, &[])?.says(
        "journal",
        "warning",
        "journal-damaged",
        "1 journals",
        "lost outputs",
    )
}

#[test]
fn a_disk_without_room_is_named() -> Result<()> {
    let Some(disk) = SmallDisk::mount(4 * 1024 * 1024)? else {
        return Ok(());
    };
    let agent = Agent::in_folder(askalf_e2e::binaries()?, &disk.path().join("agent"));
    let arguments = ["connect", "-", "--url", "ws://127.0.0.1:9", "--no-verify"];
    agent.run_with_input(&arguments, KEY.as_bytes())?.expect_code(0)?;
    doctor(&agent, &[])?.says("disk-space", "problem", "disk-full", "MiB are free", "make room")
}

#[test]
fn what_a_killed_daemon_left_is_removed_and_what_may_be_a_credential_is_not() -> Result<()> {
    let mut agent = set_up()?;
    agent.spawn()?;
    agent.wait_state("backoff")?;
    let running = doctor(&agent, &[])?;
    running.says("daemon", "problem", "unreachable", "backoff", "")?;
    running.says("leftovers", "ok", "", "nothing", "")?;
    ensure!(running.code == 69, "{}", running.json);
    agent.kill()?;

    let temporary = agent.home().join("state/device-id.new");
    fs::write(&temporary, "")?;
    let report = doctor(&agent, &[])?;
    report.says(
        "daemon",
        "warning",
        "agent-not-running",
        "was killed, or the machine went down",
        "askalf-agent daemon",
    )?;
    report.says("leftovers", "warning", "leftovers", "agent.sock", "--fix")?;
    let report = doctor(&agent, &["--fix"])?;
    report.says("leftovers", "ok", "", "nothing is left over", "")?;
    ensure!(!temporary.exists() && !agent.home().join("agent.sock").exists());

    let staged = agent.home().join("agent.json.tmp-0011223344556677");
    fs::write(&staged, "whole or not")?;
    let report = doctor(&agent, &["--fix"])?;
    report.says(
        "leftovers",
        "warning",
        "act-cut-off",
        "agent.json.tmp-",
        "leave the files",
    )?;
    ensure!(fs::read_to_string(&staged)? == "whole or not");
    Ok(())
}

#[test]
fn the_end_of_the_last_daemon_is_told() -> Result<()> {
    let mut agent = set_up()?;
    agent.spawn()?;
    agent.wait_state("backoff")?;
    agent.run(&["disconnect"])?.expect_code(0)?;
    agent.wait_exit()?;
    let why = "it was told to stop by 'askalf-agent disconnect'";
    doctor(&agent, &[])?.says(
        "daemon",
        "warning",
        "agent-not-running",
        why,
        "askalf-agent daemon",
    )?;
    let status = agent.status()?;
    ensure!(
        status["last_run"].as_str().is_some_and(|run| run.contains(why)),
        "{status}"
    );
    ensure!(
        status["credential"] == "ready" && status["process"].is_null(),
        "{status}"
    );
    let text = agent.run(&["status"])?.stdout;
    ensure!(
        text.starts_with("stopped (not-running)\n") && text.contains("\nlast run  "),
        "{text}"
    );
    Ok(())
}

/// A program called `systemctl` that says this of the unit.
fn systemctl(agent: &mut Agent, folder: &Path, says: &str) -> Result<()> {
    let program = folder.join("systemctl");
    fs::write(
        &program,
        format!("#!/bin/sh\n[ \"$1\" = --user ] && exit 1\nprintf '{says}'\n"),
    )?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let path = std::env::var("PATH")?;
    agent.set_variable("PATH", format!("{}:{path}", folder.display()));
    Ok(())
}

#[test]
fn a_unit_that_has_failed_is_named_with_its_commands() -> Result<()> {
    let mut agent = set_up()?;
    let folder = tempfile::tempdir()?;
    systemctl(
        &mut agent,
        folder.path(),
        "LoadState=loaded\\nActiveState=failed\\nSubState=failed\\nResult=exit-code\\nUnitFileState=enabled\\nNRestarts=5\\n",
    )?;
    let report = doctor(&agent, &[])?;
    report.says(
        "service",
        "problem",
        "service-failed",
        "exit-code, restarted 5 times",
        "sudo systemctl restart askalf-agent.service",
    )?;
    report.says(
        "daemon",
        "warning",
        "agent-not-running",
        "",
        "sudo systemctl start askalf-agent.service",
    )?;
    let status = agent.run(&["status"])?.stdout;
    ensure!(
        status.contains("service   askalf-agent.service: failed (failed), exit-code\n"),
        "{status}"
    );
    systemctl(
        &mut agent,
        folder.path(),
        "LoadState=loaded\\nActiveState=active\\nSubState=running\\nUnitFileState=disabled\\n",
    )?;
    doctor(&agent, &[])?.says(
        "service",
        "warning",
        "service-disabled",
        "does not start with the machine",
        "enable",
    )
}

/// A process of a test; gone with it.
struct Stranger(Child);

impl Stranger {
    fn start(name: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new("/bin/sh");
        command
            .arg0(name)
            .args(["-c", "read _; :"])
            .args(arguments)
            .stdin(Stdio::piped());
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

#[test]
fn the_agent_of_the_npm_package_beside_this_one_is_named() -> Result<()> {
    let agent = set_up()?;
    let old = Stranger::start(
        "node",
        &["/usr/lib/node_modules/@askalf/agent/dist/cli.js", "daemon"],
    )?;
    let pid = old.0.id().to_string();
    doctor_among_others(&agent)?.says("old-agent", "problem", "old-agent-running", &pid, "npm uninstall")
}

#[test]
fn a_key_in_arguments_and_in_a_unit_is_named_and_not_shown() -> Result<()> {
    let mut agent = set_up()?;
    let shown = Stranger::start("sh", &["connect", KEY])?;
    let home = tempfile::tempdir()?;
    let units = home.path().join(".config/systemd/user");
    fs::create_dir_all(&units)?;
    fs::write(
        units.join("askalf.service"),
        format!("[Service]\nExecStart=/bin/askalf-agent connect {KEY}\n"),
    )?;
    agent.set_variable("HOME", home.path());
    let report = doctor_among_others(&agent)?;
    ensure!(report.code == 69, "the bridge is away too: {}", report.json);
    let pid = format!("{} (sh)", shown.0.id());
    report.says(
        "key-in-arguments",
        "problem",
        "key-in-arguments",
        &pid,
        "pair with a new one",
    )?;
    report.says(
        "key-in-unit",
        "problem",
        "key-in-unit",
        "askalf.service",
        "take it out",
    )?;
    ensure!(!report.json.to_string().contains(KEY));
    Ok(())
}

#[test]
fn a_second_machine_on_the_key_is_named() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, _) = Agent::paired(&bridge, "web-01")?;
    let mut copy = Agent::new()?;
    fs::create_dir_all(copy.home())?;
    fs::set_permissions(copy.home(), fs::Permissions::from_mode(0o700))?;
    for name in ["agent.json", "keyfile"] {
        fs::copy(agent.home().join(name), copy.home().join(name))?;
    }
    agent.start()?;
    copy.start()?;
    let elsewhere = |agent: &Agent| Ok::<_, anyhow::Error>(agent.status()?["reason"] == "key-used-elsewhere");
    let first = until("one of both noticing the other", || {
        Ok(if elsewhere(&agent)? {
            Some(true)
        } else if elsewhere(&copy)? {
            Some(false)
        } else {
            None
        })
    })?;
    let report = doctor(if first { &agent } else { &copy }, &[])?;
    ensure!(report.code == 78, "{}", report.json);
    report.says(
        "one-machine",
        "problem",
        "key-used-elsewhere",
        "another machine uses this key",
        "a key of its own",
    )
}
