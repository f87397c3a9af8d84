//! Dispatch, results, cancelling, and how executions end when somebody dies.

use std::time::Duration;

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::BridgeOptions;
use askalf_bridge_core::api::{DispatchEvent, ExecutionView};
use askalf_bridge_core::stores::{DeviceStatus, NewExecution, TaskTerms};
use serde_json::{Value, json};

use crate::faulty_store::FaultyStore;
use crate::harness::{ADMIN, NOW, TestBridge, memory_store, modern, old, within};

fn short_grace() -> BridgeOptions {
    BridgeOptions {
        interrupted_grace: Duration::from_millis(200),
        ..BridgeOptions::default()
    }
}

fn output(stream: &str, data: &str) -> DispatchEvent {
    DispatchEvent::Output {
        stream: stream.to_owned(),
        data: data.to_owned(),
    }
}

#[tokio::test]
async fn a_task_runs_from_the_dispatch_to_its_recorded_end() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, device_id) = bridge.register(&key, "laptop").await;
    let mut events = bridge.dispatch("laptop", "echo hi").await;
    let id = events.id.clone();
    assert_eq!(
        bridge.execution(&id).await.status,
        "pending",
        "committed before anybody was told"
    );

    let task = client.expect("task:dispatch").await;
    assert_eq!(task["executionId"], id);
    assert_eq!(task["input"], "echo hi");
    assert_eq!(
        (&task["mode"], &task["executor"]),
        (&json!("shell"), &json!("shell"))
    );
    assert!(task.get("credentials").is_none());

    client
        .send("execution:queued", json!({ "executionId": id, "position": 1 }))
        .await;
    assert_eq!(events.next().await, Some(DispatchEvent::Queued { position: 1 }));
    client
        .send(
            "execution:accepted",
            json!({ "executionId": id, "executor": "shell" }),
        )
        .await;
    assert_eq!(events.next().await, Some(DispatchEvent::Running));
    assert_eq!(bridge.execution(&id).await.status, "running");

    // Every generation's spelling of output.
    let progress = |fields: Value| {
        let mut payload = fields;
        payload["executionId"] = json!(id);
        payload
    };
    client
        .send(
            "execution:progress",
            progress(json!({ "progressType": "stderr", "data": "warn" })),
        )
        .await;
    client
        .send(
            "execution:progress",
            progress(json!({ "bytes": 2, "chunk": "hi" })),
        )
        .await;
    client
        .send("execution:progress", progress(json!({ "progress": 0.5 })))
        .await;
    client.send("browser:page", json!({ "url": "about:blank" })).await;
    assert_eq!(events.next().await, Some(output("stderr", "warn")));
    assert_eq!(events.next().await, Some(output("stdout", "hi")));
    assert_eq!(
        events.next().await,
        Some(output("browser:page", "{\"url\":\"about:blank\"}"))
    );

    let result = json!({ "executionId": id, "output": "hi\n", "cost": 0.25, "turns": 2, "tokensIn": 7,
                         "tokensOut": 9, "executor": "shell", "durationMs": 12 });
    client.send("execution:complete", result).await;
    assert_eq!(client.expect("execution:ack").await["executionId"], id);
    let ended = events.ended().await;
    let row = bridge.execution(&id).await;
    assert_eq!(row.output.as_deref(), Some("hi\n"));
    assert_eq!(
        ended,
        ExecutionView { output: None, ..row },
        "what was streamed is not told again"
    );
    assert_eq!(
        (ended.status.as_str(), ended.cause.as_deref(), ended.exit_code),
        ("completed", Some("exit"), Some(0))
    );
    assert_eq!(ended.error, None);
    assert_eq!(
        (ended.input_tokens, ended.output_tokens, ended.turns, ended.cost),
        (7, 9, 2, 0.25)
    );
    assert_eq!(ended.device_id.as_deref(), Some(device_id.as_str()));
    assert!(ended.started_at.is_some() && ended.completed_at.is_some());
}

#[tokio::test]
async fn an_old_agent_is_recorded_and_gets_no_message_that_it_does_not_know() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register_as(&key, old("laptop")).await;
    let events = bridge.dispatch("laptop", "false").await;
    let id = events.id.clone();
    client.expect("task:dispatch").await;
    client
        .send("execution:accepted", json!({ "executionId": id }))
        .await;
    client
        .send(
            "execution:failed",
            json!({ "executionId": id, "error": "exit code 1" }),
        )
        .await;
    let ended = events.ended().await;
    assert_eq!(
        (ended.status.as_str(), ended.error.as_deref(), ended.cause),
        ("failed", Some("exit code 1"), None)
    );
    client.is_alive().await;
}

