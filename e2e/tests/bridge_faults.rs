//! What happens to a bridge and its commands while they are needed: other processes, signals, lost files, large results.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Bridge, OldAgent};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A bridge with a connected device of the old generation.
fn bridge_with_device(name: &str) -> Result<(Bridge, OldAgent, String)> {
    let bridge = Bridge::start()?;
    let key = bridge.mint(name)?;
    let (mut device, id) = OldAgent::registered(bridge.address(), &key.key, name)?;
    device.message("capabilities:scan")?;
    Ok((bridge, device, id))
}

fn complete(device: &OldAgent, id: &str, output: &str) -> Result<()> {
    device.send("execution:complete", json!({"executionId": id, "output": output}))
}

#[test]
fn listings_and_results_are_read_however_much_was_written() -> Result<()> {
    let (bridge, mut device, id) = bridge_with_device("writer")?;
    for _ in 0..20 {
        let execution = bridge.dispatch_detached(&id, "write")?;
        device.message("task:dispatch")?;
        complete(&device, &execution, &"y".repeat(1_000_000))?;
        bridge.wait_ended(&execution)?;
    }
    ensure!(bridge.executions()?.len() == 20);
    let table = bridge.run(&["executions", "list"])?.expect_code(0)?;
    ensure!(table.stdout.lines().count() == 21, "{}", table.stdout.len());

    // The old generation puts its whole output into one frame.
    let dispatch = bridge.dispatch_streaming(&id, &[], "write")?;
    let task = device.message("task:dispatch")?;
    let execution = task["executionId"].as_str().context("no id")?;
    let quotes = "\"".repeat(8_000_000);
    complete(&device, execution, &quotes)?;
    dispatch.end()?.expect_code(0)?;
    ensure!(bridge.execution(execution)?["output"] == Value::from(quotes));
    Ok(())
}

#[test]
fn a_second_bridge_on_the_same_database_ends_and_the_first_goes_on() -> Result<()> {
    let (bridge, mut device, id) = bridge_with_device("web-01")?;
    let execution = bridge.dispatch_detached(&id, "sleep")?;
    device.message("task:dispatch")?;

    // By another name of the folder, from another home.
    let elsewhere = tempfile::tempdir()?;
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(bridge.home(), &link)?;
    let (home, database) = (elsewhere.path().join("home"), link.join("bridge.db"));
    let (home, database) = (
        home.to_str().context("UTF-8")?,
        database.to_str().context("UTF-8")?,
    );
    let on_it = |arguments: &[&str]| {
        let mut all = vec!["--home", home, "--database", database];
        all.extend(arguments);
        bridge.run(&all)
    };
    let second = on_it(&["serve", "--listen", "127.0.0.1:0"])?.expect_code(75)?;
    ensure!(
        second.stderr.contains("bridge.db") && second.stderr.contains("hint:"),
        "{second:?}"
    );
    // Nor does a command change what the bridge knows better.
    on_it(&["executions", "cancel", &execution])?.expect_code(69)?;

    ensure!(bridge.devices()?[0]["status"] == "online");
    complete(&device, &execution, "undisturbed")?;
    ensure!(bridge.wait_ended(&execution)?["output"] == "undisturbed");
    Ok(())
}

#[test]
fn nothing_is_accepted_while_the_database_file_is_gone_and_nobody_is_sent_away() -> Result<()> {
    let (bridge, mut device, id) = bridge_with_device("web-01")?;
    let key = bridge.mint("second")?;
    let execution = bridge.dispatch_detached(&id, "sleep")?;
    device.message("task:dispatch")?;
    let (database, aside) = (bridge.home().join("bridge.db"), bridge.home().join("aside"));
    fs::rename(&database, &aside)?;

    let refused = bridge.run(&["dispatch", &id, "--", "true"])?.expect_code(75)?;
    ensure!(
        refused.stderr.contains("moved, removed or replaced"),
        "{refused:?}"
    );
    let second = OldAgent::connect(bridge.address(), &key.key)?;
    second.send_register("second")?;
    complete(&device, &execution, "kept")?;
    for mut told in [second, device] {
        let (messages, code, _) = told.closed()?;
        let error = messages.last().context("no error")?;
        ensure!(
            code == 1013 && error["payload"]["code"] == "INTERNAL_ERROR",
            "{code} {messages:?}"
        );
    }

    fs::rename(&aside, &database)?;
    let ended = bridge.execution(&execution)?;
    ensure!(
        ended["status"] == "pending",
        "it was not said to be recorded: {ended}"
    );
    ensure!(bridge.executions()?.len() == 1, "the refused one left no row");
    Ok(())
}

