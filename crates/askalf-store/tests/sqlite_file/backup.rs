use std::fs;

use askalf_bridge_core::stores::{KeyStore, TrailStore};
use askalf_store::{OpenOptions, SqliteStore};

use super::{by_hand, column, open, scratch};
use crate::suite::{ADMIN, NOW, SEED, new_key};

#[tokio::test]
async fn a_backup_is_what_was_committed_while_a_bridge_goes_on() {
    let (folder, path) = scratch();
    let to = folder.path().join("copy ü.db");
    let options = OpenOptions::new(NOW);
    let store = open(&path).unwrap();
    by_hand(&path).execute_batch(SEED).unwrap();
    store.add_key(&ADMIN, new_key("ann", "key_1")).await.unwrap();
    let inspection = SqliteStore::backup(&path, &to, &options).unwrap();
    assert_eq!(inspection.schema, inspection.newest);
    store.add_key(&ADMIN, new_key("ann", "key_2")).await.unwrap();

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(SqliteStore::inspect(&to, &options, true).unwrap(), inspection);
    let copy = open(&to).unwrap();
    let keys = copy.keys(&ADMIN, 10).await.unwrap();
    assert_eq!(
        keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(),
        ["key_1"]
    );
    // New rows of the trail go on counting where it stood.
    copy.add_key(&ADMIN, new_key("ann", "key_3")).await.unwrap();
    assert_eq!(copy.acts(&ADMIN, 10).await.unwrap().len(), 2);
    assert_eq!(column(&by_hand(&to), "pragma integrity_check"), ["ok"]);
}

#[test]
fn a_backup_replaces_nothing_and_leaves_nothing_behind() {
    let (folder, path) = scratch();
    let to = folder.path().join("copy.db");
    let options = OpenOptions::new(NOW);
    drop(open(&path).unwrap());
    fs::write(&to, "mine").unwrap();
    let error = SqliteStore::backup(&path, &to, &options).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the database {} could not be opened: it exists already",
            to.display()
        )
    );
    assert_eq!(fs::read(&to).unwrap(), b"mine");

    fs::remove_file(&to).unwrap();
    let nowhere = folder.path().join("nowhere.db");
    SqliteStore::backup(&nowhere, &to, &options).unwrap_err();
    assert!(!to.exists() && !nowhere.exists());
}

#[test]
fn what_is_looked_at_is_not_changed() {
    let (_folder, path) = scratch();
    let options = OpenOptions::new(NOW);
    let error = SqliteStore::inspect(&path, &options, true).unwrap_err();
    assert_eq!(error.id(), "database-file");
    assert!(!path.exists());
    fs::write(
        &path,
        "not a database at all, but long enough to be looked at as one",
    )
    .unwrap();
    assert_eq!(
        SqliteStore::inspect(&path, &options, false).unwrap_err().id(),
        "database-not-sqlite"
    );

    fs::remove_file(&path).unwrap();
    drop(open(&path).unwrap());
    by_hand(&path)
        .execute_batch("insert into askalf_migrations values (99, 'future', '2030-01-01T00:00:00.000Z')")
        .unwrap();
    assert_eq!(
        SqliteStore::inspect(&path, &options, true).unwrap_err().id(),
        "database-newer"
    );
}

#[test]
fn a_damaged_page_is_found_by_reading_it_all() {
    let (_folder, path) = scratch();
    let options = OpenOptions::new(NOW);
    let hand = by_hand(&path);
    drop(open(&path).unwrap());
    hand.execute_batch("pragma wal_checkpoint(truncate)").unwrap();
    // One that a look at the schema does not read.
    let page: u32 = hand
        .query_row(
            "select rootpage from sqlite_schema where name = 'askalf_attempts_at'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    drop(hand);
    let page = usize::try_from(page).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[(page - 1) * 4096..page * 4096].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    assert!(SqliteStore::inspect(&path, &options, false).is_ok());
    assert_eq!(
        SqliteStore::inspect(&path, &options, true).unwrap_err().id(),
        "database-damaged"
    );
}
