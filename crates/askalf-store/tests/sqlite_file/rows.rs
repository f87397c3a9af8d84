use askalf_bridge_core::stores::{
    Cause, DeviceStore, ExecutionEnd, ExecutionStatus, ExecutionStore, KeyStore, Principal,
};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{by_hand, column, open, scratch};
use crate::suite::{ADMIN, HASH, NOW, SEED, dispatched, execution, later, new_key, registered, used};

/// A row as JSON, without what is null.
fn row(connection: &Connection, table: &str) -> Value {
    let mut statement = connection.prepare(&format!("select * from {table}")).unwrap();
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    statement
        .query_row([], |row| {
            let mut object = serde_json::Map::new();
            for (index, name) in names.into_iter().enumerate() {
                let value = match row.get(index)? {
                    rusqlite::types::Value::Null => continue,
                    rusqlite::types::Value::Integer(number) => number.into(),
                    rusqlite::types::Value::Real(number) => number.into(),
                    rusqlite::types::Value::Text(text) => text.into(),
                    rusqlite::types::Value::Blob(_) => unreachable!("strict tables without blobs"),
                };
                object.insert(name, value);
            }
            Ok(Value::Object(object))
        })
        .unwrap()
}

#[tokio::test]
async fn rows_are_those_that_the_forge_would_read() {
    let (_folder, path) = scratch();
    let store = open(&path).unwrap();
    let hand = by_hand(&path);
    hand.execute_batch(SEED).unwrap();
    let (who, _) = registered(&store, "ann", "key_1", "dev_1").await;
    store.count_uses(&[used("key_1", later(1))]).await.unwrap();
    assert_eq!(
        row(&hand, "api_keys"),
        json!({
            "id": "key_1", "tenant_id": "acme", "user_id": "ann", "name": "key key_1", "key_hash": HASH,
            "key_prefix": "key_1", "key_preview": "sk_live_...", "scopes": "[\"device\"]", "usage_count": 1,
            "last_used_at": "2026-11-24T07:33:00.001Z", "status": "active",
            "created_at": "2026-11-24T07:33:00.000Z",
        })
    );
    assert_eq!(
        row(&hand, "agent_devices"),
        json!({
            "id": "dev_1", "user_id": "ann", "tenant_id": "acme", "api_key_id": "key_1", "device_name": "dev_1",
            "hostname": "dev_1.test", "os": "linux", "platform_capabilities": "{\"shell\":true}",
            "status": "online", "last_seen_at": "2026-11-24T07:33:00.000Z",
            "created_at": "2026-11-24T07:33:00.000Z", "updated_at": "2026-11-24T07:33:00.000Z",
            "device_type": "cli", "device_category": "compute", "connection_config": "{}",
            "max_concurrent_tasks": 2, "protocol": "websocket",
        })
    );

    dispatched(&store, "exec_1", "dev_1").await;
    let end = ExecutionEnd {
        exit_code: Some(-1),
        signal: Some(9),
        output: Some("out".to_owned()),
        cost: 0.1 + 0.2,
        turns: 2,
        input_tokens: 30,
        output_tokens: 4,
        duration_ms: Some(5),
        ..ExecutionEnd::without_result(ExecutionStatus::Failed, Cause::Signal, "killed")
    };
    store.execution_running(&who, "exec_1", later(2)).await.unwrap();
    store
        .finish_execution(&who, "exec_1", end, later(3))
        .await
        .unwrap();
    let mut written = row(&hand, "forge_executions");
    let metadata = written["metadata"].take();
    assert_eq!(
        serde_json::from_str::<Value>(metadata.as_str().unwrap()).unwrap(),
        json!({ "executor": "shell", "timeoutMs": 60_000, "redeliverable": true, "cause": "signal", "exitCode": -1, "signal": 9 })
    );
    assert_eq!(
        written,
        json!({
            "id": "exec_1", "agent_id": "askalf-dispatch:ann", "owner_id": "ann", "status": "failed",
            "input": "uname -a", "output": "out", "messages": "[]", "tool_calls": "[]", "iterations": 2,
            "input_tokens": 30, "output_tokens": 4, "total_tokens": 34, "cost": 0.3, "duration_ms": 5,
            "error": "killed", "metadata": null, "device_id": "dev_1",
            "started_at": "2026-11-24T07:33:00.002Z", "completed_at": "2026-11-24T07:33:00.003Z",
            "created_at": "2026-11-24T07:33:00.000Z",
        })
    );
    assert_eq!(
        row(&hand, "forge_agents"),
        json!({
            "id": "askalf-dispatch:ann", "owner_id": "ann", "name": "Dispatch", "slug": "askalf-dispatch",
            "status": "active", "metadata": "{}", "created_at": "2026-11-24T07:33:00.000Z",
        })
    );
}

