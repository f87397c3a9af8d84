//! One daemon a home.

use anyhow::{Result, ensure};
use askalf_e2e::{Agent, Bridge};

#[test]
fn a_second_daemon_ends_and_the_first_goes_on() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    let gate = agent.home().join("gate");
    let input = format!(
        "echo started now; until [ -e {} ]; do sleep 0.05; done; echo undisturbed",
        gate.display()
    );
    let dispatch = bridge.dispatch_streaming(&device, &[], &input)?;
    dispatch.labelled("started")?;

    let second = agent.run(&["daemon"])?.expect_code(75)?;
    ensure!(
        second.stderr.contains("error:") && second.stderr.contains("hint:"),
        "{second:?}"
    );
    ensure!(
        second.stderr.contains("an agent runs in") && second.stderr.contains("already"),
        "{second:?}"
    );

    std::fs::write(gate, "")?;
    ensure!(dispatch.end()?.expect_code(0)?.stdout.ends_with("undisturbed\n"));
    ensure!(agent.status()?["state"] == "online");
    ensure!(agent.registrations() == 1, "the first was not replaced");

    // What a killed daemon leaves behind does not keep the next one out.
    agent.kill()?;
    ensure!(agent.start()? == device);
    Ok(())
}

#[test]
fn a_second_bridge_ends_and_the_first_goes_on() -> Result<()> {
    let bridge = Bridge::start()?;
    let (_agent, device) = Agent::online(&bridge, "web-01")?;
    let second = bridge
        .run(&["serve", "--listen", "127.0.0.1:0"])?
        .expect_code(75)?;
    ensure!(second.stderr.contains("another bridge"), "{second:?}");
    bridge.dispatch(&device, "true")?.expect_code(0)?;
    Ok(())
}
