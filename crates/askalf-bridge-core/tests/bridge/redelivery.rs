//! Tasks that their device may not have got, and how each of them ends once all the same.

use std::time::Duration;

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::BridgeOptions;
use askalf_bridge_core::api::DispatchEvent;
use askalf_bridge_core::stores::{DeviceStatus, NewExecution, Store, TaskTerms};
use serde_json::{Value, json};

use crate::faulty_store::FaultyStore;
use crate::harness::{ADMIN, Client, MintedTestKey, NOW, TestBridge, durable, memory_store, modern, within};

async fn come(bridge: &TestBridge, key: &MintedTestKey, held: Value) -> Client {
    bridge.register_as(key, durable("laptop", held)).await.0
}

async fn run(client: &mut Client, id: &str, output: &str) {
    client
        .send("execution:accepted", json!({ "executionId": id }))
        .await;
    client
        .send(
            "execution:complete",
            json!({ "executionId": id, "output": output }),
        )
        .await;
    assert_eq!(client.expect("execution:ack").await["executionId"], id);
}

/// Puts a row there as a bridge leaves it that is killed between its commit and its frame.
async fn leave_behind(store: &dyn Store, id: &str, device_id: &str, terms: TaskTerms, at: i64) {
    let row = NewExecution {
        id: id.to_owned(),
        device_id: device_id.to_owned(),
        executor: "claude".to_owned(),
        input: format!("do {id}"),
        terms,
        created_at: UnixMillis(at),
    };
    store.add_execution(&ADMIN, row).await.unwrap();
}

#[tokio::test]
async fn a_task_whose_dispatch_was_lost_is_sent_again_and_ends_once() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let mut client = come(&bridge, &key, json!([])).await;
    let events = bridge.dispatch("laptop", "echo hi").await;
    let first = client.expect("task:dispatch").await;
    client.vanish();

    let mut client = come(&bridge, &key, json!([])).await;
    assert_eq!(client.expect("task:dispatch").await, first, "word for word");
    run(&mut client, &events.id, "hi").await;
    let ended = events.ended().await;
    assert_eq!(
        (ended.status.as_str(), ended.output.as_deref()),
        ("completed", Some("hi"))
    );
}

#[tokio::test]
async fn a_killed_bridge_sends_what_it_had_committed_when_the_device_comes_back() {
    let store = memory_store();
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (_client, device_id) = bridge.register_as(&key, durable("laptop", json!([]))).await;
    bridge.kill();
    let terms = TaskTerms {
        timeout_ms: Some(5000),
        working_directory: Some("/srv".to_owned()),
        max_turns: Some(3),
        max_budget: Some(0.5),
        had_credentials: false,
    };
    leave_behind(&*store, "exec_1", &device_id, terms, NOW).await;

    let bridge = TestBridge::with(store, BridgeOptions::default()).await;
    let mut client = come(&bridge, &key, json!([])).await;
    let task = client.expect("task:dispatch").await;
    let expected = json!({
        "executionId": "exec_1", "agentId": "askalf-dispatch", "agentName": "askalf-dispatch", "input": "do exec_1",
        "maxTurns": 3, "maxBudget": 0.5, "mode": "claude", "executor": "claude", "timeoutMs": 5000,
        "workingDirectory": "/srv",
    });
    assert_eq!(task, expected);
    run(&mut client, "exec_1", "done").await;
    assert_eq!(bridge.execution("exec_1").await.status, "completed");
}

