//! `taskLimits` in agent.json binds what tasks start.

use std::fs;

use anyhow::{Result, ensure};
use askalf_e2e::{Agent, Bridge};
use serde_json::{Value, json};

fn configure(agent: &Agent, limits: Value) -> Result<()> {
    let path = agent.home().join("agent.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path)?)?;
    config["taskLimits"] = limits;
    Ok(fs::write(path, serde_json::to_vec(&config)?)?)
}

#[test]
fn tasks_run_within_the_limits_that_are_set_up() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, _) = Agent::paired(&bridge, "web-01")?;
    let device = agent.start()?;
    let show = "ulimit -Hc; ulimit -Hn; ulimit -Hv; ulimit -Ht";
    let free = bridge.dispatch(&device, show)?.expect_code(0)?.stdout;
    ensure!(
        free.starts_with("0\n") && free.ends_with("unlimited\nunlimited\n"),
        "{free}"
    );
    agent.terminate()?;

    configure(
        &agent,
        json!({"openFiles": 123, "memoryMB": 1024, "cpuSeconds": 77}),
    )?;
    let device = agent.start()?;
    let bound = bridge.dispatch(&device, show)?.expect_code(0)?.stdout;
    ensure!(bound == "0\n123\n1048576\n77\n", "{bound}");
    agent.terminate()?;

    for (limits, problem) in [
        (json!({"openFiles": 9}), "the limit 'openFiles' is 9, below 64"),
        (json!({"memory": 9000}), "unknown field `memory`"),
        (json!("none"), "'taskLimits'"),
    ] {
        configure(&agent, limits)?;
        agent.spawn()?;
        ensure!(agent.wait_exit()? == 78);
        let log = agent.log();
        ensure!(
            log.iter().any(|line| line.text.contains(problem)),
            "{problem}: {log:?}"
        );
    }
    Ok(())
}
