//! Registration, replacement, reconnection, and when a device counts as gone.

use std::time::Duration;

use askalf_bridge_core::BridgeOptions;
use askalf_bridge_core::stores::DeviceStatus;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::faulty_store::FaultyStore;
use crate::harness::{ADMIN, TestBridge, memory_store, modern, old, within};

#[tokio::test]
async fn a_registration_is_answered_with_the_device_and_what_the_bridge_knows() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let mut client = bridge.try_connect(Some(&key.token)).await;
    client.send("device:register", modern("laptop", json!([]))).await;
    let registered = client.expect("device:registered").await;
    let id = registered["deviceId"].as_str().unwrap();
    assert!(id.starts_with("dev_") && id.len() == 30, "{id}");
    assert_eq!(registered["userId"], "ann");
    assert_eq!(registered["protocol"], 1);
    assert_eq!(
        registered["features"],
        json!([
            "execution-ack",
            "resume",
            "redelivery",
            "audit-anchor",
            "rotation"
        ])
    );
    assert_eq!(registered["heartbeatIntervalMs"], 30_000);
    client.expect("capabilities:scan").await;

    let (_, devices) = bridge.call("GET", "/api/v1/devices", Value::Null).await;
    assert_eq!(devices[0]["id"], id);
    assert_eq!(devices[0]["device_name"], "laptop");
    assert_eq!(devices[0]["status"], "online");
    assert_eq!(devices[0]["max_concurrent_tasks"], 2);
    assert_eq!(devices[0]["platform_capabilities"], json!({ "shell": true }));
}

#[tokio::test]
async fn a_second_registration_on_a_socket_is_refused_and_harmless() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, id) = bridge.register(&key, "laptop").await;
    client.send("device:register", modern("other", json!([]))).await;
    client.expect_error("ALREADY_REGISTERED").await;
    client.send("device:reconnect", json!({ "deviceId": id })).await;
    client.expect_error("ALREADY_REGISTERED").await;
    client.is_alive().await;
    assert_eq!(bridge.status_of(&id).await, DeviceStatus::Online);
}

#[tokio::test]
async fn the_close_of_a_replaced_socket_leaves_the_new_session_alone() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut first, id) = bridge.register(&key, "laptop").await;
    let (mut second, same) = bridge.register(&key, "laptop").await;
    assert_eq!(id, same);
    assert_eq!(
        first.closed().await,
        (4003, "Replaced by new connection".to_owned())
    );
    first.vanish();

    second.is_alive().await;
    // By now the first session has ended: the third takes its turn after it.
    let (mut third, _) = bridge.register(&key, "laptop").await;
    assert_eq!(second.closed().await.0, 4003);
    assert_eq!(bridge.status_of(&id).await, DeviceStatus::Online);
    let events = bridge.dispatch(&id, "true").await;
    assert_eq!(third.expect("task:dispatch").await["executionId"], events.id);
}

#[tokio::test]
async fn a_device_that_replaces_itself_a_hundred_times_ends_online() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut last, id) = bridge.register(&key, "laptop").await;
    for _ in 0..100 {
        let (next, _) = bridge.register(&key, "laptop").await;
        std::mem::replace(&mut last, next).vanish();
    }
    last.is_alive().await;
    assert_eq!(bridge.status_of(&id).await, DeviceStatus::Online);
    last.vanish();
    bridge
        .until("offline", DeviceStatus::Offline, || bridge.status_of(&id))
        .await;
}

#[tokio::test]
async fn a_slow_goodbye_of_the_old_session_is_not_written_over_the_new_one() {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (client, id) = bridge.register(&key, "laptop").await;
    store.offline.close();
    client.vanish();
    within("the goodbye", store.offline.reached()).await;

    let mut client = bridge.try_connect(Some(&key.token)).await;
    client.send("device:register", modern("laptop", json!([]))).await;
    let early = tokio::time::timeout(Duration::from_millis(100), client.socket.next()).await;
    assert!(early.is_err(), "it registers only after the goodbye: {early:?}");
    store.offline.open();
    client.expect("device:registered").await;
    assert_eq!(bridge.status_of(&id).await, DeviceStatus::Online);
}