#[tokio::test]
async fn causes_decide_the_status() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register(&key, "laptop").await;
    for (cause, status) in [
        ("timeout", "timeout"),
        ("cancelled", "cancelled"),
        ("signal", "failed"),
        ("odd", "failed"),
    ] {
        let events = bridge.dispatch("laptop", "sleep 9").await;
        let id = events.id.clone();
        client.expect("task:dispatch").await;
        let failed =
            json!({ "executionId": id, "error": "ended", "cause": cause, "signal": 9, "output": "so far" });
        client.send("execution:failed", failed).await;
        client.expect("execution:ack").await;
        let ended = events.ended().await;
        assert_eq!(
            (ended.status.as_str(), ended.signal, ended.output.as_deref()),
            (status, Some(9), Some("so far"))
        );
    }
}

#[tokio::test]
async fn a_device_cannot_end_start_or_speak_for_the_execution_of_another() {
    let bridge = TestBridge::start().await;
    let [one, two] = [
        bridge.mint("ann", &["device"]).await,
        bridge.mint("ann", &["device"]).await,
    ];
    let (mut owner, _) = bridge.register(&one, "owner").await;
    let (mut thief, _) = bridge.register(&two, "thief").await;
    let mut events = bridge.dispatch("owner", "true").await;
    let id = events.id.clone();
    owner.expect("task:dispatch").await;

    thief
        .send("execution:accepted", json!({ "executionId": id }))
        .await;
    assert_eq!(thief.expect("task:cancel").await["executionId"], id);
    let forged = json!({ "executionId": id, "progressType": "stdout", "data": "forged" });
    thief.send("execution:progress", forged).await;
    thief
        .send(
            "execution:complete",
            json!({ "executionId": id, "output": "forged" }),
        )
        .await;
    thief.expect_error("EXECUTION_NOT_FOUND").await;
    // It may forget what it made up.
    assert_eq!(thief.expect("execution:ack").await["executionId"], id);
    let row = bridge.execution(&id).await;
    assert_eq!((row.status.as_str(), row.output), ("pending", None));

    let real = json!({ "executionId": id, "progressType": "stdout", "data": "real" });
    owner.send("execution:progress", real).await;
    assert_eq!(events.next().await, Some(output("stdout", "real")));
    owner
        .send(
            "execution:complete",
            json!({ "executionId": id, "output": "real" }),
        )
        .await;
    events.ended().await;
    assert_eq!(bridge.execution(&id).await.output.as_deref(), Some("real"));
}

#[tokio::test]
async fn a_late_or_repeated_result_changes_nothing_and_is_acknowledged() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register(&key, "laptop").await;
    let events = bridge.dispatch("laptop", "false").await;
    let id = events.id.clone();
    client.expect("task:dispatch").await;
    client
        .send(
            "execution:failed",
            json!({ "executionId": id, "error": "first", "exitCode": 3, "cause": "exit" }),
        )
        .await;
    client.expect("execution:ack").await;
    let recorded = events.ended().await;
    client
        .send(
            "execution:complete",
            json!({ "executionId": id, "output": "late" }),
        )
        .await;
    assert_eq!(client.expect("execution:ack").await["executionId"], id);
    assert_eq!(bridge.execution(&id).await, recorded);
    assert_eq!(
        (recorded.status.as_str(), recorded.exit_code),
        ("failed", Some(3))
    );
}

#[tokio::test]
async fn a_result_that_cannot_be_recorded_is_not_acknowledged_and_is_taken_later() {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register(&key, "laptop").await;
    let events = bridge.dispatch("laptop", "true").await;
    let id = events.id.clone();
    client.expect("task:dispatch").await;
    let result = json!({ "executionId": id, "output": "kept" });
    store.fail(true);
    client.send("execution:complete", result.clone()).await;
    client.expect_error("INTERNAL_ERROR").await;
    assert_eq!(client.closed().await.0, 1013);
    store.fail(false);

    let held = json!([{ "executionId": id, "state": "ended" }]);
    let (mut client, _) = bridge.register_as(&key, modern("laptop", held)).await;
    client.send("execution:complete", result).await;
    client.expect("execution:ack").await;
    assert_eq!(events.ended().await.output.as_deref(), Some("kept"));
}

#[tokio::test]
async fn a_result_survives_a_store_that_fails_for_a_moment() {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register_as(&key, old("laptop")).await;
    let events = bridge.dispatch("laptop", "true").await;
    client.expect("task:dispatch").await;
    store.fail(true);
    client
        .send(
            "execution:complete",
            json!({ "executionId": events.id, "output": "kept" }),
        )
        .await;
    within("a refused end", store.end_refused.notified()).await;
    store.fail(false);
    assert_eq!(events.ended().await.output.as_deref(), Some("kept"));
}

