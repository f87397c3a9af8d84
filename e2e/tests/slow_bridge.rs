//! A bridge that answers, slowly: nothing is lost, nothing is done twice, and the device does not leave it.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, Network, Relay, until};

/// Longer than the bridge tries by itself to write a result, and shorter than its device waits for a word.
const LOCKED: Duration = Duration::from_secs(12);

#[test]
fn results_outlive_a_database_that_takes_nothing_for_seconds() -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    let gate = agent.home().join("gate");
    let mut ids = Vec::new();
    for number in 0..2 {
        let input = format!(
            "echo {number}; echo ran >> {runs}/runs-{number}; until [ -e {gate} ]; do sleep 0.05; done; echo after",
            runs = agent.home().display(),
            gate = gate.display()
        );
        ids.push(bridge.dispatch_detached(&device, &input)?);
    }
    for id in &ids {
        until("the start", || {
            Ok((bridge.execution(id)?["status"] == "running").then_some(()))
        })?;
    }

    let database = rusqlite::Connection::open(bridge.home().join("bridge.db"))?;
    database.busy_timeout(Duration::from_secs(10))?;
    database.execute_batch("BEGIN IMMEDIATE")?;
    std::fs::write(&gate, "")?;
    // Nobody sends: the time is what passes.
    let (_open, never) = mpsc::channel::<()>();
    let _passed = never.recv_timeout(LOCKED);
    for id in &ids {
        // Reading goes on, and does not say more than is recorded.
        ensure!(bridge.execution(id)?["status"] == "running");
    }
    database.execute_batch("ROLLBACK")?;

    for (number, id) in ids.iter().enumerate() {
        let ended = bridge.wait_ended(id)?;
        ensure!(
            ended["status"] == "completed" && ended["output"] == format!("{number}\nafter\n"),
            "{ended}"
        );
        let runs = std::fs::read_to_string(agent.home().join(format!("runs-{number}")))?;
        ensure!(runs == "ran\n", "it ran more than once: {runs}");
    }
    until("an empty journal", || {
        Ok((agent.status()?["unacknowledged"] == 0).then_some(()))
    })
}

#[test]
fn a_slow_network_keeps_its_device_and_every_byte() -> Result<()> {
    let bridge = Bridge::start()?;
    let relay = Relay::to(bridge.address())?;
    let key = bridge.mint("far")?;
    let mut agent = Agent::new()?;
    agent.pair(&relay.url(), "far", &key.key)?.expect_code(0)?;
    relay.set(Network::Slow);
    let device = agent.start()?;
    let began = Instant::now();
    let id = bridge.dispatch_detached(&device, "seq 1 20000")?;
    let ended = bridge.wait_ended(&id)?;
    let expected: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    ensure!(ended["status"] == "completed", "{ended}");
    ensure!(
        ended["output"].as_str() == Some(&expected),
        "its output is another"
    );
    ensure!(
        began.elapsed() > Duration::from_secs(3),
        "the network was not slow"
    );
    let status = agent.status()?;
    ensure!(status["state"] == "online", "{status}");
    ensure!(agent.registrations() == 1, "it left: {:?}", agent.log());
    let stayed = bridge.devices()?;
    let stayed = stayed.first().context("no device")?;
    ensure!(stayed["status"] == "online", "{stayed}");
    Ok(())
}
