//! Either side replaced on its own: an agent of the old generation on our bridge, our agent on an old forge.

use std::time::Duration;

use anyhow::{Result, ensure};
use askalf_e2e::{Agent, Bridge, ForgeEvent, Habit, Incoming, KEY, OLD_FORGE_DEVICE, OldAgent, OldForge};
use serde_json::{Value, json};

#[test]
fn an_old_agent_registers_runs_a_task_and_is_recorded() -> Result<()> {
    let bridge = Bridge::start()?;
    let key = bridge.mint("old")?;
    let (mut old, device) = OldAgent::registered(bridge.address(), &key.key, "old-web-01")?;
    old.message("capabilities:scan")?;
    let devices = bridge.devices()?;
    ensure!(devices.len() == 1, "{devices:?}");
    ensure!(
        devices[0]["id"] == device.as_str() && devices[0]["status"] == "online",
        "{devices:?}"
    );
    ensure!(
        devices[0]["device_name"] == "old-web-01" && devices[0]["os"] == "linux",
        "{devices:?}"
    );
    ensure!(
        devices[0]["platform_capabilities"]["node"] == "v20.11.0",
        "{devices:?}"
    );

    let dispatch = bridge.dispatch_streaming("old-web-01", &[], "summarise")?;
    let sent = old.run_task("from the old agent\n")?;
    ensure!(
        sent["input"] == "summarise" && sent["executionId"].is_string(),
        "{sent}"
    );
    let output = dispatch.end()?.expect_code(0)?;
    ensure!(output.stdout == "from the old agent\n", "{output:?}");

    let execution = bridge.execution(&bridge.execution_of("summarise")?)?;
    ensure!(execution["status"] == "completed", "{execution}");
    ensure!(execution["output"] == "from the old agent\n", "{execution}");
    // Sent as tokensIn and tokensOut.
    ensure!(
        execution["input_tokens"] == 1200 && execution["output_tokens"] == 340,
        "{execution}"
    );
    ensure!(
        execution["cost"] == 0.25 && execution["turns"] == 3,
        "{execution}"
    );
    Ok(())
}

#[test]
fn an_old_agent_may_fail_a_task_and_beat_as_it_always_did() -> Result<()> {
    let bridge = Bridge::start()?;
    let key = bridge.mint("old")?;
    let (mut old, device) = OldAgent::registered(bridge.address(), &key.key, "old")?;
    old.message("capabilities:scan")?;
    old.heartbeat()?;
    old.send("device:pong", json!({"ts": 1}))?;
    old.send(
        "execution:queued",
        json!({"executionId": "unheard-of", "position": 1}),
    )?;
    old.send("agent:selfie", json!({}))?;
    let Incoming::Text(answer) = old.receive()? else {
        anyhow::bail!("no answer")
    };
    let answer: Value = serde_json::from_str(&answer)?;
    ensure!(
        answer["payload"]["code"] == "UNKNOWN_TYPE",
        "only the unknown type is answered: {answer}"
    );

    let dispatch = bridge.dispatch_streaming(&device, &[], "fail")?;
    let sent = old.message("task:dispatch")?;
    old.send(
        "execution:failed",
        json!({"executionId": sent["executionId"], "error": "boom", "executor": "shell"}),
    )?;
    let output = dispatch.end()?.expect_code(1)?;
    ensure!(output.stderr.contains("boom"), "{output:?}");
    let execution = bridge.execution(&bridge.execution_of("fail")?)?;
    ensure!(
        execution["status"] == "failed" && execution["error"] == "boom",
        "{execution}"
    );
    Ok(())
}

#[test]
fn an_old_agent_reconnects_under_its_id() -> Result<()> {
    let bridge = Bridge::start()?;
    let key = bridge.mint("old")?;
    let (old, device) = OldAgent::registered(bridge.address(), &key.key, "old")?;
    old.writer().close(1000, "Client disconnect")?;
    bridge.wait_device(&device, "offline")?;

    let mut again = OldAgent::connect(bridge.address(), &key.key)?;
    again.send("device:reconnect", json!({"deviceId": device}))?;
    ensure!(again.message("device:registered")?["deviceId"] == device.as_str());
    again.message("capabilities:scan")?;
    let dispatch = bridge.dispatch_streaming(&device, &[], "again")?;
    again.run_task("yes")?;
    dispatch.end()?.expect_code(0)?;
    Ok(())
}

#[test]
fn an_agent_of_3_x_registers_by_its_heartbeat() -> Result<()> {
    let bridge = Bridge::start()?;
    let key = bridge.mint("old")?;
    let mut old = OldAgent::connect(bridge.address(), &key.key)?;
    old.send(
        "device:heartbeat",
        json!({
            "activeExecutions": 0, "load": {}, "queuedTasks": 0, "freeMemoryMB": 100, "totalMemoryMB": 200,
            "loadAvg1m": 0.5, "loadAvg5m": 0.5, "uptime": 12, "hostname": "pi", "os": "linux", "deviceName": "pi-01",
            "capabilities": {"shell": true},
        }),
    )?;
    old.message("device:registered")?;
    ensure!(bridge.devices()?[0]["device_name"] == "pi-01");
    Ok(())
}

