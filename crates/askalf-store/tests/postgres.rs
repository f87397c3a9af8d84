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
