//! Four kinds of checks beside the number of keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use askalf_bridge_auth::Rejection;
use askalf_bridge_core::stores::Store;
use askalf_store::{OpenOptions, SqliteStore};

use crate::check::{Checker, now};
use crate::figures::{Times, micros, millis, table};
use crate::fill;

const SIZES: [u64; 4] = [1, 1_000, 100_000, 1_000_000];
const COLD_RUNS: usize = 20;
const WARM_RUNS: usize = 2_000;

pub(crate) const HEAD: [&str; 7] = [
    "store",
    "keys",
    "cold",
    "cold less one derivation",
    "warm (digest)",
    "unknown prefix",
    "known prefix, wrong rest",
];

pub(crate) async fn on_sqlite() -> Result<String> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bridge.db");
    let mut rows = Vec::new();
    let mut filled = 0;
    for size in SIZES {
        drop(SqliteStore::open(&path, &OpenOptions::new(now()))?);
        fill::sqlite(&path, filled, size - 1)?;
        filled = size - 1;
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, &OpenOptions::new(now()))?);
        rows.push(measure("SQLite", size, store, "default").await?);
        rusqlite::Connection::open(&path)?.execute("delete from api_keys where id like 'real%'", [])?;
    }
    Ok(format!(
        "### A check beside the number of keys\n\nAll but one of the rows are filler with random hashes. Medians; cold and warm alternate with nothing else.\n\n{}",
        table(&HEAD, &rows)
    ))
}

/// One row of the table.
pub(crate) async fn measure(name: &str, size: u64, store: Arc<dyn Store>, user: &str) -> Result<Vec<String>> {
    let key = fill::real_key(&*store, user, size).await?;
    let token = key.token.expose_secret();
    let checker = Checker::new(store).await?;

    let (mut cold, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..COLD_RUNS {
        let began = Instant::now();
        checker.cold(token).await?;
        cold.push(began.elapsed());
        let began = Instant::now();
        ensure!(key.hash.verify(&key.token), "the hash is not the token's");
        bare.push(began.elapsed());
    }
    let mut wrong = Vec::new();
    let wrong_token = fill::wrong_rest(&key.prefix);
    for _ in 0..COLD_RUNS {
        wrong.push(rejected(&checker, &wrong_token).await?);
    }
    checker.warm(token).await?;
    checker.kept().await;
    let mut warm = Vec::new();
    for _ in 0..WARM_RUNS {
        let began = Instant::now();
        checker.warm(token).await?;
        warm.push(began.elapsed());
    }
    let mut unknown = Vec::new();
    for _ in 0..WARM_RUNS {
        unknown.push(rejected(&checker, "sk_live_~~~~0123456789abcdefghijklmnopqr").await?);
    }
    checker.end().await;
    let (cold, bare) = (Times::new(cold), Times::new(bare));
    Ok(vec![
        name.to_owned(),
        size.to_string(),
        millis(cold.median()),
        micros(cold.median().saturating_sub(bare.median())),
        micros(Times::new(warm).median()),
        micros(Times::new(unknown).median()),
        millis(Times::new(wrong).median()),
    ])
}

async fn rejected(checker: &Checker, token: &str) -> Result<Duration> {
    let began = Instant::now();
    let outcome = checker.warm(token).await;
    let took = began.elapsed();
    ensure!(
        matches!(outcome, Err(Rejection::Unknown)),
        "a wrong token was not unknown"
    );
    Ok(took)
}
