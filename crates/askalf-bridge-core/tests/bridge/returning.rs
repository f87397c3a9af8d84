//! Devices that come back, and those who try wrong secrets meanwhile.

use std::time::{Duration, Instant};

use askalf_bridge_auth::{BridgeSecret, KeyHash, Salt, Token, UnixMillis};
use askalf_bridge_core::BridgeOptions;
use askalf_store::{OpenOptions, SqliteStore};
use serde_json::{Value, json};

use crate::faulty_store::FaultyStore;
use crate::harness::{ADMIN, Client, NOW, SEED, TestBridge, memory_store};

fn with_secret(secret: u8) -> BridgeOptions {
    BridgeOptions {
        secret: Some(BridgeSecret::from_bytes([secret; 32].into())),
        ..BridgeOptions::default()
    }
}

/// Whether a token is let in.
async fn is_let_in(bridge: &TestBridge, token: &str) -> bool {
    bridge.try_connect(Some(token)).await.is_let_in().await
}

impl Client {
    pub(crate) async fn is_let_in(&mut self) -> bool {
        self.send("capabilities:result", json!({})).await;
        let error = self.expect("device:error").await;
        error["code"] == "NOT_REGISTERED"
    }
}

/// A token of the same prefix that differs in its last two characters.
fn wrong_secret(token: &str, n: u8) -> String {
    let (rest, last) = token.split_at(token.len() - 2);
    let pair = format!("{0}{0}", char::from(b'a' + n));
    format!("{rest}{}", if pair == last { "00".to_owned() } else { pair })
}

#[tokio::test]
async fn a_returning_device_is_known_by_its_digest_also_after_a_restart() {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), with_secret(1)).await;
    let key = bridge.mint("ann", &["device"]).await;
    store.lookups();
    assert!(is_let_in(&bridge, &key.token).await);
    assert_eq!(store.lookups(), ["digest", "prefix"]);
    bridge.stop().await;

    let bridge = TestBridge::with(store.clone(), with_secret(1)).await;
    bridge.register(&key, "laptop").await;
    assert_eq!(store.lookups(), ["digest"]);

    bridge
        .store
        .revoke_key(&ADMIN, &key.id, UnixMillis(NOW))
        .await
        .unwrap();
    let error = bridge
        .try_connect(Some(&key.token))
        .await
        .expect_error("AUTH_FAILED")
        .await;
    assert_eq!(
        error["reason"], "revoked",
        "the row itself is read with the digest"
    );
    bridge.stop().await;

    let other = TestBridge::with(store.clone(), with_secret(2)).await;
    store.lookups();
    assert!(!is_let_in(&other, &key.token).await);
    assert_eq!(
        store.lookups(),
        ["digest", "prefix", "malformed", "prefix"],
        "another secret knows no digest"
    );
}

#[tokio::test]
async fn a_digest_is_there_soon_and_without_a_secret_there_is_none() {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), with_secret(1)).await;
    let key = bridge.mint("ann", &["device"]).await;
    assert!(is_let_in(&bridge, &key.token).await);
    bridge
        .until("the digest", vec!["digest"], || async {
            store.lookups();
            assert!(is_let_in(&bridge, &key.token).await);
            store.lookups()
        })
        .await;

    let plain = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    store.lookups();
    assert!(is_let_in(&plain, &key.token).await);
    assert_eq!(store.lookups(), ["prefix"]);
}

#[tokio::test]
async fn uses_are_counted_together_and_stored_at_the_shutdown_at_the_latest() {
    let store = memory_store();
    let bridge = TestBridge::with(store.clone(), with_secret(1)).await;
    let key = bridge.mint("ann", &["device"]).await;
    for _ in 0..3 {
        assert!(is_let_in(&bridge, &key.token).await);
    }
    bridge.stop().await;
    let kept = store.key(&ADMIN, &key.id).await.unwrap();
    assert_eq!(kept.usage_count, 3);
    assert!(kept.last_used_at > Some(UnixMillis(NOW)));
}

