//! The head of an audit log on the wire.

use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::rig::{Agent, within};
use crate::AuditHead;

fn head(seq: u64) -> Option<AuditHead> {
    Some(AuditHead {
        seq,
        head: "a".repeat(64),
    })
}

#[tokio::test(start_paused = true)]
async fn the_head_of_the_log_is_told_once_the_device_is_registered_and_then_once_a_minute() {
    let (heads, receiver) = watch::channel(head(1));
    let mut agent = Agent::start_auditing(receiver);
    let mut peer = agent.accept().await;
    let register = peer.expect("device:register").await;
    assert_eq!(
        register["features"],
        json!([
            "execution-ack",
            "resume",
            "redelivery",
            "audit-anchor",
            "rotation"
        ])
    );
    peer.register(&["execution-ack", "audit-anchor"]).await;
    assert_eq!(
        peer.expect("audit:head").await,
        json!({ "seq": 1, "head": "a".repeat(64) })
    );
    let told = Instant::now();
    heads.send_replace(head(2));
    heads.send_replace(head(3));
    assert_eq!(peer.expect("audit:head").await["seq"], 3);
    assert!(told.elapsed() >= Duration::from_secs(60), "{:?}", told.elapsed());
    // A log that has ended changes nothing.
    drop(heads);
    assert!(within(Duration::from_secs(120), peer.next()).await.is_none());
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_a_log_does_not_announce_it() {
    let mut agent = Agent::start();
    let mut peer = agent.accept().await;
    let register = peer.expect("device:register").await;
    assert_eq!(
        register["features"],
        json!(["execution-ack", "resume", "redelivery", "rotation"])
    );
    agent.stop().await;
}