#[tokio::test]
async fn a_reconnect_takes_the_device_up_and_asks_for_its_capabilities() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (client, id) = bridge.register(&key, "laptop").await;
    client.vanish();
    bridge
        .until("offline", DeviceStatus::Offline, || bridge.status_of(&id))
        .await;

    let mut client = bridge.try_connect(Some(&key.token)).await;
    client.send("device:reconnect", json!({ "deviceId": id })).await;
    assert_eq!(client.expect("device:registered").await["deviceId"], id);
    client.expect("capabilities:scan").await;
    assert_eq!(bridge.status_of(&id).await, DeviceStatus::Online);
}

#[tokio::test]
async fn a_reconnect_to_nothing_or_to_anothers_device_is_told_so_and_may_register() {
    let bridge = TestBridge::start().await;
    let [ann, bob] = [
        bridge.mint("ann", &["device"]).await,
        bridge.mint("bob", &["device"]).await,
    ];
    let (_foreign, foreign_id) = bridge.register(&bob, "desktop").await;
    let mut client = bridge.try_connect(Some(&ann.token)).await;
    client.send("device:reconnect", json!({})).await;
    client.expect_error("MISSING_DEVICE_ID").await;
    client
        .send(
            "device:reconnect",
            json!({ "deviceId": "dev_01ARZ3NDEKTSV4RRFFQ69G5FAV" }),
        )
        .await;
    client.expect_error("DEVICE_NOT_FOUND").await;
    client
        .send("device:reconnect", json!({ "deviceId": foreign_id }))
        .await;
    client.expect_error("DEVICE_NOT_FOUND").await;
    client.send("device:register", modern("laptop", json!([]))).await;
    assert_ne!(client.expect("device:registered").await["deviceId"], foreign_id);
}

#[tokio::test]
async fn a_heartbeat_with_facts_registers_and_one_without_does_not() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let mut client = bridge.try_connect(Some(&key.token)).await;
    client
        .send("device:heartbeat", json!({ "activeExecutions": 0, "load": 0 }))
        .await;
    client.expect_error("NOT_REGISTERED").await;
    let facts = json!({ "activeExecutions": 0, "load": {}, "hostname": "host", "deviceName": "laptop",
                        "capabilities": { "shell": true } });
    client.send("device:heartbeat", facts).await;
    client.expect("device:registered").await;
    client.expect("capabilities:scan").await;
    let devices = bridge.store.devices(&ADMIN, 10).await.unwrap();
    assert_eq!(devices[0].name, "laptop");
}

#[tokio::test]
async fn every_tenth_heartbeat_asks_for_the_capabilities_which_are_kept() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, id) = bridge.register_as(&key, old("laptop")).await;
    for _ in 0..10 {
        client
            .send("device:heartbeat", json!({ "activeExecutions": 0, "load": 0 }))
            .await;
    }
    assert_eq!(client.expect("capabilities:scan").await["deviceId"], id);
    client
        .send(
            "capabilities:result",
            json!({ "capabilities": { "claude": "1.2" } }),
        )
        .await;
    client.is_alive().await;
    let device = &bridge.store.find_devices(&ADMIN, &id).await.unwrap()[0];
    assert_eq!(
        Value::Object(device.capabilities.clone()),
        json!({ "claude": "1.2" })
    );
}

