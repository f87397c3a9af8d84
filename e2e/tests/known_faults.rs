//! Faults that the old pair had, each as a test of ours.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, ForgeEvent, Habit, Incoming, KEY, OldAgent, OldForge, Process};
use serde_json::{Value, json};

/// An agent of ours that is registered at a forge of the old generation.
fn agent_on(forge: &OldForge) -> Result<Agent> {
    let mut agent = Agent::new()?;
    agent.pair(&forge.url(), "web-01", KEY)?.expect_code(0)?;
    agent.start()?;
    Ok(agent)
}

/// Everything that a peer sent before is dealt with once this is answered.
fn barrier(peer: &mut OldAgent) -> Result<()> {
    peer.send("agent:barrier", json!({}))?;
    while peer.message("device:error")?["code"] != "UNKNOWN_TYPE" {}
    Ok(())
}

#[test]
fn the_frame_null_disturbs_nobody() -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    let key = bridge.mint("rude")?;
    let (mut rude, rude_device) = OldAgent::registered(bridge.address(), &key.key, "rude")?;
    rude.writer().text("null")?;
    ensure!(rude.message("device:error")?["code"] == "INVALID_JSON");
    // It may go on, and so may everybody else.
    let dispatch = bridge.dispatch_streaming(&rude_device, &[], "still")?;
    rude.run_task("here")?;
    dispatch.end()?.expect_code(0)?;
    bridge.dispatch(&device, "true")?.expect_code(0)?;
    ensure!(
        agent.registrations() == 1 && agent.status()?["state"] == "online",
        "its session was lost: {:?}",
        agent.log()
    );
    Ok(())
}

#[test]
fn a_device_cannot_complete_another_devices_execution() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mine, theirs) = (bridge.mint("mine")?, bridge.mint("theirs")?);
    let (mut mine, device) = OldAgent::registered(bridge.address(), &mine.key, "mine")?;
    let (mut theirs, _) = OldAgent::registered(bridge.address(), &theirs.key, "theirs")?;
    let id = bridge.dispatch_detached(&device, "count")?;
    mine.message("task:dispatch")?;

    theirs.send(
        "execution:complete",
        json!({"executionId": id, "output": "forged"}),
    )?;
    theirs.send("execution:failed", json!({"executionId": id, "error": "forged"}))?;
    theirs.send(
        "execution:progress",
        json!({"executionId": id, "progressType": "stdout", "data": "forged"}),
    )?;
    barrier(&mut theirs)?;
    let open = bridge.execution(&id)?;
    ensure!(
        open["status"] == "pending" || open["status"] == "running",
        "{open}"
    );
    ensure!(!open.to_string().contains("forged"), "{open}");

    mine.send("execution:complete", json!({"executionId": id, "output": "true"}))?;
    let ended = bridge.wait_ended(&id)?;
    ensure!(
        ended["status"] == "completed" && ended["output"] == "true",
        "{ended}"
    );
    Ok(())
}

#[test]
fn the_close_of_a_replaced_socket_leaves_the_new_session_alone() -> Result<()> {
    let bridge = Bridge::start()?;
    let key = bridge.mint("web-01")?;
    let (mut first, device) = OldAgent::registered(bridge.address(), &key.key, "web-01")?;
    let (mut second, same) = OldAgent::registered(bridge.address(), &key.key, "web-01")?;
    ensure!(same == device, "one device per key");
    let (_, code, text) = first.closed()?;
    ensure!((code, text.as_str()) == (4003, "Replaced by new connection"));
    first.writer().cut();
    drop(first);
    for round in 0..5 {
        let dispatch = bridge.dispatch_streaming(&device, &[], &format!("round {round}"))?;
        second.run_task("ok")?;
        dispatch.end()?.expect_code(0)?;
    }
    ensure!(bridge.devices()?[0]["status"] == "online");
    Ok(())
}

#[test]
fn a_late_complete_changes_nothing() -> Result<()> {
    let bridge = Bridge::start()?;
    let key = bridge.mint("web-01")?;
    let (mut old, device) = OldAgent::registered(bridge.address(), &key.key, "web-01")?;
    let id = bridge.dispatch_detached(&device, "count")?;
    old.message("task:dispatch")?;
    old.send(
        "execution:failed",
        json!({"executionId": id, "error": "lost the network"}),
    )?;
    let ended = bridge.wait_ended(&id)?;
    old.send(
        "execution:complete",
        json!({"executionId": id, "output": "late", "cost": 9}),
    )?;
    barrier(&mut old)?;
    ensure!(
        bridge.execution(&id)? == ended,
        "{} became {}",
        ended,
        bridge.execution(&id)?
    );
    ensure!(
        ended["status"] == "failed" && ended["error"] == "lost the network",
        "{ended}"
    );
    Ok(())
}

