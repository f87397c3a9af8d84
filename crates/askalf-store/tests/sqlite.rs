//! The suite on SQLite, in memory and in a file, and what SQLite alone must do.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it as its body does")]

#[macro_use]
mod suite;
mod sqlite_file;

use std::sync::Arc;

use askalf_store::{OpenOptions, SqliteStore};
use suite::{NOW, SEED, Shared};
use tempfile::TempDir;

async fn in_memory() -> (Shared, ()) {
    let store = SqliteStore::open_in_memory(&OpenOptions::new(NOW), SEED).unwrap();
    (Arc::new(store), ())
}

async fn in_file() -> (Shared, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bridge.db");
    let store = SqliteStore::open(&path, &OpenOptions::new(NOW)).unwrap();
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch(SEED)
        .unwrap();
    (Arc::new(store), folder)
}

mod memory {
    suite!(super::super::in_memory);
}

mod file {
    suite!(super::super::in_file);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_counts_for_every_check_after_it_in_10_000_trials() {
    let (store, folder) = in_file().await;
    rusqlite::Connection::open(folder.path().join("bridge.db"))
        .unwrap()
        .execute_batch(&suite::revocation::rows(10_000, "'[\"device\"]'"))
        .unwrap();
    suite::revocation::counts_for_every_check_after_it(store, 10_000).await;
}