#[test]
fn a_bridge_that_was_killed_shows_no_device_online() -> Result<()> {
    let (mut bridge, _device, _) = bridge_with_device("web-01")?;
    ensure!(bridge.devices()?[0]["status"] == "online");
    bridge.kill()?;
    ensure!(bridge.devices()?[0]["status"] == "offline");
    Ok(())
}

#[test]
fn a_bridge_that_starts_waits_for_a_command() -> Result<()> {
    let mut bridge = Bridge::start()?;
    bridge.terminate()?;
    // As a command does that works on the database itself.
    let lock = File::options()
        .write(true)
        .open(bridge.home().join("bridge.lock"))?;
    lock.lock()?;
    let mut server = bridge
        .command(&["serve", "--listen", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()?;
    let mut log = BufReader::new(server.stderr.take().context("no log")?).lines();
    let mut wait_for = |words: &str| -> Result<()> {
        for line in log.by_ref() {
            if line?.contains(words) {
                return Ok(());
            }
        }
        anyhow::bail!("it ended without '{words}'")
    };
    let served = wait_for("waiting for another bridge or command").and_then(|()| {
        drop(lock);
        wait_for("listening on")
    });
    server.kill()?;
    server.wait()?;
    served
}

#[test]
fn an_interrupt_cancels_although_nobody_reads_the_output() -> Result<()> {
    let (bridge, mut device, id) = bridge_with_device("web-01")?;
    let mut dispatch = bridge
        .command(&["dispatch", &id, "--", "yes"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let task = device.message("task:dispatch")?;
    let execution = task["executionId"].clone();
    let unread = dispatch.stdout.take();
    // Several times what a pipe holds.
    for _ in 0..8 {
        let piece = "y".repeat(100_000);
        device.send(
            "execution:progress",
            json!({"executionId": execution, "bytes": piece.len(), "chunk": piece}),
        )?;
    }
    // The pipe is full once the command sleeps with output left to write.
    let pid = rustix::process::Pid::from_child(&dispatch);
    askalf_e2e::until("a full pipe", || {
        let unread = unread.as_ref().context("no output")?;
        let waiting = rustix::io::ioctl_fionread(unread)?;
        Ok((waiting >= 65_536).then_some(()))
    })?;
    rustix::process::kill_process(pid, Signal::INT)?;
    ensure!(device.message("task:cancel")?["executionId"] == execution);
    rustix::process::kill_process(pid, Signal::INT)?;
    ensure!(dispatch.wait()?.code() == Some(130));
    Ok(())
}

#[test]
fn a_command_does_not_wait_for_ever_for_a_bridge_that_hangs() -> Result<()> {
    let bridge = Bridge::start()?;
    bridge.server()?.signal(Signal::STOP)?;
    let started = std::time::Instant::now();
    let output = bridge.run(&["devices", "list"])?.expect_code(69)?;
    ensure!(
        output.stderr.contains("did not answer") && output.stderr.contains("hint:"),
        "{output:?}"
    );
    ensure!(
        started.elapsed() >= Duration::from_secs(20),
        "a busy one has time"
    );
    bridge.server()?.signal(Signal::CONT)
}

#[cfg(target_os = "linux")]
#[test]
fn a_bridge_dumps_no_core_that_could_show_its_keys() -> Result<()> {
    let bridge = Bridge::start()?;
    let limits = fs::read_to_string(format!("/proc/{}/limits", bridge.server()?.pid()))?;
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"))
        .context("no limit of core files")?;
    let words: Vec<&str> = core.split_whitespace().collect();
    ensure!(words == ["0", "0", "bytes"], "{core}");
    Ok(())
}

#[test]
fn what_needs_a_bridge_that_runs_makes_no_database_without_one() -> Result<()> {
    let bridge = Bridge::start()?;
    let status = bridge.run(&["status", "--json"])?.json()?;
    ensure!(status["phase"] == "open" && status["devices"] == 0, "{status}");
    let elsewhere = tempfile::tempdir()?;
    let home = elsewhere.path().join("home");
    let home = home.to_str().context("UTF-8")?;
    for arguments in [
        &["status"][..],
        &["executions", "watch", "exec_1"],
        &["dispatch", "web-01", "--", "true"],
    ] {
        let refused = bridge
            .run(&[&["--home", home], arguments].concat())?
            .expect_code(69)?;
        ensure!(refused.stderr.contains("no bridge runs here"), "{refused:?}");
    }
    ensure!(!Path::new(home).join("bridge.db").exists());
    Ok(())
}
