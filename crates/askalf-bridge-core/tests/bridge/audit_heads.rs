//! Heads of audit logs: what the bridge keeps of them, and to whom it shows it.

use serde_json::{Value, json};

use crate::harness::{TestBridge, durable, modern};

#[tokio::test]
async fn the_head_of_a_devices_audit_log_is_kept_and_a_contradiction_shown() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, device_id) = bridge.register_as(&key, durable("laptop", json!([]))).await;
    let show = async || {
        let (status, view) = bridge.call("GET", "/api/v1/devices/laptop", Value::Null).await;
        assert_eq!(status, 200);
        view
    };
    assert!(show().await.get("audit_head").is_none());
    let head = |digit: &str| digit.repeat(64);
    for (seq, digit) in [(41, "a"), (42, "b"), (40, "c"), (42, "d")] {
        client
            .send("audit:head", json!({ "seq": seq, "head": head(digit) }))
            .await;
    }
    client.is_alive().await;
    let kept = show().await["audit_head"].take();
    assert_eq!((&kept["seq"], &kept["head"]), (&json!(42), &json!(head("b"))));
    assert_eq!((&kept["conflicts"], &kept["key_id"]), (&json!(2), &json!(key.id)));
    assert_eq!(
        (&kept["last_conflict_seq"], &kept["last_conflict_head"]),
        (&json!(42), &json!(head("d")))
    );
    assert!(kept["received_at"].is_string() && kept["last_conflict_at"].is_string());

    let (_, acts) = bridge.call("GET", "/api/v1/acts?limit=1", Value::Null).await;
    assert_eq!(acts[0]["what"], "audit.conflict");
    assert_eq!(acts[0]["by"], format!("device {device_id}"));
    let (_, list) = bridge.call("GET", "/api/v1/devices", Value::Null).await;
    assert!(list[0].get("audit_head").is_none(), "a listing has none");
}

#[tokio::test]
async fn a_head_that_was_not_announced_or_makes_no_sense_is_not_kept() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register_as(&key, modern("laptop", json!([]))).await;
    let head = json!({ "seq": 1, "head": "a".repeat(64) });
    client.send("audit:head", head.clone()).await;
    client.expect_error("UNKNOWN_TYPE").await;
    drop(client);
    let (mut client, _) = bridge.register_as(&key, durable("laptop", json!([]))).await;
    for head in [
        json!({ "seq": -1, "head": "a".repeat(64) }),
        json!({ "seq": u64::MAX, "head": "a".repeat(64) }),
        json!({ "seq": 1, "head": "a".repeat(63) }),
        json!({ "seq": 1 }),
    ] {
        client.send("audit:head", head).await;
        client.expect_error("INVALID_JSON").await;
    }
    let (_, view) = bridge.call("GET", "/api/v1/devices/laptop", Value::Null).await;
    assert!(view.get("audit_head").is_none());
}
