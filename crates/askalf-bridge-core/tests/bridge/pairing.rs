//! Pairing codes over the API.

use std::net::IpAddr;
use std::sync::Arc;

use askalf_bridge_auth::{BridgeSecret, PairCode, UnixMillis};
use askalf_bridge_core::stores::KeyUse;
use askalf_bridge_core::{BridgeOptions, PeerAddr, Transport, TransportSecurity, router};
use axum::Extension;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::faulty_store::FaultyStore;
use crate::harness::{ADMIN, NOW, TestBridge, call, memory_store};

const NONCE: &str = "000102030405060708090a0b0c0d0e0f";
const OTHER_NONCE: &str = "ff0102030405060708090a0b0c0d0e0f";

fn options() -> BridgeOptions {
    BridgeOptions {
        secret: Some(BridgeSecret::from_bytes(Zeroizing::new([7; 32]))),
        ..BridgeOptions::default()
    }
}

async fn bridge() -> TestBridge {
    TestBridge::with(memory_store(), options()).await
}

/// The code and the rest of what was made.
async fn made(bridge: &TestBridge, body: Value) -> (String, Value) {
    let (status, made) = bridge.call("POST", "/api/v1/pair-codes", body).await;
    assert_eq!(status, 201, "{made}");
    (made["code"].as_str().unwrap().to_owned(), made)
}

async fn pair_from(
    bridge: &TestBridge,
    security: TransportSecurity,
    address: &str,
    code: &str,
    nonce: &str,
) -> (u16, Value) {
    let address: IpAddr = address.parse().unwrap();
    let router = router(bridge.bridge.clone(), Transport::Tcp)
        .layer(Extension(security))
        .layer(Extension(PeerAddr(address)));
    let body = json!({ "code": code, "nonce": nonce, "deviceName": "laptop" });
    let (status, answer) = call(router, None, "POST", "/api/v1/pair", body).await;
    (status.as_u16(), answer)
}

async fn pair(bridge: &TestBridge, code: &str, nonce: &str) -> (u16, Value) {
    pair_from(bridge, TransportSecurity::Tls, "192.0.2.7", code, nonce).await
}

