//! How a bridge goes down: no new tasks, devices told when to come back, and what runs left to the next one.

use std::time::Duration;

use askalf_bridge_core::{BridgeOptions, Transport, router};
use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::harness::{TestBridge, durable, memory_store, within};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_bridge_that_drains_takes_results_and_no_new_tasks() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register_as(&key, durable("laptop", json!([]))).await;
    let events = bridge.dispatch("laptop", "true").await;
    client.expect("task:dispatch").await;
    let draining = tokio::spawn({
        let bridge = bridge.bridge.clone();
        async move { bridge.drain(LONG).await }
    });
    let refused = async || {
        let body = json!({ "device": "laptop", "input": "true" });
        bridge.call("POST", "/api/v1/executions", body).await.1["id"].take()
    };
    bridge.until("the drain", json!("bridge-draining"), refused).await;

    let request = Request::post("/api/v1/executions")
        .body(Body::from(
            json!({ "device": "laptop", "input": "true" }).to_string(),
        ))
        .unwrap();
    let local = router(bridge.bridge.clone(), Transport::Local { uid: 0 });
    let response = local.oneshot(request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"5".parse().unwrap())
    );
    let (status, error) = bridge
        .call("POST", "/api/v1/devices/laptop/rotate", Value::Null)
        .await;
    assert_eq!(
        (status.as_u16(), &error["id"]),
        (503, &json!("bridge-draining")),
        "no new key either"
    );
    let health = router(bridge.bridge.clone(), Transport::Tcp);
    let health = health
        .oneshot(Request::get("/healthz").body(Body::empty()).unwrap())
        .await;
    assert_eq!(health.unwrap().status(), 503, "new devices go elsewhere");

    // The device may lose its connection meanwhile, and come back with its result.
    client.vanish();
    let held = json!([{ "executionId": events.id, "state": "ended" }]);
    let (mut client, _) = bridge.register_as(&key, durable("laptop", held)).await;
    client
        .send(
            "execution:complete",
            json!({ "executionId": events.id, "output": "done" }),
        )
        .await;
    client.expect("execution:ack").await;
    assert_eq!(events.ended().await.output.as_deref(), Some("done"));
    within("the drain", draining).await.unwrap();

    let stopping = tokio::spawn(bridge.stop());
    let error = client.expect_error("SERVER_SHUTDOWN").await;
    assert_eq!(error["retryAfterMs"], 1000);
    assert_eq!(client.closed().await, (1001, "Server shutting down".to_owned()));
    within("the shutdown", stopping).await.unwrap();
}

#[tokio::test]
async fn what_outlasts_the_drain_goes_on_and_the_next_bridge_takes_it_up() {
    let store = memory_store();
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let keys = [
        bridge.mint("ann", &["device"]).await,
        bridge.mint("ann", &["device"]).await,
    ];
    let (mut busy, _) = bridge.register_as(&keys[0], durable("busy", json!([]))).await;
    let (mut idle, _) = bridge.register_as(&keys[1], durable("idle", json!([]))).await;
    let id = bridge.dispatch("busy", "sleep 99").await.id;
    busy.expect("task:dispatch").await;
    busy.send("execution:accepted", json!({ "executionId": id }))
        .await;
    bridge
        .until("its start", "running".to_owned(), async || {
            bridge.execution(&id).await.status
        })
        .await;
    within("the drain", bridge.bridge.drain(Duration::from_millis(50))).await;
    let stopping = tokio::spawn(bridge.stop());
    let mut told = Vec::new();
    for client in [&mut busy, &mut idle] {
        told.push(
            client.expect_error("SERVER_SHUTDOWN").await["retryAfterMs"]
                .as_u64()
                .unwrap(),
        );
        assert_eq!(client.closed().await.0, 1001);
    }
    told.sort_unstable();
    assert_eq!(told, [1000, 1500], "each at a time of its own");
    within("the shutdown", stopping).await.unwrap();

    let bridge = TestBridge::with(store, BridgeOptions::default()).await;
    assert_eq!(bridge.execution(&id).await.status, "running");
    let held = json!([{ "executionId": id, "state": "running" }]);
    let (mut busy, _) = bridge.register_as(&keys[0], durable("busy", held)).await;
    busy.send(
        "execution:complete",
        json!({ "executionId": id, "output": "done" }),
    )
    .await;
    busy.expect("execution:ack").await;
    assert_eq!(bridge.execution(&id).await.status, "completed");
    let (_, health) = bridge
        .call("GET", "/api/v1/executions?open=true", Value::Null)
        .await;
    assert_eq!(health, json!([]));
}