#[tokio::test]
async fn a_key_with_a_malformed_prefix_is_found_and_then_known_by_its_digest() {
    let token = "sk_live_HandmadeHandmadeHandmadeHandmade";
    let hash = KeyHash::derive(&Token::parse(token).unwrap(), Salt::from_bytes([1; 16]));
    let seed = format!(
        "{SEED} insert into api_keys (id, tenant_id, user_id, name, key_hash, key_prefix, key_preview, scopes)
         values ('key_hand', 'acme', 'ann', 'by hand', '{hash}', 'by hand', '', '[\"device\"]');"
    );
    let store = SqliteStore::open_in_memory(&OpenOptions::new(UnixMillis(NOW)), &seed).unwrap();
    let store = FaultyStore::over(std::sync::Arc::new(store));
    let bridge = TestBridge::with(store.clone(), with_secret(1)).await;
    assert_eq!(bridge.bridge.malformed_prefixes(), 1);
    assert!(is_let_in(&bridge, token).await);
    assert_eq!(store.lookups(), ["digest", "prefix", "malformed"]);
    let stranger = "sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG";
    let error = bridge
        .try_connect(Some(stranger))
        .await
        .expect_error("AUTH_FAILED")
        .await;
    assert_eq!(error["reason"], "unknown");
    bridge.stop().await;

    let bridge = TestBridge::with(store.clone(), with_secret(1)).await;
    store.lookups();
    assert!(is_let_in(&bridge, token).await);
    assert_eq!(store.lookups(), ["digest"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_secrets_slow_their_own_address_down_and_never_the_device() {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), with_secret(1)).await;
    let key = bridge.mint("ann", &["device"]).await;
    assert!(is_let_in(&bridge, &key.token).await);
    bridge.stop().await;

    let bridge = TestBridge::with(store, with_secret(1)).await;
    for n in 0..3 {
        assert!(!is_let_in(&bridge, &wrong_secret(&key.token, n)).await);
    }
    let began = Instant::now();
    let fourth = async {
        assert!(!is_let_in(&bridge, &wrong_secret(&key.token, 4)).await);
        began.elapsed()
    };
    let others = async {
        bridge.register(&key, "laptop").await;
        let returning = began.elapsed();
        // Somebody else, whom the bridge does not know by a digest: the same prefix from another address.
        let header = ("authorization", format!("Bearer {}", wrong_secret(&key.token, 5)));
        let (mut elsewhere, _) = bridge.connect_from("127.0.0.2", "", &[header]).await;
        assert!(!elsewhere.is_let_in().await);
        (returning, began.elapsed())
    };
    let (slowed, (returning, elsewhere)) = tokio::join!(fourth, others);
    // The pause began a moment before this test looked at the clock.
    assert!(slowed > Duration::from_millis(500), "{slowed:?}");
    assert!(
        returning < slowed && elsewhere < slowed,
        "{returning:?} {elsewhere:?} {slowed:?}"
    );
}

#[tokio::test]
async fn who_tries_on_and_on_is_told_to_come_back_and_never_that_the_key_is_bad() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["admin"]).await;
    // Twenty at once: some are tried, some wait their turn in vain, and more than may wait are sent away at once.
    let outcomes = futures_util::future::join_all((0..20).map(|n| {
        let token = wrong_secret(&key.token, n);
        let bridge = &bridge;
        async move {
            let mut client = bridge.try_connect(Some(&token)).await;
            let error = client.expect("device:error").await;
            match error["reason"].as_str() {
                Some("unknown") => false,
                Some("overloaded") => {
                    assert!(error["retryAfterMs"].as_u64().unwrap() > 0, "{error}");
                    assert_eq!(client.closed().await.0, 1013);
                    true
                }
                other => panic!("told {other:?}"),
            }
        }
    }))
    .await;
    let sent_away = outcomes.iter().filter(|sent_away| **sent_away).count();
    assert!((1..=17).contains(&sent_away), "{outcomes:?}");
    let (status, _) = bridge
        .call_over_tcp(Some(&key.token), "GET", "/api/v1/devices", Value::Null)
        .await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_key_that_is_revoked_while_its_bearer_waits_for_a_turn_is_revoked() {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["device"]).await;
    for n in 0..3 {
        assert!(!is_let_in(&bridge, &wrong_secret(&key.token, n)).await);
    }
    // Its row is read while it is good, and its turn comes a second later.
    store.looked_up.close();
    let mut client = bridge.try_connect(Some(&key.token)).await;
    store.looked_up.reached().await;
    bridge
        .store
        .revoke_key(&ADMIN, &key.id, UnixMillis(NOW))
        .await
        .unwrap();
    store.looked_up.open();
    assert_eq!(client.expect_error("AUTH_FAILED").await["reason"], "revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_tokens_crowd_the_lane_of_malformed_prefixes_and_nobody_else() {
    let foreign = KeyHash::derive(&Token::parse("foreign").unwrap(), Salt::from_bytes([1; 16]));
    let rows = (0..3).map(|n| format!("('key_{n}', 'acme', 'ann', 'by hand', '{foreign}', 'by hand', '')"));
    let rows: Vec<_> = rows.collect();
    let seed = format!(
        "{SEED} insert into api_keys (id, tenant_id, user_id, name, key_hash, key_prefix, key_preview) values {};",
        rows.join(",")
    );
    let store = SqliteStore::open_in_memory(&OpenOptions::new(UnixMillis(NOW)), &seed).unwrap();
    let bridge = TestBridge::with(std::sync::Arc::new(store), with_secret(1)).await;
    let key = bridge.mint("ann", &["device"]).await;
    let strangers = futures_util::future::join_all((0..40).map(|n| {
        let bridge = &bridge;
        async move {
            let stranger = format!("sk_live_{n:032}");
            let error = bridge
                .try_connect(Some(&stranger))
                .await
                .expect("device:error")
                .await;
            error["reason"].as_str().unwrap().to_owned()
        }
    }));
    let known = async { is_let_in(&bridge, &key.token).await };
    let (reasons, known) = tokio::join!(strangers, known);
    assert!(known);
    assert!(
        reasons
            .iter()
            .all(|reason| ["unknown", "overloaded"].contains(&&**reason)),
        "{reasons:?}"
    );
    for wanted in ["unknown", "overloaded"] {
        assert!(reasons.iter().any(|reason| reason == wanted), "{reasons:?}");
    }
}