#[tokio::test]
async fn what_the_device_says_it_holds_is_believed() {
    let store = memory_store();
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let mut client = come(&bridge, &key, json!([])).await;
    let ids: Vec<String> = {
        let mut ids = Vec::new();
        for input in ["queued", "running", "ended", "lost"] {
            ids.push(bridge.dispatch("laptop", input).await.id);
            client.expect("task:dispatch").await;
        }
        ids
    };
    client.vanish();
    let bridge = {
        bridge.kill();
        TestBridge::with(store, BridgeOptions::default()).await
    };
    let held = json!([
        { "executionId": ids[0], "state": "queued" },
        { "executionId": ids[1], "state": "running" },
        { "executionId": ids[2], "state": "ended" },
    ]);
    let mut client = come(&bridge, &key, held).await;
    assert_eq!(
        client.expect("task:dispatch").await["executionId"],
        ids[3],
        "and no other"
    );
    for id in &ids {
        run(&mut client, id, "done").await;
        assert_eq!(bridge.execution(id).await.status, "completed");
    }
    client.is_alive().await;
}

#[tokio::test]
async fn what_had_begun_is_never_sent_again() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let mut client = come(&bridge, &key, json!([])).await;
    let mut events = bridge.dispatch("laptop", "sleep 99").await;
    client.expect("task:dispatch").await;
    client
        .send("execution:accepted", json!({ "executionId": events.id }))
        .await;
    assert_eq!(events.next().await, Some(DispatchEvent::Running));
    client.vanish();

    let mut client = come(&bridge, &key, json!([])).await;
    let ended = events.ended().await;
    assert_eq!(
        (ended.status.as_str(), ended.cause.as_deref()),
        ("failed", Some("interrupted"))
    );
    assert_eq!(client.expect("task:cancel").await["executionId"], ended.id);
    client.is_alive().await;
}

#[tokio::test]
async fn a_device_that_remembers_nothing_gets_nothing_again() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register(&key, "laptop").await;
    let events = bridge.dispatch("laptop", "true").await;
    client.expect("task:dispatch").await;
    client.vanish();
    let (mut client, _) = bridge.register_as(&key, modern("laptop", json!([]))).await;
    let ended = events.ended().await;
    assert_eq!(
        ended.error.as_deref(),
        Some("interrupted: its device came back without it")
    );
    assert_eq!(client.expect("task:cancel").await["executionId"], ended.id);
    client.is_alive().await;
}