#[tokio::test]
async fn a_silent_device_is_closed_with_4002_and_one_that_pings_is_not() {
    let options = BridgeOptions {
        heartbeat_timeout: Duration::from_millis(300),
        ..BridgeOptions::default()
    };
    let bridge = TestBridge::with(memory_store(), options).await;
    let [one, two] = [
        bridge.mint("ann", &["device"]).await,
        bridge.mint("ann", &["device"]).await,
    ];
    let (mut silent, id) = bridge.register(&one, "silent").await;
    let (mut lively, _) = bridge.register(&two, "lively").await;
    let pings = async {
        let mut beat = tokio::time::interval(Duration::from_millis(50));
        loop {
            beat.tick().await;
            lively.send_raw(Message::Ping(Default::default())).await;
        }
    };
    tokio::select! {
        () = pings => {}
        closed = silent.closed() => assert_eq!(closed, (4002, "Heartbeat timeout".to_owned())),
    }
    bridge
        .until("offline", DeviceStatus::Offline, || bridge.status_of(&id))
        .await;
    assert_eq!(
        bridge.call("GET", "/api/v1/devices", Value::Null).await.1[0]["status"],
        "online"
    );
}

#[tokio::test]
async fn a_socket_that_never_registers_is_closed_however_lively_it_is() {
    let options = BridgeOptions {
        register_timeout: Duration::from_millis(200),
        ..BridgeOptions::default()
    };
    let bridge = TestBridge::with(memory_store(), options).await;
    let key = bridge.mint("ann", &["device"]).await;
    let mut client = bridge.try_connect(Some(&key.token)).await;
    client.send("device:pong", json!({ "ts": 1 })).await;
    assert_eq!(client.closed().await.0, 4002);
}

#[tokio::test]
async fn two_users_see_nothing_of_each_other() {
    let bridge = TestBridge::start().await;
    let [ann, gil] = [
        bridge.mint("ann", &["device"]).await,
        bridge.mint("gil", &["device"]).await,
    ];
    let [ann_op, gil_op] = [
        bridge.mint("ann", &["admin"]).await,
        bridge.mint("gil", &["admin"]).await,
    ];
    let (mut anns, ann_id) = bridge.register(&ann, "laptop").await;
    let (_gils, gil_id) = bridge.register(&gil, "laptop").await;

    let list = async |key: &str| {
        let (status, list) = bridge
            .call_over_tcp(Some(key), "GET", "/api/v1/devices", Value::Null)
            .await;
        assert_eq!(status, 200);
        list.as_array()
            .unwrap()
            .iter()
            .map(|device| device["id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(list(&ann_op.token).await, [ann_id.as_str()]);
    assert_eq!(list(&gil_op.token).await, [gil_id.as_str()]);

    // The same name is unique to each of them, and the other's id is unknown.
    let task = |device: &str| json!({ "device": device, "input": "true", "detach": true });
    let (status, execution) = bridge
        .call_over_tcp(Some(&ann_op.token), "POST", "/api/v1/executions", task("laptop"))
        .await;
    assert_eq!(status, 202, "{execution}");
    assert_eq!(execution["device_id"], ann_id.as_str());
    anns.expect("task:dispatch").await;
    let (status, error) = bridge
        .call_over_tcp(Some(&gil_op.token), "POST", "/api/v1/executions", task(&ann_id))
        .await;
    assert_eq!((status.as_u16(), &error["id"]), (404, &json!("device-unknown")));

    let path = format!("/api/v1/executions/{}", execution["id"].as_str().unwrap());
    let (status, _) = bridge
        .call_over_tcp(Some(&gil_op.token), "GET", &path, Value::Null)
        .await;
    assert_eq!(status, 404);
    let (status, _) = bridge
        .call_over_tcp(
            Some(&gil_op.token),
            "POST",
            &format!("{path}/cancel"),
            Value::Null,
        )
        .await;
    assert_eq!(status, 404);
    let (status, _) = bridge
        .call_over_tcp(
            Some(&gil_op.token),
            "POST",
            &format!("/api/v1/keys/{}/revoke", ann.id),
            Value::Null,
        )
        .await;
    assert_eq!(status, 404);
    anns.is_alive().await;
}
