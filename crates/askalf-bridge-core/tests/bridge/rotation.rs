//! Rotations of a key over the connection of its device.

use std::time::Duration;

use askalf_bridge_auth::{KeyStatus, UnixMillis};
use askalf_bridge_core::BridgeOptions;
use askalf_bridge_core::api::RotationView;
use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Client, MintedTestKey, NOW, TestBridge, memory_store, modern, old};

/// What a device was offered.
struct Offer {
    rotation_id: String,
    key: MintedTestKey,
}

impl TestBridge {
    async fn rotate(&self, device: &str) -> (StatusCode, Value) {
        let path = format!("/api/v1/devices/{device}/rotate");
        self.call("POST", &path, Value::Null).await
    }

    async fn rotations(&self) -> Vec<RotationView> {
        let (_, views) = self.call("GET", "/api/v1/rotations", Value::Null).await;
        serde_json::from_value(views).unwrap()
    }

    /// States and attempts, newest first.
    async fn states(&self) -> Vec<(String, u32)> {
        let views = self.rotations().await.into_iter();
        views.map(|view| (view.state, view.attempt)).collect()
    }

    async fn offered(&self, client: &mut Client) -> Offer {
        let offer = client.expect("credential:rotate").await;
        let token = offer["key"].as_str().unwrap().to_owned();
        assert_eq!(offer["keyPrefix"], token[..12]);
        let rotation_id = offer["rotationId"].as_str().unwrap().to_owned();
        let view = self.rotations().await.into_iter();
        let view = view.into_iter().find(|view| view.id == rotation_id).unwrap();
        Offer {
            rotation_id,
            key: MintedTestKey {
                id: view.new_key_id,
                token,
            },
        }
    }

    async fn key_status(&self, key: &MintedTestKey) -> KeyStatus {
        self.store.key(&ADMIN, &key.id).await.unwrap().status
    }

    /// A second connection with the new key, which proves it.
    async fn prove(&self, offer: &Offer) -> Client {
        let mut proof = self.try_connect(Some(&offer.key.token)).await;
        proof
            .send("credential:prove", json!({ "rotationId": offer.rotation_id }))
            .await;
        let committed = proof.expect("credential:committed").await;
        assert_eq!(committed["rotationId"], offer.rotation_id.as_str());
        proof
    }
}

#[tokio::test]
async fn a_key_is_rotated_beside_its_session_and_the_old_one_ends_at_the_confirmation() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, device) = bridge.register(&key, "laptop").await;
    let (status, view) = bridge.rotate("laptop").await;
    assert_eq!(
        (status, &view["state"]),
        (StatusCode::ACCEPTED, &json!("staged")),
        "{view}"
    );
    assert!(view.get("key").is_none(), "nobody sees it: {view}");
    let offer = bridge.offered(&mut client).await;
    let (status, error) = bridge.rotate("laptop").await;
    assert_eq!(
        (status, &error["id"]),
        (StatusCode::CONFLICT, &json!("rotation-under-way")),
        "{error}"
    );
    client
        .send("credential:staged", json!({ "rotationId": offer.rotation_id }))
        .await;
    client.is_alive().await;
    assert!(bridge.rotations().await[0].stored_at.is_some());

    // The proof takes nobody's place and makes no device.
    let proof = bridge.prove(&offer).await;
    client.is_alive().await;
    assert_eq!(bridge.states().await, [("committed".to_owned(), 1)]);
    assert_eq!(bridge.store.devices(&ADMIN, 10).await.unwrap().len(), 1);
    proof.vanish();
    assert_eq!(bridge.key_status(&key).await, KeyStatus::Active);
    client
        .send("device:heartbeat", json!({ "activeExecutions": 0 }))
        .await;
    client.is_alive().await;

    let (mut back, again) = bridge.register(&offer.key, "laptop").await;
    assert_eq!(again, device);
    let committed = back.expect("credential:committed").await;
    assert_eq!(committed["rotationId"], offer.rotation_id.as_str());
    assert_eq!(client.closed().await.0, 4003, "replaced, not revoked");
    assert_eq!(
        bridge.key_status(&key).await,
        KeyStatus::Active,
        "until it is confirmed"
    );
    back.send("credential:promoted", json!({ "rotationId": offer.rotation_id }))
        .await;
    back.is_alive().await;
    assert_eq!(bridge.states().await, [("confirmed".to_owned(), 1)]);
    assert_eq!(bridge.key_status(&key).await, KeyStatus::Revoked);
    let mut late = bridge.try_connect(Some(&key.token)).await;
    assert_eq!(late.expect_error("AUTH_FAILED").await["reason"], "revoked");
}

