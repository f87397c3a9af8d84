//! One bridge per database.

use askalf_bridge_core::stores::{KeyStore, StoreError};
use askalf_store::PostgresStore;
use tokio_postgres::Client;

use super::database::{Database, column, options};
use crate::suite::ADMIN;

const HOLDER: &str = "select pid::text from pg_locks where locktype = 'advisory' and granted
    and database = (select oid from pg_database where datname = current_database())";

async fn terminate_holder(client: &Client) {
    let sql = format!("select pg_terminate_backend(pid::int)::text from ({HOLDER}) holder");
    assert_eq!(column(client, &sql).await, ["true"]);
}

fn trouble(result: Result<impl std::fmt::Debug, StoreError>) -> String {
    result.unwrap_err().to_string()
}

#[tokio::test]
async fn a_second_bridge_is_refused_until_the_first_has_gone() {
    let database = Database::seeded().await;
    let first = database.open().await;
    let error = PostgresStore::connect(&database.url, &options())
        .await
        .unwrap_err();
    assert_eq!(error.id(), "database-in-use");
    assert!(error.is_transient());
    first.close().await;
    assert_eq!(
        trouble(first.keys(&ADMIN, 1).await),
        "the database is not available: it was closed"
    );
    let second = database.open().await;
    second.keys(&ADMIN, 1).await.unwrap();
}

#[tokio::test]
async fn a_bridge_whose_hold_was_cut_takes_it_again() {
    let database = Database::seeded().await;
    let store = database.open().await;
    let client = database.by_hand().await;
    let before = column(&client, HOLDER).await;
    terminate_holder(&client).await;
    let mut refused = 0;
    loop {
        match store.keys(&ADMIN, 1).await {
            Ok(_)
                if column(&client, HOLDER)
                    .await
                    .iter()
                    .any(|holder| !before.contains(holder)) =>
            {
                break;
            }
            Ok(_) => {}
            Err(error) => {
                refused += 1;
                assert_eq!(
                    error.to_string(),
                    "the database is not available: the connection to it was lost"
                );
            }
        }
        tokio::task::yield_now().await;
    }
    assert!(refused > 0);
    assert_eq!(column(&client, HOLDER).await.len(), 1);
}

#[tokio::test]
async fn a_bridge_that_was_overtaken_does_nothing_more() {
    let database = Database::seeded().await;
    let store = database.open().await;
    let client = database.by_hand().await;
    // The other one waits for the lock, and so has it before this one can ask again.
    let other = database.by_hand().await;
    let key = "hashtextextended('askalf-bridge of ' || current_schema(), 0)";
    let wait = format!("select pg_advisory_lock({key})");
    let (waited, ()) = tokio::join!(other.batch_execute(&wait), async {
        while column(
            &client,
            "select 1::text from pg_locks where locktype = 'advisory' and not granted",
        )
        .await
        .is_empty()
        {
            tokio::task::yield_now().await;
        }
        terminate_holder(&client).await;
    });
    waited.unwrap();
    while trouble(store.keys(&ADMIN, 1).await)
        != "the database is not available: another bridge has taken it over"
    {
        tokio::task::yield_now().await;
    }
    drop(other);
    while store.keys(&ADMIN, 1).await.is_err() {
        tokio::task::yield_now().await;
    }
}
