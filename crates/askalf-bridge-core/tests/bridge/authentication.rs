//! Who gets in, and what those are told who do not.

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::BridgeOptions;
use serde_json::{Value, json};

use crate::faulty_store::FaultyStore;
use crate::harness::{ADMIN, Client, NOW, TestBridge, memory_store, mint, modern};

async fn refused(mut client: Client, code: &str, reason: Option<&str>, close: (u16, &str)) -> Value {
    let error = client.expect_error(code).await;
    assert_eq!(error["reason"].as_str(), reason, "{error}");
    assert_ne!(error["message"], "");
    assert_eq!(client.closed().await, (close.0, close.1.to_owned()));
    error
}

const INVALID: (u16, &str) = (4001, "Invalid token");

#[tokio::test]
async fn each_rejection_has_its_own_code_reason_and_close() {
    let bridge = TestBridge::start().await;
    refused(
        bridge.try_connect(None).await,
        "AUTH_REQUIRED",
        None,
        (4001, "Missing token"),
    )
    .await;
    refused(
        bridge.try_connect(Some("two words")).await,
        "AUTH_FAILED",
        Some("unknown"),
        INVALID,
    )
    .await;
    let stranger = "sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG";
    refused(
        bridge.try_connect(Some(stranger)).await,
        "AUTH_FAILED",
        Some("unknown"),
        INVALID,
    )
    .await;

    let key = bridge.mint("ann", &["device"]).await;
    let (rest, last) = key.token.split_at(key.token.len() - 1);
    let almost = format!("{rest}{}", if last == "x" { "y" } else { "x" });
    refused(
        bridge.try_connect(Some(&almost)).await,
        "AUTH_FAILED",
        Some("unknown"),
        INVALID,
    )
    .await;

    bridge
        .store
        .revoke_key(&ADMIN, &key.id, UnixMillis(NOW))
        .await
        .unwrap();
    refused(
        bridge.try_connect(Some(&key.token)).await,
        "AUTH_FAILED",
        Some("revoked"),
        INVALID,
    )
    .await;

    let expired = mint(&*bridge.store, "ann", &["device"], Some(UnixMillis(NOW - 1))).await;
    refused(
        bridge.try_connect(Some(&expired.token)).await,
        "AUTH_FAILED",
        Some("expired"),
        INVALID,
    )
    .await;

    let admin = bridge.mint("ann", &["admin"]).await;
    let error = refused(
        bridge.try_connect(Some(&admin.token)).await,
        "AUTH_FAILED",
        Some("scope_missing"),
        INVALID,
    );
    assert!(error.await.get("retryAfterMs").is_none());

    let suspended = bridge.mint("sue", &["device"]).await;
    let client = bridge.try_connect(Some(&suspended.token)).await;
    refused(
        client,
        "USER_NOT_FOUND",
        Some("user_inactive"),
        (4001, "User not found"),
    )
    .await;
}

#[tokio::test]
async fn a_store_that_fails_is_never_a_rejection() {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["device"]).await;
    store.fail(true);
    let client = bridge.try_connect(Some(&key.token)).await;
    let error = refused(
        client,
        "INTERNAL_ERROR",
        Some("unavailable"),
        (1013, "Try again later"),
    )
    .await;
    assert_eq!(error["retryAfterMs"], 5000);
    store.fail(false);
    bridge.register(&key, "laptop").await;
}

#[tokio::test]
async fn a_registration_that_cannot_be_stored_sends_the_device_away_for_a_while() {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let mut client = bridge.try_connect(Some(&key.token)).await;
    client.is_not_registered().await;
    store.fail(true);
    client.send("device:register", modern("laptop", json!([]))).await;
    refused(
        client,
        "INTERNAL_ERROR",
        Some("unavailable"),
        (1013, "Try again later"),
    )
    .await;
}

#[tokio::test]
async fn the_subprotocol_carries_a_token_and_is_selected() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let header = (
        "sec-websocket-protocol",
        format!("askalf-agent-bridge, {}", key.token),
    );
    let (mut client, response) = bridge.connect_with("", &[header]).await;
    assert_eq!(
        response.headers()["sec-websocket-protocol"],
        "askalf-agent-bridge"
    );
    client.is_not_registered().await;
}

#[tokio::test]
async fn a_token_in_the_url_is_taken_unless_that_is_off() {
    let store = memory_store();
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let query = format!("?token={}", key.token);
    let (mut client, _) = bridge.connect_with(&query, &[]).await;
    client.is_not_registered().await;

    let options = BridgeOptions {
        allow_query_token: false,
        ..BridgeOptions::default()
    };
    let strict = TestBridge::with(store, options).await;
    let (client, _) = strict.connect_with(&query, &[]).await;
    refused(client, "AUTH_REQUIRED", None, (4001, "Missing token")).await;
}

#[tokio::test]
async fn older_keys_get_in_unless_scopes_are_strict() {
    let store = memory_store();
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["read", "write", "execute"]).await;
    bridge.register(&key, "laptop").await;

    let options = BridgeOptions {
        strict_scopes: true,
        ..BridgeOptions::default()
    };
    let strict = TestBridge::with(store, options).await;
    let client = strict.try_connect(Some(&key.token)).await;
    refused(client, "AUTH_FAILED", Some("scope_missing"), INVALID).await;
}

#[tokio::test]
async fn frames_sent_before_the_token_is_checked_are_not_lost() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let mut client = bridge.try_connect(Some(&key.token)).await;
    client.send("device:register", modern("laptop", json!([]))).await;
    client.send("no:such", json!({})).await;
    // More than the bridge reads ahead.
    let padding = "x".repeat(40_000);
    client
        .send(
            "capabilities:result",
            json!({ "capabilities": { "note": padding } }),
        )
        .await;
    client.expect("device:registered").await;
    client.expect("capabilities:scan").await;
    client.expect_error("UNKNOWN_TYPE").await;
    client.is_alive().await;
}

#[tokio::test]
async fn a_revoked_key_ends_its_sessions_at_once() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let other = bridge.mint("ann", &["device"]).await;
    let (client, _) = bridge.register(&key, "laptop").await;
    let (mut bystander, _) = bridge.register(&other, "desktop").await;
    let (status, _) = bridge
        .call("POST", &format!("/api/v1/keys/{}/revoke", key.id), Value::Null)
        .await;
    assert_eq!(status, 200);
    refused(client, "AUTH_FAILED", Some("revoked"), INVALID).await;
    bystander.is_alive().await;
}

#[tokio::test]
async fn a_revocation_during_the_check_counts_too() {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["device"]).await;
    store.looked_up.close();
    let mut client = bridge.try_connect(Some(&key.token)).await;
    client.send("device:register", modern("laptop", json!([]))).await;
    store.looked_up.reached().await;
    let (status, _) = bridge
        .call("POST", &format!("/api/v1/keys/{}/revoke", key.id), Value::Null)
        .await;
    assert_eq!(status, 200);
    store.looked_up.open();
    refused(client, "AUTH_FAILED", Some("revoked"), INVALID).await;
    assert!(bridge.store.devices(&ADMIN, 1).await.unwrap().is_empty());
}

impl Client {
    /// Shows that the token was good: the bridge talks, and waits for a registration.
    async fn is_not_registered(&mut self) {
        self.send("capabilities:result", json!({})).await;
        self.expect_error("NOT_REGISTERED").await;
    }
}