#[tokio::test]
async fn a_device_that_is_away_or_too_old_is_refused() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, device) = bridge.register_as(&key, old("laptop")).await;
    let (status, error) = bridge.rotate("laptop").await;
    assert_eq!(
        (status, &error["id"]),
        (StatusCode::CONFLICT, &json!("rotation-not-supported")),
        "{error}"
    );
    client.is_alive().await;
    client.vanish();
    bridge
        .until(
            "the device to be gone",
            askalf_bridge_core::stores::DeviceStatus::Offline,
            || bridge.status_of(&device),
        )
        .await;
    let (status, error) = bridge.rotate("laptop").await;
    assert_eq!(
        (status, &error["id"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("device-offline")),
        "{error}"
    );
    assert_eq!(bridge.rotate("desktop").await.0, StatusCode::NOT_FOUND);
    assert!(bridge.rotations().await.is_empty());
    assert_eq!(
        bridge.store.keys(&ADMIN, 10).await.unwrap().len(),
        1,
        "no key was left"
    );
}

#[tokio::test]
async fn a_lost_message_costs_its_key_and_another_is_made_a_bounded_number_of_times() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (client, device) = bridge.register(&key, "laptop").await;
    bridge.rotate("laptop").await;
    client.vanish();
    let (mut client, again) = bridge.register(&key, "laptop").await;
    assert_eq!(again, device);
    let second = bridge.offered(&mut client).await;
    assert_eq!(
        bridge.states().await,
        [("staged".to_owned(), 2), ("dropped".to_owned(), 1)]
    );
    client.vanish();
    let (mut client, _) = bridge.register(&key, "laptop").await;
    let third = bridge.offered(&mut client).await;
    assert_eq!(bridge.key_status(&second.key).await, KeyStatus::Revoked);
    client.vanish();
    let (mut client, _) = bridge.register(&key, "laptop").await;
    client.is_alive().await;
    assert_eq!(bridge.key_status(&third.key).await, KeyStatus::Revoked);
    let states = bridge.states().await;
    assert_eq!(states.len(), 3, "{states:?}");
    assert!(states.iter().all(|(state, _)| state == "dropped"), "{states:?}");
    let mut lost = bridge.try_connect(Some(&third.key.token)).await;
    assert_eq!(lost.expect_error("AUTH_FAILED").await["reason"], "revoked");
}

#[tokio::test]
async fn a_device_that_was_cut_off_comes_back_with_either_key_as_itself() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, device) = bridge.register(&key, "laptop").await;
    bridge.rotate("laptop").await;
    let offer = bridge.offered(&mut client).await;
    client.vanish();
    // It was staged on the disk, and is tried first: the registration is the proof.
    let (mut client, again) = bridge.register(&offer.key, "laptop").await;
    assert_eq!(again, device);
    client.expect("credential:committed").await;
    client.vanish();
    // The disk was brought back to what it was before.
    let (mut client, again) = bridge.register(&key, "laptop").await;
    assert_eq!(again, device);
    client.is_alive().await;
    assert_eq!(bridge.states().await, [("committed".to_owned(), 1)]);
    assert_eq!(
        bridge.rotate("laptop").await.0,
        StatusCode::ACCEPTED,
        "and it may be rotated again"
    );
}

#[tokio::test]
async fn a_device_says_why_it_does_not_take_a_key() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register(&key, "laptop").await;
    bridge.rotate("laptop").await;
    let offer = bridge.offered(&mut client).await;
    let failed = json!({ "rotationId": offer.rotation_id, "reason": "the disk\nis full" });
    client.send("credential:failed", failed).await;
    client.is_alive().await;
    let view = bridge.rotations().await.remove(0);
    assert_eq!(
        (view.state.as_str(), view.reason.as_deref()),
        ("failed", Some("the disk is full"))
    );
    assert_eq!(bridge.key_status(&offer.key).await, KeyStatus::Revoked);
    client
        .send("credential:promoted", json!({ "rotationId": offer.rotation_id }))
        .await;
    client.is_alive().await;
    assert_eq!(bridge.key_status(&key).await, KeyStatus::Active);
}

