//! The two small peers of the old generation understand each other: what the other tests prove with them is not an
//! accident of one of them.

use anyhow::{Result, ensure};
use askalf_e2e::{ForgeEvent, Habit, OLD_FORGE_DEVICE, OldAgent, OldForge};

#[test]
fn the_old_agent_runs_a_task_of_the_old_forge() -> Result<()> {
    let forge = OldForge::start("fk_good", Habit::Drops)?;
    let mut agent = OldAgent::connect(forge.address(), "fk_good")?;
    // Sent on open: lost. The old pair needed luck here.
    agent.send_register("old")?;
    forge.wait("dropped register", |event| match event {
        ForgeEvent::Dropped(message) if message["type"] == "device:register" => Some(()),
        _ => None,
    })?;
    agent.send_register("old")?;
    ensure!(agent.message("device:registered")?["deviceId"] == OLD_FORGE_DEVICE);
    agent.message("capabilities:scan")?;

    forge.dispatch("e1", "uptime")?;
    let dispatch = agent.run_task("up\n")?;
    ensure!(dispatch["input"] == "uptime");
    let complete = forge.wait_message("execution:complete")?;
    ensure!(complete["executionId"] == "e1" && complete["tokensIn"] == 1200);
    Ok(())
}

#[test]
fn the_old_forge_refuses_without_a_reason() -> Result<()> {
    let forge = OldForge::start("fk_good", Habit::Drops)?;
    let mut agent = OldAgent::connect(forge.address(), "fk_bad")?;
    let (messages, code, text) = agent.closed()?;
    ensure!((code, text.as_str()) == (4001, "Invalid token"));
    ensure!(messages.len() == 1 && messages[0]["payload"]["code"] == "AUTH_FAILED");
    ensure!(messages[0]["payload"]["reason"].is_null());
    Ok(())
}