#[test]
fn our_agent_runs_a_task_of_an_old_forge() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Drops)?;
    let mut agent = Agent::new()?;
    agent.pair(&forge.url(), "web-01", KEY)?.expect_code(0)?;
    let seen = forge.events().len();
    ensure!(agent.start()? == OLD_FORGE_DEVICE);
    let dropped = forge.events()[seen..]
        .iter()
        .any(|(_, event)| matches!(event, ForgeEvent::Dropped(_)));
    ensure!(dropped, "the first registration vanished: {:?}", forge.events());
    forge.wait_message("capabilities:result")?;

    forge.dispatch("e1", "echo to out; echo to err >&2")?;
    let accepted = forge.wait_message("execution:accepted")?;
    ensure!(
        accepted == json!({"executionId": "e1", "executor": "shell"}),
        "{accepted}"
    );
    let mut streamed = Vec::new();
    let complete = forge.wait("execution:complete", |event| match event {
        ForgeEvent::Received(message) if message["type"] == "execution:progress" => {
            streamed.push((
                message["payload"]["progressType"].as_str().map(str::to_owned),
                message["payload"]["data"].as_str().map(str::to_owned),
            ));
            None
        }
        ForgeEvent::Received(message) if message["type"] == "execution:complete" => {
            Some(message["payload"].clone())
        }
        _ => None,
    })?;
    streamed.sort();
    let piece = |stream: &str, data: &str| (Some(stream.to_owned()), Some(data.to_owned()));
    ensure!(
        streamed == [piece("stderr", "to err\n"), piece("stdout", "to out\n")],
        "{streamed:?}"
    );
    ensure!(complete["executionId"] == "e1", "{complete}");
    let output = complete["output"].as_str().unwrap_or_default();
    ensure!(
        output.contains("to out\n") && output.contains("to err\n"),
        "{complete}"
    );
    for field in ["cost", "turns", "inputTokens", "outputTokens", "durationMs"] {
        ensure!(
            complete[field].is_number(),
            "{field} is what the forge reads: {complete}"
        );
    }

    forge.dispatch("e2", "echo almost; exit 3")?;
    let failed = forge.wait_message("execution:failed")?;
    ensure!(
        failed["executionId"] == "e2" && failed["exitCode"] == 3 && failed["cause"] == "exit",
        "{failed}"
    );
    ensure!(
        failed["error"].is_string() && failed["output"] == "almost\n",
        "{failed}"
    );
    Ok(())
}

#[test]
fn our_agent_cancels_on_an_old_forge() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Drops)?;
    let mut agent = Agent::new()?;
    agent.pair(&forge.url(), "web-01", KEY)?.expect_code(0)?;
    agent.start()?;
    forge.dispatch("e1", "echo started; exec sleep 600")?;
    forge.wait_message("execution:progress")?;
    forge.send("task:cancel", json!({"executionId": "e1"}))?;
    let failed = forge.wait_message("execution:failed")?;
    ensure!(
        failed["executionId"] == "e1" && failed["cause"] == "cancelled",
        "{failed}"
    );
    Ok(())
}

#[test]
fn an_old_forge_that_does_not_know_a_message_is_no_failure() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let mut agent = Agent::new()?;
    agent.pair(&forge.url(), "web-01", KEY)?.expect_code(0)?;
    agent.start()?;
    // `device:pong` is answered UNKNOWN_TYPE there.
    forge.send("device:ping", json!({}))?;
    forge.wait_message("device:pong")?;
    forge.dispatch("e1", "echo on")?;
    ensure!(forge.wait_message("execution:complete")?["output"] == "on\n");
    ensure!(agent.status()?["state"] == "online");
    Ok(())
}

#[test]
fn a_refusal_without_a_reason_does_not_spin() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Drops)?;
    let mut agent = Agent::new()?;
    let other = "sk_live_ZZZZ456789abcdefghijABCDEFGHIJ01";
    let input = ["pair", "-", "--url", &forge.url(), "--no-verify"];
    agent.run_with_input(&input, other.as_bytes())?.expect_code(0)?;
    agent.spawn()?;
    forge.wait("refusal", |event| (*event == ForgeEvent::Refused).then_some(()))?;
    ensure!(
        forge.connections_within(Duration::from_secs(5)) <= 1,
        "{:?}",
        forge.events()
    );
    let status = agent.status()?;
    ensure!(
        status["state"] == "backoff",
        "not yet sure that the key is bad: {status}"
    );
    Ok(())
}

#[test]
fn pairing_on_an_old_forge_takes_its_first_refusal() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Drops)?;
    let agent = Agent::new()?;
    let output = agent
        .pair(&forge.url(), "web-01", "sk_live_ZZZZ456789abcdefghijABCDEFGHIJ01")?
        .expect_code(78)?;
    ensure!(
        output.stderr.contains("did not say why") && output.stderr.contains("hint:"),
        "{output:?}"
    );
    ensure!(
        !agent.home().join("agent.json").exists(),
        "a key that was refused is not kept"
    );
    let connections = forge
        .events()
        .iter()
        .filter(|(_, event)| *event == ForgeEvent::Connected)
        .count();
    ensure!(
        connections == 1,
        "each try costs an old forge a derivation per key: {:?}",
        forge.events()
    );
    Ok(())
}
