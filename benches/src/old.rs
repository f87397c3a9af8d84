//! The forge's algorithm of today beside ours: one derivation over every active row, until one matches.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use askalf_bridge_auth::{KeyHash, Token};
use askalf_bridge_core::stores::Store;
use askalf_store::{OpenOptions, SqliteStore};

use crate::check::{Checker, now};
use crate::figures::{Times, micros, millis, table};
use crate::fill;

const SIZES: [u64; 4] = [1, 10, 100, 1_000];

pub(crate) async fn run() -> Result<String> {
    let mut rows = Vec::new();
    for size in SIZES {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("bridge.db");
        drop(SqliteStore::open(&path, &OpenOptions::new(now()))?);
        fill::sqlite(&path, 0, size - 1)?;
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, &OpenOptions::new(now()))?);
        let key = fill::real_key(&*store, "default", size).await?;
        let checker = Checker::new(Arc::clone(&store)).await?;
        let began = Instant::now();
        ensure!(
            old_check(&path, &key.token)?.as_deref() == Some(format!("real_{size}").as_str()),
            "the old way found another key"
        );
        let old = began.elapsed();
        let cold = {
            let mut times = Vec::new();
            for _ in 0..10 {
                let began = Instant::now();
                checker.cold(key.token.expose_secret()).await?;
                times.push(began.elapsed());
            }
            Times::new(times).median()
        };
        checker.warm(key.token.expose_secret()).await?;
        checker.kept().await;
        let warm = {
            let mut times = Vec::new();
            for _ in 0..500 {
                let began = Instant::now();
                checker.warm(key.token.expose_secret()).await?;
                times.push(began.elapsed());
            }
            Times::new(times).median()
        };
        checker.end().await;
        let ratio = |ours: std::time::Duration| format!("{:.0}", old.as_secs_f64() / ours.as_secs_f64());
        rows.push(vec![
            size.to_string(),
            millis(old),
            millis(cold),
            ratio(cold),
            micros(warm),
            ratio(warm),
        ]);
    }
    Ok(format!(
        "### Beside the old algorithm\n\nThe forge's way, written here in Rust on the same derivation: every active row is derived until one matches; \
         the key that matches is the newest.\n\n{}",
        table(
            &[
                "keys",
                "old way",
                "ours, cold",
                "old / cold",
                "ours, warm",
                "old / warm"
            ],
            &rows
        )
    ))
}

fn old_check(path: &std::path::Path, token: &Token) -> Result<Option<String>> {
    let connection = rusqlite::Connection::open(path)?;
    let mut statement = connection.prepare(
        "select api_keys.id, key_hash from api_keys join users on users.id = user_id
         where api_keys.status = 'active' and users.status = 'active' order by api_keys.rowid",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let hash: String = row.get(1)?;
        if KeyHash::parse(&hash)?.verify(token) {
            return Ok(Some(row.get(0)?));
        }
    }
    Ok(None)
}