#[tokio::test]
async fn what_cannot_or_must_not_be_sent_again_ends_and_says_why() {
    let store = memory_store();
    let options = BridgeOptions {
        redelivery_limit: Duration::from_secs(60),
        ..BridgeOptions::default()
    };
    let bridge = TestBridge::with(store.clone(), options.clone()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (_client, device_id) = bridge.register_as(&key, durable("laptop", json!([]))).await;
    bridge.kill();
    let with_credentials = TaskTerms {
        had_credentials: true,
        ..TaskTerms::default()
    };
    leave_behind(&*store, "exec_secret", &device_id, with_credentials, NOW).await;
    leave_behind(
        &*store,
        "exec_old",
        &device_id,
        TaskTerms::default(),
        NOW - 120_000,
    )
    .await;
    leave_behind(
        &*store,
        "exec_new",
        &device_id,
        TaskTerms::default(),
        NOW - 30_000,
    )
    .await;

    let bridge = TestBridge::with(store, options).await;
    let mut client = come(&bridge, &key, json!([])).await;
    let mut sent = Vec::new();
    let mut cancelled = Vec::new();
    for _ in 0..3 {
        let (kind, payload) = client.next().await;
        let id = payload["executionId"].as_str().unwrap().to_owned();
        match kind.as_str() {
            "task:dispatch" => sent.push(id),
            "task:cancel" => cancelled.push(id),
            other => panic!("{other}"),
        }
    }
    cancelled.sort();
    assert_eq!(sent, ["exec_new"]);
    assert_eq!(cancelled, ["exec_old", "exec_secret"]);
    let why = async |id| {
        let execution = bridge.execution(id).await;
        (
            execution.status,
            execution.cause.unwrap(),
            execution.error.unwrap(),
        )
    };
    let failed = |cause: &str, error: &str| ("failed".to_owned(), cause.to_owned(), error.to_owned());
    assert_eq!(
        why("exec_secret").await,
        failed(
            "interrupted",
            "interrupted: its device came back without it, and the credentials that went with it are not kept to send it \
             again"
        )
    );
    assert_eq!(
        why("exec_old").await,
        failed("expired", "expired: its device did not get it within 60 s")
    );
    client.is_alive().await;
}

#[tokio::test]
async fn more_tasks_than_the_queue_of_a_session_holds_are_all_sent_again() {
    let store = memory_store();
    let options = BridgeOptions {
        outgoing_frames: 4,
        outgoing_bytes: 16 * 1024,
        ..BridgeOptions::default()
    };
    let bridge = TestBridge::with(store.clone(), options.clone()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (_client, device_id) = bridge.register_as(&key, durable("laptop", json!([]))).await;
    bridge.kill();
    for number in 0..100 {
        let row = NewExecution {
            id: format!("exec_{number:03}"),
            device_id: device_id.clone(),
            executor: "shell".to_owned(),
            input: "x".repeat(6000),
            terms: TaskTerms::default(),
            created_at: UnixMillis(NOW + number),
        };
        store.add_execution(&ADMIN, row).await.unwrap();
    }
    let bridge = TestBridge::with(store, options).await;
    let mut client = come(&bridge, &key, json!([])).await;
    let mut sent = Vec::new();
    for _ in 0..100 {
        let task = client.expect("task:dispatch").await;
        sent.push(task["executionId"].as_str().unwrap().to_owned());
    }
    let all: Vec<_> = (0..100).map(|number| format!("exec_{number:03}")).collect();
    assert_eq!(sent, all, "each once, in their order");
    client.is_alive().await;
}

#[tokio::test]
async fn a_task_that_was_committed_as_its_session_ended_reaches_the_next_one() {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (old, device_id) = bridge.register_as(&key, durable("laptop", json!([]))).await;
    store.added.close();
    let dispatching = bridge.dispatch("laptop", "true");
    let session_ends = async {
        within("the row", store.added.reached()).await;
        // The next session is asked what it holds while the dispatch has not gone on: it holds nothing, and the row is open.
        old.vanish();
        bridge
            .until("offline", DeviceStatus::Offline, || bridge.status_of(&device_id))
            .await;
        store.listing.close();
        let client = come(&bridge, &key, json!([])).await;
        within("the settling", store.listing.reached()).await;
        store.added.open();
        client
    };
    let (events, mut client) = tokio::join!(dispatching, session_ends);
    store.listing.open();
    assert_eq!(client.expect("task:dispatch").await["executionId"], events.id);
    run(&mut client, &events.id, "once").await;
    assert_eq!(events.ended().await.status, "completed");
    client.is_alive().await;
}

#[tokio::test]
async fn a_task_whose_device_stays_away_ends_after_the_grace() {
    let options = BridgeOptions {
        interrupted_grace: Duration::from_millis(200),
        ..BridgeOptions::default()
    };
    let store = memory_store();
    let bridge = TestBridge::with(store.clone(), options.clone()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (_client, device_id) = bridge.register_as(&key, durable("laptop", json!([]))).await;
    bridge.kill();
    leave_behind(&*store, "exec_1", &device_id, TaskTerms::default(), NOW).await;
    let bridge = TestBridge::with(store, options).await;
    bridge
        .until("its end", Some("interrupted".to_owned()), || async {
            bridge.execution("exec_1").await.cause
        })
        .await;
    let mut client = come(&bridge, &key, json!([])).await;
    client.is_alive().await;
}

#[tokio::test]
async fn a_pending_task_is_cancelled_for_good() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let mut client = come(&bridge, &key, json!([])).await;
    let events = bridge.dispatch("laptop", "true").await;
    let id = events.id.clone();
    client.expect("task:dispatch").await;
    let cancel = format!("/api/v1/executions/{id}/cancel");
    let (status, view) = bridge.call("POST", &cancel, Value::Null).await;
    assert_eq!(
        (status.as_u16(), view["status"].as_str()),
        (202, Some("cancelled"))
    );
    assert_eq!(events.ended().await.status, "cancelled");
    let (status, _) = bridge.call("POST", &cancel, Value::Null).await;
    assert_eq!(status, 409);
    // The device may never hear of it: it is not sent again all the same.
    client.vanish();
    let mut client = come(&bridge, &key, json!([])).await;
    client.is_alive().await;
    // Or it had begun: it is told, and what it says of its end changes nothing.
    client
        .send("execution:accepted", json!({ "executionId": id }))
        .await;
    assert_eq!(client.expect("task:cancel").await["executionId"], id);
    client
        .send(
            "execution:complete",
            json!({ "executionId": id, "output": "late" }),
        )
        .await;
    client.expect("execution:ack").await;
    let row = bridge.execution(&id).await;
    assert_eq!((row.status.as_str(), row.output), ("cancelled", None));
}

#[tokio::test]
async fn a_cancel_that_the_device_did_not_hear_is_told_again_also_by_the_next_bridge() {
    let store = memory_store();
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let mut client = come(&bridge, &key, json!([])).await;
    let [kept, lost] = [
        bridge.dispatch("laptop", "sleep 99").await.id,
        bridge.dispatch("laptop", "sleep 99").await.id,
    ];
    for id in [&kept, &lost] {
        client.expect("task:dispatch").await;
        client
            .send("execution:accepted", json!({ "executionId": id }))
            .await;
        bridge
            .until("its start", "running".to_owned(), async || {
                bridge.execution(id).await.status
            })
            .await;
        let cancel = format!("/api/v1/executions/{id}/cancel");
        assert_eq!(bridge.call("POST", &cancel, Value::Null).await.0, 202);
    }
    let (_, acts) = bridge.call("GET", "/api/v1/acts?limit=1", Value::Null).await;
    assert_eq!(
        (&acts[0]["what"], &acts[0]["subject"]),
        (&json!("execution.cancel"), &json!(lost))
    );
    client.vanish();
    bridge.kill();

    let bridge = TestBridge::with(store, BridgeOptions::default()).await;
    let held = json!([{ "executionId": kept, "state": "running" }]);
    let mut client = come(&bridge, &key, held).await;
    let mut told = [
        client.expect("task:cancel").await,
        client.expect("task:cancel").await,
    ]
    .map(|cancel| cancel["executionId"].as_str().unwrap().to_owned());
    told.sort();
    let mut both = [kept.clone(), lost.clone()];
    both.sort();
    assert_eq!(told, both);
    let row = bridge.execution(&lost).await;
    assert_eq!(
        (row.status.as_str(), row.cause.as_deref()),
        ("cancelled", Some("cancelled"))
    );
    let failed = json!({ "executionId": kept, "error": "cancelled", "cause": "cancelled" });
    client.send("execution:failed", failed).await;
    client.expect("execution:ack").await;
    assert_eq!(bridge.execution(&kept).await.status, "cancelled");
}

#[tokio::test]
async fn a_store_that_fails_at_the_return_delays_a_task_and_loses_none() {
    let store = FaultyStore::over(memory_store());
    let options = BridgeOptions {
        interrupted_grace: Duration::from_millis(300),
        ..BridgeOptions::default()
    };
    let bridge = TestBridge::with(store.clone(), options).await;
    let key = bridge.mint("ann", &["device"]).await;
    let mut client = come(&bridge, &key, json!([])).await;
    let events = bridge.dispatch("laptop", "true").await;
    client.expect("task:dispatch").await;
    client.vanish();
    store.listing.close();
    let mut client = come(&bridge, &key, json!([])).await;
    within("the settling", store.listing.reached()).await;
    store.fail(true);
    store.listing.open();
    within("a refused listing", store.listing_refused.notified()).await;
    store.fail(false);
    assert_eq!(client.expect("task:dispatch").await["executionId"], events.id);
    run(&mut client, &events.id, "once").await;
    assert_eq!(events.ended().await.status, "completed");
}