#[tokio::test]
async fn no_row_is_made_for_a_device_that_is_offline_unknown_or_ambiguous() {
    let bridge = TestBridge::start().await;
    let [one, two, three] = [
        bridge.mint("ann", &["device"]).await,
        bridge.mint("ann", &["device"]).await,
        bridge.mint("ann", &["device"]).await,
    ];
    let (gone, gone_id) = bridge.register(&one, "twin").await;
    let (_twin, _) = bridge.register(&two, "twin").await;
    let (_other_twin, _) = bridge.register(&three, "twin").await;
    gone.vanish();
    bridge
        .until("offline", DeviceStatus::Offline, || bridge.status_of(&gone_id))
        .await;
    for (device, status, id) in [
        (gone_id.as_str(), 503, "device-offline"),
        ("nobody", 404, "device-unknown"),
        ("twin", 409, "device-ambiguous"),
    ] {
        let body = json!({ "device": device, "input": "true" });
        let (got, error) = bridge.call("POST", "/api/v1/executions", body).await;
        assert_eq!(
            (got.as_u16(), error["id"].as_str()),
            (status, Some(id)),
            "{error}"
        );
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(error["hint"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let (_, list) = bridge.call("GET", "/api/v1/executions", Value::Null).await;
    assert_eq!(list, json!([]));
}

#[tokio::test]
async fn a_running_task_is_cancelled_by_its_device() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register(&key, "laptop").await;
    let events = bridge.dispatch("laptop", "sleep 99").await;
    let id = events.id.clone();
    client.expect("task:dispatch").await;
    client
        .send("execution:accepted", json!({ "executionId": id }))
        .await;
    let cancel = format!("/api/v1/executions/{id}/cancel");
    let (status, _) = bridge.call("POST", &cancel, Value::Null).await;
    assert_eq!(status, 202);
    assert_eq!(client.expect("task:cancel").await["executionId"], id);
    client
        .send(
            "execution:failed",
            json!({ "executionId": id, "error": "cancelled", "cause": "cancelled" }),
        )
        .await;
    assert_eq!(events.ended().await.status, "cancelled");
    let (status, error) = bridge.call("POST", &cancel, Value::Null).await;
    assert_eq!(
        (status.as_u16(), error["id"].as_str()),
        (409, Some("already-ended"))
    );
    let (status, _) = bridge
        .call("POST", "/api/v1/executions/exec_none/cancel", Value::Null)
        .await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_task_of_a_device_that_is_gone_is_cancelled_here_and_there_when_it_comes_back() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, device_id) = bridge.register(&key, "laptop").await;
    let events = bridge.dispatch("laptop", "sleep 99").await;
    let id = events.id.clone();
    client.expect("task:dispatch").await;
    client.vanish();
    bridge
        .until("offline", DeviceStatus::Offline, || bridge.status_of(&device_id))
        .await;
    let (status, view) = bridge
        .call("POST", &format!("/api/v1/executions/{id}/cancel"), Value::Null)
        .await;
    assert_eq!(
        (status.as_u16(), view["status"].as_str(), view["cause"].as_str()),
        (202, Some("cancelled"), Some("cancelled"))
    );
    assert_eq!(events.ended().await.status, "cancelled");

    for state in ["running", "queued"] {
        let held = json!([{ "executionId": id, "state": state }]);
        let (mut client, _) = bridge.register_as(&key, modern("laptop", held)).await;
        assert_eq!(client.expect("task:cancel").await["executionId"], id, "{state}");
    }
    assert_eq!(bridge.execution(&id).await.status, "cancelled");
}

#[tokio::test]
async fn what_a_device_still_holds_goes_on_and_the_rest_is_interrupted_at_once() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register(&key, "laptop").await;
    let [kept, lost] = [
        bridge.dispatch("laptop", "kept").await,
        bridge.dispatch("laptop", "lost").await,
    ];
    client.expect("task:dispatch").await;
    client.expect("task:dispatch").await;
    client.vanish();

    let held = json!([{ "executionId": kept.id, "state": "running" }]);
    let (mut client, _) = bridge.register_as(&key, modern("laptop", held)).await;
    let ended = lost.ended().await;
    assert_eq!(
        (ended.status.as_str(), ended.cause.as_deref()),
        ("failed", Some("interrupted"))
    );
    assert_eq!(
        ended.error.as_deref(),
        Some("interrupted: its device came back without it")
    );
    assert_eq!(client.expect("task:cancel").await["executionId"], ended.id);
    client.is_alive().await;
    assert_eq!(bridge.execution(&kept.id).await.status, "running");
    client
        .send(
            "execution:complete",
            json!({ "executionId": kept.id, "output": "done" }),
        )
        .await;
    assert_eq!(kept.ended().await.status, "completed");
}

