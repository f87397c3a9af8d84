//! A device comes back after every restart, as the same device, with the same credential.

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge};

#[test]
fn fifty_restarts_keep_the_device_and_its_credential() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    let credential = agent.on_disk()?;
    let mut cut_off = Vec::new();

    for round in 0..50 {
        let task = if round % 3 == 0 {
            let input = format!("echo started {round}; exec sleep 600");
            let dispatch = bridge.dispatch_streaming(&device, &[], &input)?;
            dispatch.labelled("started")?;
            cut_off.push(bridge.execution_of(&input)?);
            Some(dispatch)
        } else {
            None
        };
        if round % 2 == 0 {
            agent.kill()?;
        } else {
            ensure!(agent.terminate()? == 0, "SIGTERM is an orderly end");
        }
        let again = agent.start()?;
        ensure!(
            again == device,
            "round {round}: device {again} instead of {device}"
        );
        ensure!(
            agent.on_disk()? == credential,
            "round {round}: the credential was written"
        );
        if let Some(dispatch) = task {
            ensure!(
                dispatch.end()?.code != 0,
                "round {round}: a task that was cut off did not succeed"
            );
        }
    }

    for id in cut_off {
        let execution = bridge.wait_ended(&id)?;
        ensure!(execution["status"] != "completed", "{execution}");
    }
    for line in agent.log().iter().chain(&bridge.log()) {
        ensure!(!line.text.contains("AUTH_FAILED"), "{}", line.text);
    }
    let devices = bridge.devices()?;
    ensure!(
        devices.len() == 1 && devices[0]["id"] == device.as_str(),
        "one device, not {devices:?}"
    );
    let output = bridge.dispatch("web-01", "echo back")?.expect_code(0)?;
    ensure!(output.stdout == "back\n", "{output:?}");
    Ok(())
}

#[test]
fn a_task_that_the_death_of_its_agent_cut_off_ends_interrupted() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    let input = "echo started now; exec sleep 600";
    let dispatch = bridge.dispatch_streaming(&device, &[], input)?;
    dispatch.labelled("started")?;
    let id = bridge.execution_of(input)?;
    agent.kill()?;
    agent.start()?;

    let execution = bridge.wait_ended(&id)?;
    ensure!(
        execution["status"] == "failed" && execution["cause"] == "interrupted",
        "{execution}"
    );
    ensure!(dispatch.end()?.code == 1);
    Ok(())
}

#[test]
fn a_device_registers_again_after_each_restart_of_the_bridge() -> Result<()> {
    let mut bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    let credential = agent.on_disk()?;
    for round in 0..4 {
        let seen = agent.daemon()?.lines().len();
        if round % 2 == 0 {
            bridge.kill()?;
        } else {
            ensure!(bridge.terminate()? == 0, "SIGTERM is an orderly end");
        }
        bridge.serve()?;
        ensure!(agent.wait_registered_after(seen)? == device, "round {round}");
        bridge.wait_device(&device, "online")?;
        bridge
            .dispatch(&device, "true")?
            .expect_code(0)
            .with_context(|| format!("round {round}"))?;
    }
    ensure!(agent.on_disk()? == credential, "the credential was written");
    for line in agent.log().iter().chain(&bridge.log()) {
        ensure!(!line.text.contains("AUTH_FAILED"), "{}", line.text);
    }
    Ok(())
}

#[test]
fn a_running_task_survives_a_restart_of_the_bridge() -> Result<()> {
    let mut bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    // The task ends only when the bridge is back and the file is there.
    let gate = agent.home().join("gate");
    let input = format!(
        "echo started now; until [ -e {} ]; do sleep 0.05; done; echo after",
        gate.display()
    );
    let dispatch = bridge.dispatch_streaming(&device, &[], &input)?;
    dispatch.labelled("started")?;
    let id = bridge.execution_of(&input)?;
    let seen = agent.daemon()?.lines().len();
    bridge.kill()?;
    ensure!(
        dispatch.end()?.code == 69,
        "the command says that the bridge went away"
    );
    bridge.serve()?;
    agent.wait_registered_after(seen)?;
    std::fs::write(gate, "")?;

    let execution = bridge.wait_ended(&id)?;
    ensure!(execution["status"] == "completed", "{execution}");
    ensure!(execution["output"] == "started now\nafter\n", "{execution}");
    Ok(())
}
