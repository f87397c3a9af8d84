//! A network that breaks or falls silent under a running task.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use askalf_e2e::{Agent, Bridge, Network, Relay};

/// Cuts the network under a task that outlives the cut, and looks at how it ended.
fn cut(length: Duration, network: Network) -> Result<()> {
    let bridge = Bridge::start()?;
    let relay = Relay::to(bridge.address())?;
    let key = bridge.mint("far")?;
    let mut agent = Agent::new()?;
    agent.pair(&relay.url(), "far", &key.key)?.expect_code(0)?;
    let device = agent.start()?;
    let seconds = length.as_secs() + 5;
    let input = format!("echo before; sleep {seconds}; echo after");
    let id = bridge.dispatch_detached(&device, &input)?;
    askalf_e2e::until("the task's start", || {
        Ok((bridge.execution(&id)?["status"] == "running").then_some(()))
    })?;

    relay.set(network);
    pass(length);
    relay.set(Network::Whole);

    let deadline = Instant::now() + length + Duration::from_secs(120);
    let execution = loop {
        let execution = bridge.execution(&id)?;
        if execution["status"] != "running" {
            break execution;
        }
        ensure!(Instant::now() < deadline, "it does not end: {execution}");
        pass(Duration::from_millis(200));
    };
    ensure!(execution["status"] == "completed", "{execution}");
    ensure!(execution["output"] == "before\nafter\n", "{execution}");
    Ok(())
}

#[test]
fn a_task_outlives_a_short_cut() -> Result<()> {
    cut(Duration::from_secs(4), Network::Cut)
}

#[test]
#[ignore = "a minute and more; cargo xtask prove faults"]
fn a_task_outlives_a_cut_of_a_minute() -> Result<()> {
    cut(Duration::from_secs(60), Network::Cut)
}

#[test]
#[ignore = "minutes; cargo xtask prove faults"]
fn a_task_outlives_two_minutes_of_silence() -> Result<()> {
    cut(Duration::from_secs(120), Network::Silent)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the length of the cut is what is tested; it synchronises nothing"
)]
fn pass(time: Duration) {
    std::thread::sleep(time);
}
