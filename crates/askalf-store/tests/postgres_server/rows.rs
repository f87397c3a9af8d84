//! Rows that others have written, and rows that others read.

use std::time::Duration;

use askalf_bridge_auth::{Lookup, Scopes, UnixMillis};
use askalf_bridge_core::stores::{DeviceStore, ExecutionStore, KeyStore};
use serde_json::json;

use super::database::{Database, column};
use crate::suite::{ADMIN, NOW, device_of, dispatched, facts, new_key, registered};

#[tokio::test]
async fn keys_that_were_made_by_hand_are_read_with_all_their_oddities() {
    let database = Database::seeded().await;
    let client = database.by_hand().await;
    client
        .batch_execute(
            "insert into api_keys (id, tenant_id, user_id, name, key_hash, key_prefix, scopes, expires_at) values
               ('odd', 'acme', 'ann', 'by hand', 'no hash', 'sk_live_1234', null, 'infinity'),
               ('old', 'acme', 'ann', 'by hand', 'no hash', 'sk_live_5678', array['admin', null], '-infinity'),
               ('forge', 'acme', null, 'by hand', 'no hash', 'sk_live_9999', default, '2026-11-24T07:33:00.0009Z')",
        )
        .await
        .unwrap();
    let store = database.open().await;
    let ids = ["forge", "odd", "old"].map(str::to_owned);
    let mut records = store.keys_now(&ids).await.unwrap();
    records.sort_by(|one, other| one.id.cmp(&other.id));
    let [forge, odd, old] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(forge.scopes, Scopes::parse(["read", "write", "execute"]));
    assert_eq!((&forge.user_id, forge.user_status), (&None, None));
    // Never later than the row says.
    assert_eq!(forge.expires_at, Some(NOW));
    assert!(odd.scopes.is_empty());
    assert_eq!(odd.expires_at, Some(UnixMillis(i64::MAX)));
    assert_eq!(old.scopes, Scopes::parse(["admin"]));
    assert_eq!(old.expires_at, Some(UnixMillis(i64::MIN)));
    assert_eq!(store.keys(&ADMIN, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_malformed_prefix_is_what_no_token_of_12_characters_starts_with() {
    let database = Database::seeded().await;
    let client = database.by_hand().await;
    let mut expected = vec!["short".to_owned(), "empty".to_owned()];
    let mut insert = "insert into api_keys (id, tenant_id, name, key_hash, key_prefix) values
        ('short', 'acme', 'n', 'h', 'sk_live_abc'), ('empty', 'acme', 'n', 'h', '')"
        .to_owned();
    for (index, code) in (1..=0x3001_u32).enumerate() {
        let Some(character) = char::from_u32(code) else {
            continue;
        };
        let is_malformed = character.is_whitespace() || character.is_control();
        if is_malformed {
            expected.push(format!("{code:x}"));
        } else if index % 97 != 0 {
            continue;
        }
        insert.push_str(&format!(
            ", ('{code:x}', 'acme', 'n', 'h', 'sk_live_abc' || chr({code}))"
        ));
    }
    client.batch_execute(&insert).await.unwrap();
    let store = database.open().await;
    let found = store.find_keys(&Lookup::MalformedPrefix).await.unwrap();
    let mut found: Vec<_> = found.into_iter().map(|record| record.id).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(store.malformed_prefixes().await.unwrap(), expected.len() as u64);
}

#[tokio::test]
async fn a_malformed_prefix_counts_soon_and_its_row_is_live() {
    let database = Database::seeded().await;
    let client = database.by_hand().await;
    let insert = |id: &str| {
        format!(
            "insert into api_keys (id, tenant_id, name, key_hash, key_prefix) values ('{id}', 'acme', 'n', 'h', 'by hand')"
        )
    };
    client.batch_execute(&insert("first")).await.unwrap();
    let store = database.open().await;
    let found = async || store.find_keys(&Lookup::MalformedPrefix).await.unwrap();
    assert_eq!(found().await.len(), 1);
    client.batch_execute(&insert("second")).await.unwrap();
    client
        .batch_execute("update api_keys set key_hash = 'other' where id = 'first'")
        .await
        .unwrap();
    assert!(found().await.iter().any(|row| row.key_hash == "other"));
    // The scan was short, so its answer is not kept for as long as that of a long one.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::time::resume();
    assert_eq!(found().await.len(), 2);
    // More than are ever derived: told as such, and not searched in part.
    client
        .batch_execute(
            "insert into api_keys (id, tenant_id, name, key_hash, key_prefix)
             select 'more_' || n, 'acme', 'n', 'h', '' from generate_series(1, 1100) n",
        )
        .await
        .unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::time::resume();
    let error = store.find_keys(&Lookup::MalformedPrefix).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the database is not available: more than 1024 keys share no well-formed prefix"
    );
    assert_eq!(store.malformed_prefixes().await.unwrap(), 1102);
}

#[tokio::test]
async fn what_postgresql_cannot_hold_is_replaced_or_not_found() {
    let database = Database::seeded().await;
    let store = database.open().await;
    store.add_key(&ADMIN, new_key("ann", "key_1")).await.unwrap();
    let mut odd = facts("dev_1", "nul \0 name");
    odd.capabilities = json!({ "a\0": "b\0" }).as_object().unwrap().clone();
    let device = store
        .register_device(&device_of("ann", "key_1"), odd, NOW)
        .await
        .unwrap();
    assert_eq!(device.name, "nul \u{fffd} name");
    assert_eq!(
        serde_json::Value::Object(device.capabilities),
        json!({ "a\u{fffd}": "b\u{fffd}" })
    );
    assert!(store.key(&ADMIN, "key\0").await.unwrap_err().id() == "not-found");
    assert_eq!(store.find_devices(&ADMIN, "\0").await.unwrap(), []);
    assert!(store.execution(&ADMIN, "\0").await.unwrap_err().id() == "not-found");
}

#[tokio::test]
async fn what_others_keep_in_metadata_stays() {
    let database = Database::seeded().await;
    let store = database.open().await;
    let (who, _) = registered(&store, "ann", "key_1", "dev_1").await;
    for id in ["exec_1", "exec_2"] {
        dispatched(&store, id, "dev_1").await;
    }
    let client = database.by_hand().await;
    client
        .batch_execute(
            "update forge_executions set metadata = metadata || '{\"planId\": \"p\"}' where id = 'exec_1';
             update forge_executions set metadata = '[1]' where id = 'exec_2'",
        )
        .await
        .unwrap();
    for id in ["exec_1", "exec_2"] {
        let end = askalf_bridge_core::stores::ExecutionEnd::interrupted("gone");
        store.finish_execution(&who, id, end, NOW).await.unwrap();
    }
    assert_eq!(
        column(&client, "select metadata::text from forge_executions order by id").await,
        [
            r#"{"cause": "interrupted", "planId": "p", "executor": "shell", "timeoutMs": 60000, "redeliverable": true}"#,
            r#"{"cause": "interrupted"}"#
        ]
    );
}
