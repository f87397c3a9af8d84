//! What a bridge learns of the device while the agent runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Agent, Peer, facts};
use crate::{DeviceFacts, DeviceLoad, DeviceProbe};

/// A device that finds one more tool at each look, and may be slow to tell its load.
#[derive(Debug, Default)]
struct Probe {
    looks: AtomicUsize,
    loads: AtomicUsize,
    /// The second reading of the load, and each after it, waits for this.
    slow: Option<Mutex<Receiver<()>>>,
}

impl DeviceProbe for Probe {
    fn facts(&self) -> DeviceFacts {
        let look = self.looks.fetch_add(1, Ordering::SeqCst) + 1;
        DeviceFacts {
            capabilities: json!({"look": look}).as_object().unwrap().clone(),
            ..facts()
        }
    }

    fn load(&self) -> DeviceLoad {
        let reading = self.loads.fetch_add(1, Ordering::SeqCst) + 1;
        if let (Some(slow), 2..) = (&self.slow, reading) {
            // The end of the test lets it go on.
            let _gone = slow.lock().unwrap().recv();
        }
        DeviceLoad {
            free_memory_mb: Some(reading as u64),
            uptime: Some(60.0),
            ..DeviceLoad::default()
        }
    }
}

async fn heartbeat(peer: &mut Peer) -> Value {
    loop {
        let (kind, payload) = peer.next_of_all().await;
        if kind == "device:heartbeat" {
            return payload;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn facts_are_looked_for_at_the_start_and_for_each_scan() {
    let probe = Arc::new(Probe::default());
    let mut agent = Agent::start_probed(probe.clone());
    let mut peer = agent.accept().await;
    assert_eq!(peer.expect("device:register").await["capabilities"]["look"], 1);
    peer.register(&[]).await;
    for look in [2, 3] {
        peer.send("capabilities:scan", json!({"deviceId": "dev_1"})).await;
        assert_eq!(
            peer.expect("capabilities:result").await["capabilities"]["look"],
            look
        );
    }
    assert_eq!(probe.loads.load(Ordering::SeqCst), 0, "load is for heartbeats");
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn heartbeats_tell_the_load_of_the_moment() {
    let probe = Arc::new(Probe::default());
    let mut agent = Agent::start_probed(probe.clone());
    let mut peer = agent.accept_and_register(&[]).await;
    for reading in [1, 2] {
        let beat = heartbeat(&mut peer).await;
        assert_eq!(
            (&beat["freeMemoryMB"], &beat["uptime"], &beat["loadAvg1m"]),
            (&json!(reading), &json!(60.0), &Value::Null)
        );
        assert_eq!(
            (&beat["queuedTasks"], &beat["activeExecutions"]),
            (&json!(0), &json!(0))
        );
    }
    assert_eq!(
        probe.looks.load(Ordering::SeqCst),
        1,
        "a heartbeat looks for no tools"
    );
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_hangs_costs_the_figures_and_not_the_heartbeat() {
    let (release, slow) = std::sync::mpsc::channel();
    let probe = Arc::new(Probe {
        slow: Some(slow.into()),
        ..Probe::default()
    });
    let mut agent = Agent::start_probed(probe.clone());
    let mut peer = agent.accept_and_register(&[]).await;
    assert_eq!(heartbeat(&mut peer).await["freeMemoryMB"], 1);
    for _ in 0..2 {
        let beat = while_time_passes(heartbeat(&mut peer)).await;
        assert_eq!((&beat["freeMemoryMB"], &beat["load"]), (&Value::Null, &json!({})));
    }
    assert_eq!(
        probe.loads.load(Ordering::SeqCst),
        2,
        "no second reading beside the one that hangs"
    );
    // All that hangs may go on.
    drop(release);
    agent.stop().await;
}

/// The clock of a test does not jump by itself while a thread is blocked.
async fn while_time_passes<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::advance(Duration::from_millis(100)) => {}
        }
    }
}
