//! Keys that are changed in the database, past the bridge, while something stands on them.

use std::time::Duration;

use askalf_bridge_auth::{KeyRecord, UnixMillis, UserStatus};
use askalf_bridge_core::BridgeOptions;
use askalf_bridge_core::api::DispatchEvent;
use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::faulty_store::FaultyStore;
use crate::harness::{ADMIN, NOW, TestBridge, memory_store, within};

fn often() -> BridgeOptions {
    BridgeOptions {
        recheck_interval: Duration::from_millis(20),
        ..BridgeOptions::default()
    }
}

/// What a device is told, and how its socket closes, once its row was changed.
async fn told(change: fn(&mut KeyRecord)) -> (Value, u16) {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), often()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register(&key, "laptop").await;
    within("a recheck", store.rechecked.notified()).await;
    client.is_alive().await;
    store.change_rows(change);
    let error = client.expect("device:error").await;
    (error, client.closed().await.0)
}

#[tokio::test]
async fn a_key_that_foreign_sql_changed_loses_its_session_with_the_reason() {
    let (error, close) = told(|row| row.status = askalf_bridge_auth::KeyStatus::Revoked).await;
    assert_eq!(
        (&error["code"], &error["reason"], close),
        (&json!("AUTH_FAILED"), &json!("revoked"), 4001)
    );
    let (error, close) = told(|row| row.expires_at = Some(UnixMillis(NOW))).await;
    assert_eq!((&error["reason"], close), (&json!("expired"), 4001));
    let (error, close) = told(|row| row.user_status = Some(UserStatus::Suspended)).await;
    assert_eq!(
        (&error["code"], &error["reason"], close),
        (&json!("USER_NOT_FOUND"), &json!("user_inactive"), 4001)
    );
    let (error, close) = told(|row| row.id = "gone".to_owned()).await;
    assert_eq!((&error["reason"], close), (&json!("unknown"), 4001));
    // Another user's now: the key may be good, so the device must not throw it away.
    let (error, close) = told(|row| row.user_id = Some("bob".to_owned())).await;
    assert_eq!((&error["code"], close), (&json!("INTERNAL_ERROR"), 1013));
}

#[tokio::test]
async fn a_key_revoked_past_the_bridge_ends_and_others_stay() {
    let bridge = TestBridge::with(memory_store(), often()).await;
    let [one, two] = [
        bridge.mint("ann", &["device"]).await,
        bridge.mint("ann", &["device"]).await,
    ];
    let (mut client, _) = bridge.register(&one, "laptop").await;
    let (mut bystander, _) = bridge.register(&two, "desktop").await;
    bridge
        .store
        .revoke_key(&ADMIN, &one.id, UnixMillis(NOW))
        .await
        .unwrap();
    let error = client.expect_error("AUTH_FAILED").await;
    assert_eq!(error["reason"], "revoked");
    assert_eq!(client.closed().await, (4001, "Invalid token".to_owned()));
    bystander.is_alive().await;
}

#[tokio::test]
async fn a_store_that_fails_closes_nobody() {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), often()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register(&key, "laptop").await;
    store.fail(true);
    for _ in 0..3 {
        within("a recheck that fails", store.rechecked.notified()).await;
    }
    client.is_alive().await;
    store.fail(false);
    bridge
        .store
        .revoke_key(&ADMIN, &key.id, UnixMillis(NOW))
        .await
        .unwrap();
    assert_eq!(client.expect_error("AUTH_FAILED").await["reason"], "revoked");
}

#[tokio::test]
async fn the_stream_of_an_operator_ends_with_its_key() {
    let bridge = TestBridge::start().await;
    let device = bridge.mint("ann", &["device"]).await;
    let operator = bridge.mint("ann", &["admin"]).await;
    let (mut client, _) = bridge.register(&device, "laptop").await;
    let request = http::Request::post("/api/v1/executions")
        .header("authorization", format!("Bearer {}", operator.token))
        .body(Body::from(
            json!({ "device": "laptop", "input": "true" }).to_string(),
        ))
        .unwrap();
    let router = askalf_bridge_core::router(bridge.bridge.clone(), askalf_bridge_core::Transport::Tcp);
    let response = within("the dispatch", router.oneshot(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    client.expect("task:dispatch").await;

    let (status, _) = bridge
        .call(
            "POST",
            &format!("/api/v1/keys/{}/revoke", operator.id),
            Value::Null,
        )
        .await;
    assert_eq!(status, 200);
    let lines = within("the end of the stream", response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    let events: Vec<DispatchEvent> = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert!(
        matches!(events[..], [DispatchEvent::Accepted { .. }]),
        "{events:?}"
    );
    client.is_alive().await;
}
