//! What a daemon does for itself over the years: it takes a changed configuration, bounds its log, and makes anew what was removed.

use std::fs;
use std::io::Write;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, until};
use rustix::process::Signal;
use serde_json::Value;

/// Changes agent.json as a person with an editor does.
fn edit(agent: &Agent, change: impl FnOnce(&mut Value)) -> Result<()> {
    let path = agent.home().join("agent.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    change(&mut config);
    Ok(fs::write(path, config.to_string())?)
}

fn reload(agent: &Agent) -> Result<usize> {
    let lines = agent.daemon()?.lines().len();
    agent.daemon()?.signal(Signal::HUP)?;
    Ok(lines)
}

fn wait_line(agent: &Agent, skip: usize, words: &str) -> Result<()> {
    agent
        .daemon()?
        .wait_line_after(skip, words, |line| line.text.contains(words).then_some(()))
}

#[test]
fn a_changed_configuration_counts_without_a_restart_and_no_task_is_lost() -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    let gate = agent.home().join("gate");
    let input = format!(
        "echo started now; until [ -e {} ]; do sleep 0.05; done; echo undisturbed",
        gate.display()
    );
    let dispatch = bridge.dispatch_streaming(&device, &[], &input)?;
    dispatch.labelled("started")?;

    edit(&agent, |config| {
        config["deviceName"] = "shelf-02".into();
        config["maxConcurrent"] = 5.into();
        config["taskLimits"] = serde_json::json!({ "openFiles": 77 });
    })?;
    fs::write(agent.home().join("redaction.txt"), "text pin correct-horse\n")?;
    let skip = reload(&agent)?;
    wait_line(&agent, skip, "the configuration was read again")?;
    agent.wait_registered_after(skip)?;
    until("the new name at the bridge", || {
        Ok(bridge
            .devices()?
            .iter()
            .any(|it| it["device_name"] == "shelf-02" && it["id"] == device.as_str())
            .then_some(()))
    })?;
    let limited = bridge
        .dispatch(&device, "ulimit -n; echo correct-horse")?
        .expect_code(0)?;
    ensure!(limited.stdout == "77\n[redacted:pin]\n", "{limited:?}");
    fs::write(gate, "")?;
    ensure!(dispatch.end()?.expect_code(0)?.stdout.ends_with("undisturbed\n"));
    Ok(())
}

#[test]
fn a_broken_configuration_keeps_the_one_before_and_is_told() -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    let path = agent.home().join("agent.json");
    let whole = fs::read(&path)?;
    for (broken, words) in [
        ("{\"url\":", "agent.json"),
        (
            r#"{"url":"ws://x","maxConcurrent":"two"}"#,
            "the one before stays",
        ),
    ] {
        fs::write(&path, broken)?;
        let skip = reload(&agent)?;
        wait_line(
            &agent,
            skip,
            "the configuration was not taken, and the one before stays",
        )?;
        let said = agent.daemon()?.stderr();
        ensure!(said.contains(words), "{said}");
        bridge.dispatch(&device, "true")?.expect_code(0)?;
        ensure!(agent.status()?["state"] == "online");
    }
    fs::write(&path, whole)?;
    let skip = reload(&agent)?;
    wait_line(&agent, skip, "the configuration was read again")?;
    bridge.dispatch(&device, "true")?.expect_code(0)?;
    ensure!(agent.registrations() == 1, "the connection was never touched");
    Ok(())
}

#[test]
fn another_bridge_is_taken_at_once() -> Result<()> {
    let (one, other) = (Bridge::start()?, Bridge::start()?);
    let (agent, _) = Agent::online(&one, "web-01")?;
    let key = other.mint("web-01")?;
    let skip = agent.daemon()?.lines().len();
    agent.pair(&other.url(), "web-01", &key.key)?.expect_code(0)?;
    agent.wait_registered_after(skip)?;
    ensure!(
        agent.status()?["bridge"]
            .as_str()
            .is_some_and(|url| url.contains(&other.address().to_string()))
    );
    Ok(())
}

#[test]
fn the_log_goes_to_a_file_that_is_bounded_on_both_sides() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name);
    let bridge = Bridge::start_with(&["--log-file", &file("bridge.log").display().to_string()])?;
    // Full by one line: the first line of the daemon turns it over.
    let mut full = fs::File::create(file("agent.log"))?;
    full.write_all(&vec![b'x'; 4 * 1024 * 1024])?;
    let (mut agent, _) = Agent::paired(&bridge, "web-01")?;
    agent.set_variable("ASKALF_LOG_FILE", file("agent.log"));
    agent.spawn()?;
    agent.wait_state("online")?;
    agent.terminate()?;
    let log = fs::read_to_string(file("agent.log"))?;
    ensure!(
        log.contains("Registered as device ") && !log.contains('\u{1b}'),
        "{log}"
    );
    ensure!(log.contains("stopping"), "the last lines are in it: {log}");
    ensure!(file("agent.log.1").metadata()?.len() == 4 * 1024 * 1024);
    ensure!(
        agent.log().iter().all(|line| line.text.trim().is_empty()),
        "{:?}",
        agent.log()
    );
    ensure!(fs::read_to_string(file("bridge.log"))?.contains("a device registered"));

    agent.set_variable("ASKALF_LOG_FILE", folder.path());
    let output = agent.run(&["daemon"])?.expect_code(78)?;
    ensure!(
        output.stderr.contains("cannot be written") && output.stderr.contains("hint:"),
        "{output:?}"
    );
    Ok(())
}

#[test]
fn a_state_folder_that_was_removed_is_made_anew() -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    bridge.dispatch(&device, "true")?.expect_code(0)?;
    fs::remove_dir_all(agent.home().join("state"))?;
    let id = bridge.dispatch_detached(&device, "echo after")?;
    let ended = bridge.wait_ended(&id)?;
    ensure!(
        ended["status"] == "completed" || agent.wait_state("online").is_ok(),
        "{ended}"
    );
    until("a journal", || {
        Ok(agent.home().join("state/executions.db").exists().then_some(()))
    })?;
    bridge.dispatch(&device, "echo again")?.expect_code(0)?;
    let status = agent.status().context("it can be asked")?;
    ensure!(status["state"] == "online", "{status}");
    Ok(())
}

#[test]
fn a_daemon_on_a_terminal_ends_with_it() -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, _) = Agent::paired(&bridge, "web-01")?;
    let mut terminal = std::process::Command::new("script");
    terminal
        .args([
            "-qec",
            &format!("{} daemon", askalf_e2e::binaries()?.agent.display()),
            "/dev/null",
        ])
        .env("ASKALF_HOME", agent.home())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null());
    let Ok(mut terminal) = terminal.spawn() else {
        return Ok(());
    };
    agent.wait_state("online")?;
    terminal.kill()?;
    terminal.wait()?;
    let record = agent.home().join("state/last-run.json");
    until("the end of the daemon", || {
        let run: Value = serde_json::from_str(&fs::read_to_string(&record)?)?;
        Ok((run["end"] == "it was told to stop by the end of its terminal").then_some(()))
    })
}
