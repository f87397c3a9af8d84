//! The suite on PostgreSQL, and what PostgreSQL alone must do.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test's helpers fail it as its body does")]

mod postgres_server;
#[macro_use]
mod suite;

use std::sync::Arc;

use postgres_server::database::Database;
use suite::Shared;

async fn on_postgres() -> (Shared, Database) {
    let database = Database::seeded().await;
    (Arc::new(database.open().await), database)
}

mod portable {
    suite!(super::super::on_postgres);
}

/// Fewer than on SQLite: a statement here is a way to another process and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_counts_for_every_check_after_it_in_500_trials() {
    let (store, database) = on_postgres().await;
    database
        .by_hand()
        .await
        .batch_execute(&suite::revocation::rows(500, "'{device}'"))
        .await
        .unwrap();
    suite::revocation::counts_for_every_check_after_it(store, 500).await;
}
