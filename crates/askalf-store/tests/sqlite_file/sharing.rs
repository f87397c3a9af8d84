use std::{fs, sync::Arc, time::Duration};

use askalf_bridge_auth::{KeyStatus, Lookup, UserStatus};
use askalf_bridge_core::stores::{
    Cause, DeviceStore, ExecutionEnd, ExecutionStatus, ExecutionStore, Finish, KeyStore, Kind, Principal,
    StoreError,
};
use askalf_store::{MAX_KEYS_PER_PREFIX, OpenOptions, SqliteStore};

use super::{by_hand, open, scratch};
use crate::suite::{ADMIN, HASH, NOW, dispatched, facts, new_key, prefix, used};

fn by_prefix(id: &str) -> Lookup {
    Lookup::ByPrefix { prefix: prefix(id) }
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_drop() {
    let (_folder, path) = scratch();
    let store = open(&path).unwrap();
    registered_default(&store).await;
    drop(store);
    let store = open(&path).unwrap();
    assert_eq!(store.devices(&ADMIN, 10).await.unwrap().len(), 1);
    let back = store
        .reconnect_device(&device_of_default(), "dev_1", NOW)
        .await
        .unwrap();
    assert_eq!(back.id, "dev_1");
}

#[tokio::test]
async fn what_was_answered_survives_a_crash_at_any_later_moment() {
    let (folder, path) = scratch();
    let store = open(&path).unwrap();
    registered_default(&store).await;
    for number in 0..20 {
        let id = format!("exec_{number}");
        dispatched(&store, &id, "dev_1").await;
        // The files as a crash would leave them now: the store is open, nothing is flushed for the occasion.
        let image = folder.path().join(format!("crash-{number}.db"));
        fs::copy(&path, &image).unwrap();
        let log = |path: &std::path::Path| format!("{}-wal", path.display());
        fs::copy(log(&path), log(&image)).unwrap();
        let after = open(&image).unwrap();
        let execution = after.execution(&ADMIN, &id).await.unwrap();
        assert_eq!(execution.status, ExecutionStatus::Pending);
    }
}

#[tokio::test]
async fn what_one_has_answered_another_sees() {
    let (_folder, path) = scratch();
    let (one, two) = (open(&path).unwrap(), open(&path).unwrap());
    for number in 0..50 {
        let id = format!("key_{number}");
        let (writer, reader) = if number % 2 == 0 {
            (&one, &two)
        } else {
            (&two, &one)
        };
        writer.add_key(&ADMIN, new_key("default", &id)).await.unwrap();
        assert_eq!(reader.find_keys(&by_prefix(&id)).await.unwrap().len(), 1);
        reader.revoke_key(&ADMIN, &id, NOW).await.unwrap();
        assert_eq!(
            writer.find_keys(&by_prefix(&id)).await.unwrap()[0].status,
            KeyStatus::Revoked
        );
    }
    let taken = two
        .add_key(&ADMIN, new_key("default", "key_1"))
        .await
        .unwrap_err();
    assert!(matches!(taken, StoreError::Conflict(_)), "{taken}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_ends_over_two_handles_one_is_recorded() {
    let (_folder, path) = scratch();
    let stores = [Arc::new(open(&path).unwrap()), Arc::new(open(&path).unwrap())];
    registered_default(&stores[0]).await;
    for round in 0..5 {
        let id = format!("exec_{round}");
        dispatched(&*stores[0], &id, "dev_1").await;
        let mut ends = tokio::task::JoinSet::new();
        for number in 0..16 {
            let (store, id) = (Arc::clone(&stores[number % 2]), id.clone());
            let who = device_of_default().registered_as("dev_1");
            ends.spawn(async move {
                let end = ExecutionEnd::without_result(ExecutionStatus::Failed, Cause::Exit, "x");
                store.finish_execution(&who, &id, end, NOW).await.unwrap()
            });
        }
        let ends = ends.join_all().await;
        assert_eq!(ends.iter().filter(|end| **end == Finish::Recorded).count(), 1);
        assert_eq!(
            ends.iter().filter(|end| **end == Finish::AlreadyRecorded).count(),
            15
        );
    }
}

#[tokio::test]
async fn a_change_by_hand_counts_from_the_next_look_up_on() {
    let (_folder, path) = scratch();
    let store = open(&path).unwrap();
    store.add_key(&ADMIN, new_key("default", "key_1")).await.unwrap();
    let hand = by_hand(&path);
    let found = async || store.find_keys(&by_prefix("key_1")).await.unwrap().remove(0);

    hand.execute_batch("update users set status = 'suspended'")
        .unwrap();
    assert_eq!(found().await.user_status, Some(UserStatus::Suspended));
    hand.execute_batch("update users set status = null").unwrap();
    assert_eq!(found().await.user_status, None);
    hand.execute_batch("update api_keys set scopes = null, status = 'revoked'")
        .unwrap();
    let record = found().await;
    assert!(record.scopes.is_empty());
    assert_eq!(record.status, KeyStatus::Revoked);
    hand.execute_batch("pragma foreign_keys = on; delete from users")
        .unwrap();
    let record = found().await;
    assert_eq!((record.user_id, record.user_status), (None, None));
}

#[tokio::test]
async fn a_key_whose_device_was_removed_registers_no_other() {
    let (_folder, path) = scratch();
    let store = open(&path).unwrap();
    registered_default(&store).await;
    let mut bound = new_key("default", "key_2");
    bound.device_id = Some("dev_1".to_owned());
    store.add_key(&ADMIN, bound).await.unwrap();
    by_hand(&path).execute_batch("delete from agent_devices").unwrap();
    let mut who = device_of_default();
    if let Principal::Device { key_id, .. } = &mut who {
        *key_id = "key_2".to_owned();
    }
    let gone = StoreError::NotFound(Kind::Device);
    assert_eq!(
        store
            .register_device(&who, facts("dev_2", "x"), NOW)
            .await
            .unwrap_err(),
        gone
    );
    assert_eq!(
        store.reconnect_device(&who, "dev_1", NOW).await.unwrap_err(),
        gone
    );
    // The key that is not bound makes a new one.
    let device = store
        .register_device(&device_of_default(), facts("dev_2", "x"), NOW)
        .await
        .unwrap();
    assert_eq!(device.id, "dev_2");
    // Not even one that names the key.
    by_hand(&path)
        .execute_batch("update agent_devices set api_key_id = 'key_2'")
        .unwrap();
    let error = store
        .register_device(&who, facts("dev_3", "x"), NOW)
        .await
        .unwrap_err();
    assert_eq!(error, gone);
    assert_eq!(store.devices(&who, 10).await.unwrap(), []);
}

#[tokio::test]
async fn too_many_keys_of_one_prefix_are_unavailable_and_never_a_part_of_them() {
    let (_folder, path) = scratch();
    let store = open(&path).unwrap();
    let hand = by_hand(&path);
    let insert = |count: usize| {
        hand.execute_batch(&format!(
            "with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < {count})
             insert into api_keys (id, tenant_id, user_id, name, key_hash, key_prefix)
             select 'k' || n, 'default', 'default', 'n', '{HASH}', 'same' from numbers where true
             on conflict do nothing"
        ))
        .unwrap();
    };
    insert(MAX_KEYS_PER_PREFIX);
    assert_eq!(
        store.find_keys(&by_prefix("same")).await.unwrap().len(),
        MAX_KEYS_PER_PREFIX
    );
    insert(MAX_KEYS_PER_PREFIX + 1);
    assert_eq!(
        store.find_keys(&by_prefix("same")).await.unwrap_err().to_string(),
        "the database is not available: more than 1024 keys share one prefix"
    );
}

#[tokio::test]
async fn a_held_database_still_answers_reads_and_refuses_writes_in_words() {
    let (_folder, path) = scratch();
    let options = OpenOptions {
        busy_timeout: Duration::ZERO,
        ..OpenOptions::new(NOW)
    };
    let store = SqliteStore::open(&path, &options).unwrap();
    store.add_key(&ADMIN, new_key("default", "key_1")).await.unwrap();
    let hand = by_hand(&path);
    hand.execute_batch("begin immediate; update api_keys set status = 'revoked'")
        .unwrap();
    let error = store.count_uses(&[used("key_1", NOW)]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the database is not available: another program holds it"
    );
    assert_eq!(error.id(), "store-unavailable");
    assert_eq!(
        store.find_keys(&by_prefix("key_1")).await.unwrap()[0].status,
        KeyStatus::Active
    );
    hand.execute_batch("commit").unwrap();
    store.count_uses(&[used("key_1", NOW)]).await.unwrap();
    assert_eq!(
        store.find_keys(&by_prefix("key_1")).await.unwrap()[0].status,
        KeyStatus::Revoked
    );
}

#[tokio::test]
async fn a_closed_store_is_unavailable_and_leaves_one_file() {
    let (folder, path) = scratch();
    let store = open(&path).unwrap();
    store.add_key(&ADMIN, new_key("default", "key_1")).await.unwrap();
    store.close().await;
    store.close().await;
    let text = "the database is not available: it is closed";
    assert_eq!(
        store
            .find_keys(&by_prefix("key_1"))
            .await
            .unwrap_err()
            .to_string(),
        text
    );
    assert_eq!(
        store
            .count_uses(&[used("key_1", NOW)])
            .await
            .unwrap_err()
            .to_string(),
        text
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "the log was moved into the database"
    );
}

fn device_of_default() -> Principal {
    Principal::Device {
        tenant_id: "default".to_owned(),
        user_id: "default".to_owned(),
        key_id: "key_d".to_owned(),
        device_id: None,
    }
}

async fn registered_default(store: &SqliteStore) {
    store.add_key(&ADMIN, new_key("default", "key_d")).await.unwrap();
    store
        .register_device(&device_of_default(), facts("dev_1", "bench"), NOW)
        .await
        .unwrap();
}
