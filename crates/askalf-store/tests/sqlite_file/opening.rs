use std::{fs, path::Path};

use askalf_bridge_core::stores::{KeyStore, StoreError};
use askalf_store::{OpenError, OpenOptions, SqliteStore};

use super::{by_hand, column, open, scratch};
use crate::suite::{ADMIN, NOW, later, new_key};

#[tokio::test]
async fn the_first_start_makes_the_default_user_and_later_ones_do_not() {
    let (_folder, path) = scratch();
    let store = open(&path).unwrap();
    let mut key = new_key("", "key_1");
    key.user_id = None;
    let key = store.add_key(&ADMIN, key).await.unwrap();
    assert_eq!(
        (key.tenant_id.as_str(), key.user_id.as_deref()),
        ("default", Some("default"))
    );
    let hand = by_hand(&path);
    hand.execute_batch("update users set id = 'me', display_name = 'Mé'")
        .unwrap_err();
    hand.execute_batch("pragma foreign_keys = off; update users set id = 'me'")
        .unwrap();
    store.close().await;

    open(&path).unwrap();
    assert_eq!(column(&hand, "select id from users"), ["me"]);
    assert_eq!(column(&hand, "select id from tenants"), ["default"]);
}

#[tokio::test]
async fn a_user_that_was_deleted_is_not_the_only_one() {
    let (_folder, path) = scratch();
    let store = open(&path).unwrap();
    by_hand(&path)
        .execute_batch("update users set status = 'deleted'")
        .unwrap();
    let mut key = new_key("", "key_1");
    key.user_id = None;
    let error = store.add_key(&ADMIN, key).await.unwrap_err();
    assert_eq!(error, StoreError::User("there is no user yet".to_owned()));
}

#[cfg(unix)]
#[tokio::test]
async fn its_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path) = scratch();
    let store = open(&path).unwrap();
    store.add_key(&ADMIN, new_key("default", "key_1")).await.unwrap();
    let mut files = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{entry:?}"
        );
        files += 1;
    }
    assert_eq!(files, 3, "the database, its log and its shared memory");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let (_folder, path) = scratch();
    let store = open(&path).unwrap();
    store.close().await;
    by_hand(&path)
        .execute_batch("insert into askalf_migrations values (99, 'future', '2030-01-01T00:00:00.000Z')")
        .unwrap();
    let before = fs::read(&path).unwrap();
    let error = open(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the database {} has schema 99; this program knows up to 7",
            path.display()
        )
    );
    assert_eq!(error.id(), "database-newer");
    assert!(error.hint().contains("upgrade"));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_not_ours_is_refused_and_left_alone() {
    let (_folder, path) = scratch();
    fs::write(&path, "#!/bin/sh\n".repeat(100)).unwrap();
    assert_refused(&path, "database-not-sqlite", "is not a SQLite database");

    let (_folder, path) = scratch();
    by_hand(&path)
        .execute_batch("create table api_keys (id text)")
        .unwrap();
    assert_refused(&path, "database-foreign", "is a database of another program");
}

fn assert_refused(path: &Path, id: &str, text: &str) {
    let before = fs::read(path).unwrap();
    let error = open(path).unwrap_err();
    assert_eq!(error.id(), id);
    assert_eq!(error.to_string(), format!("{} {text}", path.display()));
    assert_eq!(fs::read(path).unwrap(), before);
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_alone() {
    let (_folder, path) = scratch();
    open(&path).unwrap().close().await;
    let whole = fs::read(&path).unwrap();
    let mut scrambled = whole.clone();
    scrambled[100..4096].fill(0xa5);
    for damaged in [&whole[..whole.len() / 2], &scrambled] {
        fs::write(&path, damaged).unwrap();
        let error = open(&path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the database {} is damaged", path.display())
        );
        assert!(error.hint().contains("restore a backup"));
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }
    fs::write(&path, whole).unwrap();
    open(&path).unwrap();
}

#[test]
fn a_path_that_cannot_be_a_file_is_told_plainly() {
    let (folder, _) = scratch();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for (path, reason) in [
        (
            folder.path().join("missing/bridge.db"),
            "its folder does not exist",
        ),
        (folder.path().to_owned(), "it is a folder"),
        (file.join("bridge.db"), "a part of its path is not a folder"),
    ] {
        let error = open(&path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the database {} could not be opened: {reason}", path.display())
        );
        assert_eq!(error.id(), "database-file");
    }
}

#[test]
fn a_database_that_another_program_holds_is_busy() {
    let (_folder, path) = scratch();
    open(&path).unwrap();
    let hand = by_hand(&path);
    hand.execute_batch("begin immediate").unwrap();
    let options = OpenOptions {
        busy_timeout: std::time::Duration::ZERO,
        ..OpenOptions::new(NOW)
    };
    let error = SqliteStore::open(&path, &options).unwrap_err();
    assert!(matches!(error, OpenError::Busy { .. }), "{error}");
    hand.execute_batch("rollback").unwrap();
    SqliteStore::open(&path, &options).unwrap();
}

#[test]
fn many_may_make_the_same_database_at_once() {
    for _ in 0..10 {
        let (_folder, path) = scratch();
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (path, start) = (&path, &start);
                scope.spawn(move || {
                    start.wait();
                    SqliteStore::open(path, &OpenOptions::new(later(number))).unwrap();
                });
            }
        });
        let hand = by_hand(&path);
        assert_eq!(column(&hand, "select id from users"), ["default"]);
        assert_eq!(
            column(&hand, "select name from askalf_migrations order by version"),
            [
                "forge_tables",
                "key_devices",
                "key_digests",
                "pair_codes",
                "trail",
                "audit_heads",
                "rotations"
            ]
        );
        assert_eq!(column(&hand, "pragma journal_mode"), ["wal"]);
        assert_eq!(column(&hand, "pragma integrity_check"), ["ok"]);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_is_accepted_into_a_file_that_was_moved_or_replaced() {
    let (folder, path) = scratch();
    let store = open(&path).unwrap();
    store.add_key(&ADMIN, new_key("default", "key_1")).await.unwrap();
    let gone = "the database is not available: its file was moved, removed or replaced";

    let aside = folder.path().join("aside.db");
    fs::rename(&path, &aside).unwrap();
    let error = store
        .add_key(&ADMIN, new_key("default", "key_2"))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), gone);
    fs::copy(&aside, &path).unwrap();
    let error = store
        .add_key(&ADMIN, new_key("default", "key_2"))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), gone, "another file of the same name");

    fs::rename(&aside, &path).unwrap();
    store.add_key(&ADMIN, new_key("default", "key_2")).await.unwrap();
    let keys = column(&by_hand(&path), "select id from api_keys order by id");
    assert_eq!(keys, ["key_1", "key_2"]);
}
