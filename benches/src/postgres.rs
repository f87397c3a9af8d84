//! The same checks on PostgreSQL.

use std::sync::Arc;

use anyhow::{Context, Result};
use askalf_bridge_core::stores::Store;
use askalf_store::{PostgresOptions, PostgresStore};

use crate::check::now;
use crate::checks::{HEAD, measure};
use crate::figures::table;
use crate::fill;

const KEYS: u64 = 1_000_000;

/// `url` names an empty database.
pub(crate) async fn run(url: &str) -> Result<String> {
    let store: Arc<dyn Store> = Arc::new(PostgresStore::connect(url, &PostgresOptions::new(now())).await?);
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let mut number = 0;
    while number < KEYS - 1 {
        let to = (number + 5_000).min(KEYS - 1);
        let values: Vec<String> = (number..to)
            .map(|number| {
                format!(
                    "('filler_{number}','default','default','filler','{}','{}','{{device}}')",
                    fill::hash(number),
                    fill::prefix(number)
                )
            })
            .collect();
        client
            .batch_execute(&format!(
                "insert into api_keys (id, tenant_id, user_id, name, key_hash, key_prefix, scopes) values {}",
                values.join(",")
            ))
            .await?;
        number = to;
    }
    client.batch_execute("analyze").await?;
    drop(client);
    connection
        .await?
        .context("the connection that filled the database")?;
    let row = measure("PostgreSQL", KEYS, store, "default").await?;
    Ok(table(&HEAD, &[row]))
}