#[test]
fn a_bridge_answers_device_not_found_and_takes_the_registration() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mine, theirs) = (bridge.mint("mine")?, bridge.mint("theirs")?);
    let (_theirs, their_device) = OldAgent::registered(bridge.address(), &theirs.key, "theirs")?;
    let mut mine = OldAgent::connect(bridge.address(), &mine.key)?;
    for id in ["dev_01JD2Q8Z7M3N5P6R8S9T0V1W2Y", their_device.as_str()] {
        mine.send("device:reconnect", json!({"deviceId": id}))?;
        ensure!(mine.message("device:error")?["code"] == "DEVICE_NOT_FOUND");
    }
    mine.send("device:reconnect", json!({}))?;
    ensure!(mine.message("device:error")?["code"] == "MISSING_DEVICE_ID");
    mine.send_register("mine")?;
    mine.message("device:registered")?;
    Ok(())
}

#[test]
fn an_agent_that_is_not_found_registers_anew() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let _agent = agent_on(&forge)?;
    forge.pass_over();
    forge.forget_device();
    forge.close_device(1012, "Service restart")?;
    forge.wait("registration after the restart", |event| match event {
        ForgeEvent::Received(message) if message["type"] == "device:register" => Some(()),
        _ => None,
    })?;
    forge.dispatch("e1", "echo back")?;
    ensure!(forge.wait_message("execution:complete")?["output"] == "back\n");
    Ok(())
}

#[test]
fn five_dispatches_in_one_tick_run_two_at_a_time() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let mut agent = Agent::new()?;
    let arguments = ["connect", "-", "--url", &forge.url(), "--concurrent", "2"];
    agent.run_with_input(&arguments, KEY.as_bytes())?.expect_code(0)?;
    agent.start()?;
    let (gate, runs) = (agent.home().join("gate"), agent.home().join("runs"));
    // The tasks themselves note when they run: what the forge sees comes later, in any order.
    let input = format!(
        "echo begin >> {runs}; until [ -e {gate} ]; do sleep 0.05; done; echo end >> {runs}",
        runs = runs.display(),
        gate = gate.display()
    );
    for task in 1..=5 {
        forge.dispatch(&format!("e{task}"), &input)?;
    }
    let (mut queued, mut done) = (Vec::new(), Vec::new());
    let mut wait_for = |what: &str, queued_due: usize, done_due: usize| {
        forge.wait(what, |event| {
            if let ForgeEvent::Received(message) = event {
                let id = message["payload"]["executionId"].as_str().unwrap_or_default();
                match message["type"].as_str().unwrap_or_default() {
                    "execution:queued" if !queued.iter().any(|known| known == id) => {
                        queued.push(id.to_owned())
                    }
                    "execution:complete" => done.push(id.to_owned()),
                    _ => {}
                }
            }
            (queued.len() >= queued_due && done.len() >= done_due).then_some(())
        })
    };
    wait_for("three queued tasks", 3, 0)?;
    let noted = || std::fs::read_to_string(&runs).unwrap_or_default();
    askalf_e2e::until("two running tasks", || {
        Ok((noted().lines().count() == 2).then_some(()))
    })?;
    std::fs::write(&gate, "")?;
    wait_for("five results", 3, 5)?;

    let (mut running, mut most) = (0, 0);
    for line in noted().lines() {
        running += if line == "begin" { 1 } else { -1 };
        most = most.max(running);
    }
    ensure!(most == 2, "{most} ran at once");
    ensure!(queued == ["e3", "e4", "e5"], "queued in order: {queued:?}");
    done.sort();
    ensure!(done == ["e1", "e2", "e3", "e4", "e5"], "each ends once: {done:?}");
    Ok(())
}

#[test]
fn a_repeated_id_runs_once() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let agent = agent_on(&forge)?;
    let runs = agent.home().join("runs");
    let input = format!("echo run >> {}", runs.display());
    forge.dispatch("e1", &input)?;
    forge.dispatch("e1", &input)?;
    forge.wait_message("execution:complete")?;
    // Also once it has ended.
    forge.dispatch("e1", &input)?;
    forge.dispatch("e2", "true")?;
    forge.wait("the end of e2", |event| match event {
        ForgeEvent::Received(message) if message["type"] == "execution:complete" => {
            (message["payload"]["executionId"] == "e2").then_some(())
        }
        _ => None,
    })?;
    ensure!(std::fs::read_to_string(runs)? == "run\n");
    Ok(())
}

#[test]
fn a_dispatch_without_input_is_refused_by_its_id() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let agent = agent_on(&forge)?;
    for (id, payload) in [
        ("e1", json!({"executionId": "e1", "mode": "shell"})),
        ("e2", json!({"executionId": "e2", "mode": "shell", "input": null})),
        (
            "e3",
            json!({"executionId": "e3", "mode": "shell", "input": ["ls"]}),
        ),
    ] {
        forge.send("task:dispatch", payload)?;
        let failed = forge.wait_message("execution:failed")?;
        ensure!(
            failed["executionId"] == id && failed["cause"] == "refused",
            "{failed}"
        );
        let error = failed["error"].as_str().unwrap_or_default();
        ensure!(
            error.contains("input") || error.contains("cannot be read"),
            "{failed}"
        );
    }
    forge.send("task:dispatch", json!({}))?;
    forge.dispatch("e4", "echo alive")?;
    ensure!(forge.wait_message("execution:complete")?["output"] == "alive\n");
    ensure!(agent.status()?["state"] == "online");
    Ok(())
}