#[tokio::test]
async fn a_proof_with_another_key_commits_nothing() {
    let bridge = TestBridge::start().await;
    let [key, other] = [
        bridge.mint("ann", &["device"]).await,
        bridge.mint("bob", &["device"]).await,
    ];
    let (mut client, _) = bridge.register(&key, "laptop").await;
    bridge.rotate("laptop").await;
    let offer = bridge.offered(&mut client).await;
    for key in [&key, &other] {
        let mut proof = bridge.try_connect(Some(&key.token)).await;
        proof
            .send("credential:prove", json!({ "rotationId": offer.rotation_id }))
            .await;
        proof.expect_error("INTERNAL_ERROR").await;
    }
    let mut early = bridge.try_connect(Some(&key.token)).await;
    early
        .send("credential:promoted", json!({ "rotationId": offer.rotation_id }))
        .await;
    early.expect_error("NOT_REGISTERED").await;
    assert_eq!(bridge.states().await, [("staged".to_owned(), 1)]);
    client.is_alive().await;
}

#[tokio::test]
async fn a_rotation_without_an_answer_is_given_up() {
    let options = BridgeOptions {
        rotation_timeout: Duration::ZERO,
        rotation_round: Duration::from_millis(10),
        ..BridgeOptions::default()
    };
    let bridge = TestBridge::with(memory_store(), options).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register(&key, "laptop").await;
    bridge.rotate("laptop").await;
    let offer = bridge.offered(&mut client).await;
    let given_up = [("dropped".to_owned(), 1)];
    bridge
        .until("the rotation to be given up", given_up.to_vec(), || {
            bridge.states()
        })
        .await;
    assert_eq!(bridge.key_status(&offer.key).await, KeyStatus::Revoked);
    client.is_alive().await;
}

#[tokio::test]
async fn keys_that_are_as_old_as_the_policy_allows_are_rotated() {
    let day = Duration::from_secs(24 * 60 * 60);
    let options = BridgeOptions {
        rotate_every: Some(day),
        rotation_round: Duration::from_millis(10),
        ..BridgeOptions::default()
    };
    let store = memory_store();
    let bridge = TestBridge::with(store.clone(), options).await;
    let young = bridge.mint("ann", &["device"]).await;
    let old_age = mint_at(&*store, "ann", UnixMillis(NOW - 2 * 86_400_000)).await;
    let (mut young, _) = bridge.register(&young, "young").await;
    let (mut aged, device) = bridge.register_as(&old_age, modern("aged", json!([]))).await;
    let offer = bridge.offered(&mut aged).await;
    assert_eq!(bridge.rotations().await[0].device_id, device);
    assert_eq!(bridge.rotations().await[0].by, "the bridge");
    let failed = json!({ "rotationId": offer.rotation_id, "reason": "the disk is full" });
    aged.send("credential:failed", failed).await;
    // Not again at once.
    aged.is_alive().await;
    young.is_alive().await;
    assert_eq!(bridge.states().await, [("failed".to_owned(), 1)]);
}

async fn mint_at(store: &dyn askalf_bridge_core::stores::Store, user: &str, at: UnixMillis) -> MintedTestKey {
    let key = askalf_bridge_auth::mint_key().unwrap();
    let row = askalf_bridge_core::stores::NewKey {
        id: "key_aged".to_owned(),
        user_id: Some(user.to_owned()),
        name: "aged".to_owned(),
        hash: key.hash,
        prefix: key.prefix,
        preview: key.preview,
        scopes: askalf_bridge_auth::Scopes::parse(["device"]),
        device_id: None,
        expires_at: None,
        created_at: at,
    };
    store.add_key(&ADMIN, row).await.unwrap();
    MintedTestKey {
        id: "key_aged".to_owned(),
        token: key.token.expose_secret().to_owned(),
    }
}
