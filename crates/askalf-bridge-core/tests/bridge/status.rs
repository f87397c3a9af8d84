//! How a bridge says that it is doing.

use askalf_bridge_core::{Transport, router};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::harness::{TestBridge, durable};

async fn metrics(bridge: &TestBridge, transport: Transport, token: Option<&str>) -> (u16, String) {
    let mut request = Request::get("/metrics");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let router = router(bridge.bridge.clone(), transport);
    let response = router
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_bridge_counts_what_it_does() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    bridge.try_connect(None).await.expect_error("AUTH_REQUIRED").await;
    let (mut client, _) = bridge.register_as(&key, durable("laptop", json!([]))).await;
    let [first, second] = [
        bridge.dispatch("laptop", "first").await.id,
        bridge.dispatch("laptop", "second").await.id,
    ];
    client.expect("task:dispatch").await;
    client.expect("task:dispatch").await;
    client.vanish();
    let held = json!([{ "executionId": first, "state": "ended" }]);
    let (mut client, _) = bridge.register_as(&key, durable("laptop", held)).await;
    assert_eq!(client.expect("task:dispatch").await["executionId"], second);
    client
        .send(
            "execution:complete",
            json!({ "executionId": first, "output": "" }),
        )
        .await;
    client.expect("execution:ack").await;

    let (status, view) = bridge.call("GET", "/api/v1/status", Value::Null).await;
    assert_eq!(status, 200);
    let mut refused = json!({});
    for reason in [
        "missing",
        "malformed",
        "unknown",
        "revoked",
        "expired",
        "user_inactive",
        "scope_missing",
        "unavailable",
        "overloaded",
    ] {
        refused[reason] = json!(u64::from(reason == "missing"));
    }
    let expected = json!({
        "version": env!("CARGO_PKG_VERSION"), "phase": "open", "sessions": 1, "devices": 1, "executions": 1,
        "devices_awaited": 0, "dispatched": 2, "redelivered": 1, "ended": 1, "acknowledged": 1, "checks_accepted": 2,
        "checks_refused": refused, "malformed_prefixes": 0,
    });
    let settled = async || bridge.call("GET", "/api/v1/status", Value::Null).await.1;
    // The session that was cut off is counted until its end was noticed.
    bridge.until("the counts", expected, settled).await;
    assert_eq!(view["dispatched"], 2);

    let (status, text) = metrics(&bridge, Transport::Local { uid: 0 }, None).await;
    assert_eq!(status, 200);
    for line in [
        "# TYPE askalf_bridge_devices gauge",
        "askalf_bridge_open 1",
        "askalf_bridge_redelivered_total 1",
        "askalf_bridge_checks_total{outcome=\"accepted\"} 2",
        "askalf_bridge_checks_total{outcome=\"missing\"} 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
    }
}

#[tokio::test]
async fn the_numbers_are_for_operators() {
    let bridge = TestBridge::start().await;
    let admin = bridge.mint("ann", &["admin"]).await;
    let device = bridge.mint("ann", &["device"]).await;
    assert_eq!(metrics(&bridge, Transport::Tcp, None).await.0, 401);
    assert_eq!(metrics(&bridge, Transport::Tcp, Some(&device.token)).await.0, 403);
    assert_eq!(metrics(&bridge, Transport::Tcp, Some(&admin.token)).await.0, 200);
    assert_eq!(
        bridge
            .call_over_tcp(Some(&device.token), "GET", "/api/v1/status", Value::Null)
            .await
            .0,
        403
    );
}
