//! A fleet that comes back, and a fleet that comes for the first time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use askalf_bridge_core::stores::Store;
use askalf_store::{OpenOptions, SqliteStore};
use nix::sys::resource::{UsageWho, getrusage};
use tokio::task::JoinSet;

use crate::check::{Checker, now};
use crate::figures::{Times, millis};
use crate::fill;

const RETURNING: usize = 10_000;
const NEW: usize = 1_000;

pub(crate) async fn run() -> Result<String> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bridge.db");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, &OpenOptions::new(now()))?);
    // The keys are real and so are their digests: each is minted and checked once before.
    let keys = Arc::new(mint(Arc::clone(&store), RETURNING).await?);
    let checker = Arc::new(Checker::new(store).await?);

    let cold = cold(&checker, &keys).await?;

    each(&checker, &keys, RETURNING, true).await?;
    checker.kept().await;
    let before = cpu()?;
    let began = Instant::now();
    each(&checker, &keys, RETURNING, true).await?;
    let (wall, cpu) = (began.elapsed(), cpu()? - before);
    Ok(format!(
        "### A fleet\n\n{RETURNING} distinct keys with digests, each checked once, validator and SQLite without sockets: {:.2} s of CPU time, {:.2} s on the clock.\n\n{cold}",
        cpu.as_secs_f64(),
        wall.as_secs_f64(),
    ))
}

/// Checks without digests beside bare derivations, while a timer on the same runtime tells how late it is.
async fn cold(checker: &Arc<Checker>, keys: &Arc<Vec<String>>) -> Result<String> {
    let bare = {
        let began = Instant::now();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                let keys = Arc::clone(keys);
                std::thread::spawn(move || -> Result<()> {
                    let salt = askalf_bridge_auth::Salt::from_bytes([7; 16]);
                    for key in keys.iter().take(NEW).skip(thread).step_by(threads) {
                        let token = askalf_bridge_auth::Token::parse(key.as_str())?;
                        std::hint::black_box(askalf_bridge_auth::KeyHash::derive(&token, salt.clone()));
                    }
                    Ok(())
                })
            })
            .collect();
        for handle in handles {
            handle
                .join()
                .map_err(|_| anyhow::anyhow!("a derivation panicked"))??;
        }
        began.elapsed()
    };
    let timer = tokio::spawn(async {
        let mut late = Vec::new();
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due = tick.tick().await;
            late.push(due.elapsed());
            if late.len() == 500 {
                return Times::new(late);
            }
        }
    });
    let began = Instant::now();
    each(checker, keys, NEW, false).await?;
    let ours = began.elapsed();
    let late = timer.await?;
    Ok(format!(
        "{NEW} checks without digests take {:.2} s, {NEW} bare derivations on as many threads as there are cores {:.2} s: ratio {:.3}. \
         A timer on the runtime was {} late at p99 meanwhile.\n",
        ours.as_secs_f64(),
        bare.as_secs_f64(),
        ours.as_secs_f64() / bare.as_secs_f64(),
        millis(late.at(0.99)),
    ))
}

async fn mint(store: Arc<dyn Store>, count: usize) -> Result<Vec<String>> {
    let mut keys = Vec::with_capacity(count);
    let mut tasks = JoinSet::new();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    for worker in 0..workers {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut minted = Vec::new();
            for number in (worker..count).step_by(workers) {
                let key = fill::real_key(&*store, "default", number as u64).await?;
                minted.push(key.token.expose_secret().to_owned());
            }
            anyhow::Ok(minted)
        });
    }
    while let Some(minted) = tasks.join_next().await {
        keys.extend(minted??);
    }
    Ok(keys)
}

/// Checks each of the first `count` keys once, some at a time.
async fn each(checker: &Arc<Checker>, keys: &Arc<Vec<String>>, count: usize, warm: bool) -> Result<()> {
    const AT_ONCE: usize = 64;
    let mut tasks = JoinSet::new();
    for worker in 0..AT_ONCE {
        let (checker, keys) = (Arc::clone(checker), Arc::clone(keys));
        tasks.spawn(async move {
            for key in keys.iter().take(count).skip(worker).step_by(AT_ONCE) {
                if warm {
                    checker.warm(key).await?;
                } else {
                    checker.cold(key).await?;
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

fn cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| time.tv_sec() * 1_000_000 + time.tv_usec())
        .sum::<i64>();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}