#[tokio::test]
async fn an_owner_has_one_agent_for_dispatches_and_an_existing_one_is_used() {
    let (_folder, path) = scratch();
    let store = open(&path).unwrap();
    let hand = by_hand(&path);
    hand.execute_batch(SEED).unwrap();
    hand.execute_batch(
        "insert into forge_agents (id, owner_id, name, slug) values ('01JA', 'ann', 'Mine', 'askalf-dispatch')",
    )
    .unwrap();
    registered(&store, "ann", "key_1", "dev_1").await;
    registered(&store, "gil", "key_2", "dev_2").await;
    for (id, device) in [("exec_1", "dev_1"), ("exec_2", "dev_2"), ("exec_3", "dev_2")] {
        store
            .add_execution(&Principal::Bridge, execution(id, device))
            .await
            .unwrap();
    }
    let agents = column(&hand, "select agent_id from forge_executions order by id");
    assert_eq!(agents, ["01JA", "askalf-dispatch:gil", "askalf-dispatch:gil"]);
    assert_eq!(
        column(&hand, "select name || status from forge_agents where id = '01JA'"),
        ["Minedraft"]
    );
}

#[tokio::test]
async fn what_the_forge_keeps_in_a_row_stays() {
    let (_folder, path) = scratch();
    let store = open(&path).unwrap();
    let hand = by_hand(&path);
    hand.execute_batch(SEED).unwrap();
    let (who, _) = registered(&store, "ann", "key_1", "dev_1").await;
    hand.execute_batch(
        "insert into forge_agents (id, owner_id, name, slug) values ('a', 'ann', 'A', 'a');
         insert into forge_executions (id, agent_id, owner_id, status, input, output, messages, metadata, device_id,
           duration_ms)
         values ('exec_1', 'a', 'ann', 'running', 'x', 'so far', '[{\"role\":\"user\"}]', '{\"planId\":\"p\",\"n\":null}',
           'dev_1', 7);
         update agent_devices set connection_config = '{\"k\":1}', platform_capabilities = '[1]', protocol = 'mqtt'",
    )
    .unwrap();
    let end = ExecutionEnd::without_result(ExecutionStatus::Cancelled, Cause::Cancelled, "stopped");
    store.finish_execution(&who, "exec_1", end, NOW).await.unwrap();
    let kept = row(&hand, "forge_executions");
    assert_eq!(
        (
            &kept["output"],
            &kept["messages"],
            &kept["duration_ms"],
            &kept["agent_id"]
        ),
        (
            &json!("so far"),
            &json!(r#"[{"role":"user"}]"#),
            &json!(7),
            &json!("a")
        )
    );
    assert_eq!(
        kept["metadata"],
        json!(r#"{"planId":"p","n":null,"cause":"cancelled"}"#)
    );

    // What is no object names no capability; a device of another protocol is not swept.
    let device = store.devices(&ADMIN, 1).await.unwrap().remove(0);
    assert!(device.capabilities.is_empty());
    assert_eq!(store.all_devices_offline(NOW).await.unwrap(), 0);
    assert_eq!(
        row(&hand, "agent_devices")["connection_config"],
        json!(r#"{"k":1}"#)
    );
}

#[tokio::test]
async fn a_listing_of_executions_leaves_out_what_can_be_large() {
    let (_folder, path) = scratch();
    let store = open(&path).unwrap();
    let hand = by_hand(&path);
    hand.execute_batch(SEED).unwrap();
    hand.execute_batch(
        "insert into forge_agents (id, owner_id, name, slug) values ('a', 'ann', 'A', 'a');
         with numbers (n) as (values (1), (2), (3), (4))
         insert into forge_executions (id, agent_id, owner_id, input, output, error)
         select 'exec_' || n, 'a', 'ann', 'é' || hex(zeroblob(1024)), hex(zeroblob(15 * 1024 * 1024)), hex(zeroblob(1024))
         from numbers",
    )
    .unwrap();
    let listed = store.executions(&ADMIN, Default::default()).await.unwrap();
    assert_eq!(listed.len(), 4);
    for execution in listed {
        assert_eq!(execution.output, None);
        assert_eq!(execution.input.chars().count(), 1024);
        assert_eq!(execution.error.unwrap().len(), 1024);
    }
    let whole = store.execution(&ADMIN, "exec_1").await.unwrap();
    assert_eq!(whole.output.unwrap().len(), 30 * 1024 * 1024);
}

#[tokio::test]
async fn a_listing_ends_early_rather_than_fill_the_memory() {
    let (_folder, path) = scratch();
    let store = open(&path).unwrap();
    let hand = by_hand(&path);
    hand.execute_batch(SEED).unwrap();
    store.add_key(&ADMIN, new_key("ann", "key_1")).await.unwrap();
    hand.execute_batch(
        "insert into forge_agents (id, owner_id, name, slug) values ('a', 'ann', 'A', 'a');
         with numbers (n) as (values (1), (2), (3), (4))
         insert into agent_devices (id, user_id, tenant_id, api_key_id, device_name, platform_capabilities)
         select 'dev_' || n, 'ann', 'acme', 'key_1', 'd', json_object('a', hex(zeroblob(15 * 1024 * 1024))) from numbers",
    )
    .unwrap();
    let listed = store.devices(&ADMIN, 10).await.unwrap();
    assert_eq!(listed.len(), 2, "30 MiB each, 64 MiB in all");
}
