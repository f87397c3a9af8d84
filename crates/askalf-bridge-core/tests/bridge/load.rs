//! Too much of something: it is refused or cut off, and everybody else goes on.

use std::time::Duration;

use askalf_bridge_core::BridgeOptions;
use askalf_bridge_core::stores::DeviceStatus;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{TestBridge, memory_store, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_checks_than_may_wait_are_told_to_come_back_and_never_that_the_key_is_bad() {
    let options = BridgeOptions {
        derivations: 1,
        derivations_waiting: 1,
        overloaded_retry_after: Duration::from_millis(1234),
        ..BridgeOptions::default()
    };
    let bridge = TestBridge::with(memory_store(), options).await;
    let key = bridge.mint("ann", &["device"]).await;
    let outcomes = join_all((0..32).map(|_| async {
        let mut client = bridge.try_connect(Some(&key.token)).await;
        // Whoever was let in is told that it has not registered.
        let _ = client.try_send(r#"{"type":"capabilities:result"}"#.into()).await;
        let (kind, error) = client.next().await;
        assert_eq!(kind, "device:error");
        if error["code"] == "NOT_REGISTERED" {
            return true;
        }
        assert_eq!(
            (&error["code"], &error["reason"], &error["retryAfterMs"]),
            (&json!("INTERNAL_ERROR"), &json!("overloaded"), &json!(1234))
        );
        assert_eq!(client.closed().await.0, 1013);
        false
    }))
    .await;
    assert!(
        outcomes.contains(&true) && outcomes.contains(&false),
        "{outcomes:?}"
    );
    bridge.register(&key, "laptop").await;
}

#[tokio::test]
async fn a_device_that_does_not_read_loses_its_session_and_disturbs_nobody() {
    let options = BridgeOptions {
        close_timeout: Duration::from_millis(100),
        ..BridgeOptions::default()
    };
    let bridge = TestBridge::with(memory_store(), options).await;
    let [one, two] = [
        bridge.mint("ann", &["device"]).await,
        bridge.mint("ann", &["device"]).await,
    ];
    let (_stuck, stuck_id) = bridge.register(&one, "stuck").await;
    let (mut lively, _) = bridge.register(&two, "lively").await;

    // The system's buffers take some, the queue 4 MiB; what comes after is refused, and soon without a row.
    let input = "x".repeat(900_000);
    let body = json!({ "device": "stuck", "input": input, "detach": true });
    let mut accepted = 0;
    let error = within("the queue to be full", async {
        loop {
            let (status, answer) = bridge.call("POST", "/api/v1/executions", body.clone()).await;
            if status != 202 {
                return answer;
            }
            accepted += 1;
        }
    })
    .await;
    assert_eq!(error["id"], "device-offline", "{error}");
    bridge
        .until("offline", DeviceStatus::Offline, || bridge.status_of(&stuck_id))
        .await;

    let (_, rows) = bridge
        .call("GET", "/api/v1/executions?limit=1000", Value::Null)
        .await;
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), accepted, "one row for each task that was accepted");
    // The task that did not fit was accepted, and ended at once.
    assert_eq!(rows[0]["cause"], "interrupted");
    assert_eq!(
        rows[0]["error"],
        "interrupted: the device went away before it got the task"
    );

    let events = bridge.dispatch("lively", "true").await;
    lively.expect("task:dispatch").await;
    lively
        .send(
            "execution:complete",
            json!({ "executionId": events.id, "output": "" }),
        )
        .await;
    assert_eq!(events.ended().await.status, "completed");
}