#[tokio::test]
async fn a_task_that_is_dispatched_while_its_device_is_still_being_settled_is_not_taken_for_lost() {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["device"]).await;
    store.listing.close();
    let (mut client, _) = bridge.register(&key, "laptop").await;
    within("the settling", store.listing.reached()).await;
    let events = bridge.dispatch("laptop", "true").await;
    client.expect("task:dispatch").await;
    store.listing.open();
    client
        .send(
            "execution:complete",
            json!({ "executionId": events.id, "output": "done" }),
        )
        .await;
    assert_eq!(events.ended().await.status, "completed");
}

#[tokio::test]
async fn a_device_that_stays_away_loses_its_executions_after_the_grace() {
    let bridge = TestBridge::with(memory_store(), short_grace()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register(&key, "laptop").await;
    let events = bridge.dispatch("laptop", "sleep 99").await;
    client.expect("task:dispatch").await;
    client.vanish();
    let ended = events.ended().await;
    assert_eq!(
        (ended.status.as_str(), ended.cause.as_deref()),
        ("failed", Some("interrupted"))
    );
}

#[tokio::test]
async fn an_old_agent_that_comes_back_keeps_what_it_speaks_of_and_what_is_new() {
    let bridge = TestBridge::with(memory_store(), short_grace()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register_as(&key, old("laptop")).await;
    let [silent, spoken] = [
        bridge.dispatch("laptop", "silent").await,
        bridge.dispatch("laptop", "spoken").await,
    ];
    client.expect("task:dispatch").await;
    client.expect("task:dispatch").await;
    client.vanish();

    let (mut client, _) = bridge.register_as(&key, old("laptop")).await;
    client
        .send(
            "execution:progress",
            json!({ "executionId": spoken.id, "bytes": 1, "chunk": "." }),
        )
        .await;
    let new = bridge.dispatch("laptop", "new").await;
    assert_eq!(client.expect("task:dispatch").await["executionId"], new.id);
    let ended = silent.ended().await;
    assert_eq!(ended.cause.as_deref(), Some("interrupted"));
    assert_eq!(client.expect("task:cancel").await["executionId"], ended.id);
    for events in [spoken, new] {
        client
            .send(
                "execution:complete",
                json!({ "executionId": events.id, "output": "done" }),
            )
            .await;
        assert_eq!(events.ended().await.status, "completed");
    }
}

#[tokio::test]
async fn a_device_that_comes_and_goes_neither_puts_the_grace_off_nor_shortens_it() {
    // Long enough for what happens within the first grace, short enough to wait for the second.
    let options = BridgeOptions {
        interrupted_grace: Duration::from_millis(1500),
        ..BridgeOptions::default()
    };
    let bridge = TestBridge::with(memory_store(), options).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, device_id) = bridge.register_as(&key, old("laptop")).await;
    let first = bridge.dispatch("laptop", "first").await;
    client.expect("task:dispatch").await;
    client.vanish();
    bridge
        .until("offline", DeviceStatus::Offline, || bridge.status_of(&device_id))
        .await;

    let (mut client, _) = bridge.register_as(&key, old("laptop")).await;
    let second = bridge.dispatch("laptop", "second").await;
    client.expect("task:dispatch").await;
    client.vanish();
    assert_eq!(first.ended().await.cause.as_deref(), Some("interrupted"));
    assert_eq!(bridge.execution(&second.id).await.status, "pending");
    assert_eq!(second.ended().await.cause.as_deref(), Some("interrupted"));
}

#[tokio::test]
async fn a_killed_bridge_marks_devices_gone_and_ends_what_does_not_come_back() {
    let store = memory_store();
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let [one, two] = [
        bridge.mint("ann", &["device"]).await,
        bridge.mint("ann", &["device"]).await,
    ];
    let (mut back, _) = bridge.register(&one, "back").await;
    let (mut away, away_id) = bridge.register(&two, "away").await;
    let [kept, lost] = [
        bridge.dispatch("back", "kept").await,
        bridge.dispatch("away", "lost").await,
    ];
    back.expect("task:dispatch").await;
    away.expect("task:dispatch").await;
    bridge.kill();

    let bridge = TestBridge::with(store, short_grace()).await;
    assert_eq!(bridge.status_of(&away_id).await, DeviceStatus::Offline);
    let held = json!([{ "executionId": kept.id, "state": "running" }]);
    let (mut back, _) = bridge.register_as(&one, modern("back", held)).await;
    let cause = async || bridge.execution(&lost.id).await.cause;
    bridge
        .until("the end of the grace", Some("interrupted".to_owned()), cause)
        .await;
    back.send(
        "execution:complete",
        json!({ "executionId": kept.id, "output": "done" }),
    )
    .await;
    back.expect("execution:ack").await;
    assert_eq!(bridge.execution(&kept.id).await.status, "completed");
}

#[tokio::test]
async fn a_slow_reader_misses_pieces_and_never_holds_the_device_up() {
    let options = BridgeOptions {
        watcher_events: 4,
        ..BridgeOptions::default()
    };
    let bridge = TestBridge::with(memory_store(), options).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register(&key, "laptop").await;
    let mut events = bridge.dispatch("laptop", "yes").await;
    let id = events.id.clone();
    client.expect("task:dispatch").await;
    for _ in 0..50 {
        client
            .send(
                "execution:progress",
                json!({ "executionId": id, "progressType": "stdout", "data": "y" }),
            )
            .await;
    }
    client.is_alive().await;
    client
        .send("execution:complete", json!({ "executionId": id, "output": "y" }))
        .await;
    client.expect("execution:ack").await;
    let mut told = 0;
    while let Some(event) = events.next().await {
        match event {
            DispatchEvent::Output { .. } => told += 1,
            DispatchEvent::Skipped { events } => told += events,
            DispatchEvent::Ended { execution } => assert_eq!(execution.status, "completed"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, 50, "every piece was passed on or counted");
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_is_alive() {
    let options = BridgeOptions {
        idle_event_interval: Duration::from_millis(20),
        ..BridgeOptions::default()
    };
    let bridge = TestBridge::with(memory_store(), options).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (_client, _) = bridge.register(&key, "laptop").await;
    let mut events = bridge.dispatch("laptop", "sleep 99").await;
    assert_eq!(events.next().await, Some(DispatchEvent::Idle));
    assert_eq!(events.next().await, Some(DispatchEvent::Idle));
}

#[tokio::test]
async fn an_execution_ends_although_the_clock_had_been_ahead_when_it_began() {
    let store = memory_store();
    let bridge = TestBridge::with(store.clone(), short_grace()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (_client, device_id) = bridge.register(&key, "laptop").await;
    bridge.kill();
    let row = NewExecution {
        id: "exec_of_tomorrow".to_owned(),
        device_id,
        executor: "shell".to_owned(),
        input: "true".to_owned(),
        terms: TaskTerms::default(),
        created_at: UnixMillis(NOW + 24 * 60 * 60 * 1000),
    };
    store.add_execution(&ADMIN, row).await.unwrap();

    let bridge = TestBridge::with(store, short_grace()).await;
    bridge
        .until("its end", Some("interrupted".to_owned()), || async {
            bridge.execution("exec_of_tomorrow").await.cause
        })
        .await;
}

#[tokio::test]
async fn a_device_that_comes_back_does_not_hide_the_executions_of_one_that_does_not() {
    // Long enough for the one to be back before its own time is over.
    let options = BridgeOptions {
        interrupted_grace: Duration::from_millis(1000),
        ..BridgeOptions::default()
    };
    let store = memory_store();
    let bridge = TestBridge::with(store.clone(), options.clone()).await;
    let (gone, busy) = (
        bridge.mint("ann", &["device"]).await,
        bridge.mint("ann", &["device"]).await,
    );
    let (_gone, gone_id) = bridge.register(&gone, "gone").await;
    let (_busy, busy_id) = bridge.register(&busy, "busy").await;
    bridge.kill();
    let add = async |id: String, device_id: &str, created_at| {
        let row = NewExecution {
            id,
            device_id: device_id.to_owned(),
            executor: "shell".to_owned(),
            input: "true".to_owned(),
            terms: TaskTerms::default(),
            created_at: UnixMillis(created_at),
        };
        store.add_execution(&ADMIN, row).await.unwrap();
    };
    add("exec_oldest".to_owned(), &gone_id, NOW - 2).await;
    for number in 0..600 {
        add(format!("exec_{number}"), &busy_id, NOW - 1).await;
    }

    let bridge = TestBridge::with(store.clone(), options).await;
    let (_back, _) = bridge.register(&busy, "busy").await;
    bridge
        .until("its end", Some("interrupted".to_owned()), || async {
            bridge.execution("exec_oldest").await.cause
        })
        .await;
}