fn id(answer: &Value) -> &str {
    answer["id"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_code_gives_a_device_its_key_and_gives_it_again_when_the_answer_was_lost() {
    let bridge = bridge().await;
    let (code, made) = made(&bridge, json!({ "name": "lab", "user": "ann" })).await;
    assert!(
        made["expires_at"]
            .as_str()
            .unwrap()
            .starts_with("2026-11-24T07:43:0")
    );
    let (status, paired) = pair(&bridge, &code.to_lowercase().replace('-', " "), NONCE).await;
    assert_eq!(status, 200, "{paired}");
    let key = paired["key"].as_str().unwrap();
    assert_eq!(paired, json!({ "key": key, "name": "lab" }));
    assert_eq!(pair(&bridge, &code, NONCE).await, (200, paired.clone()));
    // Whoever else has the code comes too late.
    let (status, refused) = pair(&bridge, &code, OTHER_NONCE).await;
    assert_eq!((status, id(&refused)), (404, "pair-code-unknown"));

    let (_, keys) = bridge.call("GET", "/api/v1/keys", Value::Null).await;
    assert_eq!(keys.as_array().unwrap().len(), 1);
    assert_eq!(
        (&keys[0]["user_id"], &keys[0]["scopes"]),
        (&json!("ann"), &json!(["device"]))
    );
    let mut client = bridge.try_connect(Some(key)).await;
    client
        .send("device:register", json!({ "deviceName": "laptop" }))
        .await;
    client.expect("device:registered").await;
    let used = KeyUse {
        key_id: keys[0]["id"].as_str().unwrap().to_owned(),
        count: 1,
        last_used_at: UnixMillis(NOW),
    };
    bridge.store.count_uses(&[used]).await.unwrap();
    // A device that died between the proof of its key and its save asks once more.
    assert_eq!(pair(&bridge, &code, NONCE).await, (200, paired.clone()));
    let (status, refused) = pair(&bridge, &code, OTHER_NONCE).await;
    assert_eq!((status, id(&refused)), (404, "pair-code-unknown"));
}

#[tokio::test]
async fn a_device_that_is_paired_anew_keeps_its_id_and_the_old_key_goes() {
    let bridge = bridge().await;
    let old = bridge.mint("ann", &["device"]).await;
    let (client, device) = bridge.register(&old, "laptop").await;
    client.vanish();
    let (code, made) = made(&bridge, json!({ "name": "lab", "device": "laptop" })).await;
    assert_eq!(
        (&made["device_id"], &made["user_id"]),
        (&json!(device), &json!("ann"))
    );
    let (_, paired) = pair(&bridge, &code, NONCE).await;
    assert_eq!(paired["deviceId"], device);
    // Until the new key comes the old one is good.
    bridge.try_connect(Some(&old.token)).await.is_alive().await;
    let mut client = bridge.try_connect(paired["key"].as_str()).await;
    client
        .send("device:register", json!({ "deviceName": "laptop" }))
        .await;
    assert_eq!(client.expect("device:registered").await["deviceId"], device);
    bridge
        .try_connect(Some(&old.token))
        .await
        .expect_error("AUTH_FAILED")
        .await;
}

#[tokio::test]
async fn a_code_is_not_exchanged_where_the_network_can_read_it() {
    let bridge = bridge().await;
    let (code, _) = made(&bridge, json!({ "name": "lab", "user": "ann" })).await;
    let (status, refused) = pair_from(&bridge, TransportSecurity::Plain, "192.0.2.7", &code, NONCE).await;
    assert_eq!((status, id(&refused)), (403, "insecure-transport"));
    for security in [
        TransportSecurity::Loopback,
        TransportSecurity::LocalSocket,
        TransportSecurity::Tls,
    ] {
        assert_eq!(
            pair_from(&bridge, security, "127.0.0.1", &code, NONCE).await.0,
            200
        );
    }
    let behind_proxy = BridgeOptions {
        plain_pairing: true,
        ..options()
    };
    let bridge = TestBridge::with(Arc::clone(&bridge.store), behind_proxy).await;
    assert_eq!(
        pair_from(&bridge, TransportSecurity::Plain, "192.0.2.7", &code, NONCE)
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn wrong_codes_have_a_budget_that_good_ones_and_faults_do_not_touch() {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), options()).await;
    let (code, _) = made(&bridge, json!({ "name": "lab", "user": "ann" })).await;
    for mistyped in ["", "0000-0000-0000", "K7QM", &format!("{code}0")] {
        let (status, refused) = pair(&bridge, mistyped, NONCE).await;
        assert_eq!(status, 400);
        assert!(id(&refused).starts_with("pair-code-"), "{refused}");
    }
    let (status, refused) = pair(&bridge, &code, "no nonce").await;
    assert_eq!((status, id(&refused)), (400, "pair-nonce"));

    store.fail(true);
    for _ in 0..20 {
        assert_eq!(pair(&bridge, &code, NONCE).await.0, 503);
    }
    store.fail(false);
    for _ in 0..20 {
        assert_eq!(pair(&bridge, &code, NONCE).await.0, 200);
    }
    for _ in 0..10 {
        let wrong = PairCode::mint().unwrap().to_string();
        assert_eq!(pair(&bridge, &wrong, NONCE).await.0, 404);
    }
    let (status, refused) = pair(&bridge, &code, NONCE).await;
    assert_eq!((status, id(&refused)), (429, "too-many-pair-codes"));
    assert_eq!(
        refused["message"],
        "too many wrong pairing codes came from 192.0.2.7"
    );
    // Another address is not held up.
    assert_eq!(
        pair_from(&bridge, TransportSecurity::Tls, "192.0.2.8", &code, NONCE)
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn codes_are_listed_without_themselves_and_withdrawn() {
    let bridge = bridge().await;
    let (code, made_first) = made(&bridge, json!({ "name": "lab", "user": "ann" })).await;
    made(
        &bridge,
        json!({ "name": "other", "user": "gil", "ttl_seconds": 86_400 }),
    )
    .await;
    let (_, listed) = bridge.call("GET", "/api/v1/pair-codes", Value::Null).await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains(&code));
    let id_of = made_first["id"].as_str().unwrap();
    let path = format!("/api/v1/pair-codes/{id_of}/withdraw");
    let admin = bridge.mint("gil", &["admin"]).await;
    let (status, _) = bridge
        .call_over_tcp(Some(&admin.token), "POST", &path, Value::Null)
        .await;
    assert_eq!(status, 404, "not its user's");
    let (_, own) = bridge
        .call_over_tcp(Some(&admin.token), "GET", "/api/v1/pair-codes", Value::Null)
        .await;
    assert_eq!(own[0]["name"], "other");
    let now = UnixMillis(NOW);
    bridge.store.withdraw_pair_code(&ADMIN, id_of, now).await.unwrap();
    assert_eq!(pair(&bridge, &code, NONCE).await.0, 404);
    for ttl in [0, 59, 86_401] {
        let body = json!({ "name": "x", "user": "ann", "ttl_seconds": ttl });
        assert_eq!(bridge.call("POST", "/api/v1/pair-codes", body).await.0, 400);
    }
}

#[tokio::test]
async fn a_bridge_without_a_secret_says_so() {
    let bridge = TestBridge::start().await;
    let (status, refused) = bridge
        .call(
            "POST",
            "/api/v1/pair-codes",
            json!({ "name": "lab", "user": "ann" }),
        )
        .await;
    assert_eq!((status.as_u16(), id(&refused)), (503, "pairing-off"));
    let (status, refused) = pair(&bridge, "0000-0000-0000", NONCE).await;
    assert_eq!((status, id(&refused)), (503, "pairing-off"));
}