#[test]
fn disconnect_signals_no_foreign_process() -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, _) = Agent::paired(&bridge, "web-01")?;
    let mut sleep = std::process::Command::new("sleep");
    let mut foreign = Process::start("a foreign process", sleep.arg("600"), b"")?;
    // Where agents of older generations kept the number of their daemon.
    for name in ["agent.pid", "daemon.pid", "agent.lock"] {
        std::fs::write(agent.home().join(name), foreign.pid().to_string())?;
    }
    let output = agent.run(&["disconnect"])?.expect_code(0)?;
    ensure!(output.stdout.contains("No agent runs here"), "{output:?}");
    ensure!(
        foreign.end_within(Duration::from_millis(300)).is_err(),
        "the foreign process was ended"
    );
    Ok(())
}

#[test]
fn disconnect_stops_the_daemon_and_keeps_the_credential() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    let credential = agent.on_disk()?;
    agent.run(&["disconnect"])?.expect_code(0)?;
    ensure!(agent.wait_exit()? == 0);
    ensure!(agent.on_disk()? == credential);
    ensure!(agent.start()? == device);
    Ok(())
}

#[test]
fn the_config_is_replaced_and_never_written_in_place() -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, _) = Agent::paired(&bridge, "web-01")?;
    let config = agent.home().join("agent.json");
    let before = std::fs::read(&config)?;
    // A second name for the same file: it shows the old bytes for as long as they are not written over.
    let held = agent.home().join("held");
    std::fs::hard_link(&config, &held)?;
    let key = bridge.mint("second")?;
    agent.pair(&bridge.url(), "web-02", &key.key)?.expect_code(0)?;
    ensure!(std::fs::read(&held)? == before, "the old file was written over");
    let after: Value = serde_json::from_slice(&std::fs::read(&config)?)?;
    ensure!(after["deviceName"] == "web-02", "{after}");
    Ok(())
}

#[test]
fn a_socket_that_only_opens_does_not_reset_the_backoff() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::ClosesAtOnce)?;
    let mut agent = Agent::new()?;
    let arguments = ["pair", "-", "--url", &forge.url(), "--no-verify"];
    agent.run_with_input(&arguments, KEY.as_bytes())?.expect_code(0)?;
    agent.spawn()?;
    // Waits of 1, 2, 4, 8 s at most, jittered: more than 9 attempts come about twice in a million runs. A backoff that
    // starts anew makes 20 and more.
    let attempts = forge.connections_within(Duration::from_secs(12));
    ensure!((2..=9).contains(&attempts), "{attempts} attempts in 12 s");
    let status = agent.status()?;
    ensure!(status["state"] != "online", "{status}");
    Ok(())
}

#[test]
fn a_bridge_that_is_not_there_yet_is_waited_for() -> Result<()> {
    let mut bridge = Bridge::start()?;
    let (mut agent, _) = Agent::paired(&bridge, "web-01")?;
    bridge.terminate()?;
    agent.spawn()?;
    let status = agent.wait_state("backoff")?;
    ensure!(
        status["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
        "{status}"
    );
    ensure!(agent.run(&["status", "--check"])?.code == 75);
    bridge.serve()?;
    agent.wait_registered()?;
    ensure!(agent.run(&["status", "--check"])?.code == 0);
    Ok(())
}

#[test]
fn a_result_waits_for_the_bridge() -> Result<()> {
    let mut bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    let gate = agent.home().join("gate");
    let ended = agent.home().join("ended");
    let input = format!(
        "until [ -e {} ]; do sleep 0.05; done; echo finished; touch {}",
        gate.display(),
        ended.display()
    );
    let id = bridge.dispatch_detached(&device, &input)?;
    bridge.kill()?;
    agent.wait_state("backoff")?;
    // The task ends while no socket is open.
    std::fs::write(gate, "")?;
    askalf_e2e::until("the end of the task", || Ok(ended.exists().then_some(())))?;
    bridge.serve()?;
    let execution = bridge.wait_ended(&id)?;
    ensure!(
        execution["status"] == "completed" && execution["output"] == "finished\n",
        "{execution}"
    );
    Ok(())
}

#[test]
fn a_killed_bridge_leaves_no_device_online_and_no_row_running() -> Result<()> {
    let mut bridge = Bridge::start_with(&["--grace", "1"])?;
    let key = bridge.mint("old")?;
    let (mut old, device) = OldAgent::registered(bridge.address(), &key.key, "old")?;
    let id = bridge.dispatch_detached(&device, "count")?;
    old.message("task:dispatch")?;
    bridge.kill()?;
    ensure!(
        matches!(old.receive()?, Incoming::End),
        "the connection ended with the bridge"
    );
    bridge.serve()?;
    bridge.wait_device(&device, "offline")?;
    let execution = bridge
        .wait_ended(&id)
        .context("the device does not come back, so the row must end by itself")?;
    ensure!(
        execution["status"] == "failed" && execution["cause"] == "interrupted",
        "{execution}"
    );
    Ok(())
}
