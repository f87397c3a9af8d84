//! The keys whose stored prefix no token can have.
//!
//! The forge's table has no index for them and is not given one. So a scan finds their ids, and its answer is kept for a
//! moment, [`PAUSE`] times as long as it took: a token whose row was inserted by hand a moment ago must not be called unknown,
//! and scans must not be all that the server does. The rows themselves are always read live.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askalf_bridge_core::stores::StoreError;
use deadpool_postgres::Pool;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::Instant;

use super::{fault::Fault, session::Session};
use crate::MAX_KEYS_PER_PREFIX;

/// How old the answer of a scan may be at most, however long it took.
const FRESH: Duration = Duration::from_secs(10);

/// How many times as long as a scan took its answer is kept: unknown tokens in any number then keep one process of the server
/// busy a tenth of the time.
const PAUSE: u32 = 10;

/// Not 12 characters, or with a control character or white space among them: what [`char::is_control`] and
/// [`char::is_whitespace`] say, in the terms of a regular expression, whatever the language of the database.
const MALFORMED: &str = "(char_length(key_prefix) <> 12 or key_prefix ~ \
    '[\\u0001-\\u0020\\u007f-\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]')";

/// What a scan found.
#[derive(Debug, Clone)]
struct Found {
    /// At most one more than may be used.
    ids: Arc<[String]>,
    count: u64,
    fresh_until: Instant,
}

type Scan = Shared<BoxFuture<'static, Result<Found, StoreError>>>;

/// The last scan, and the one under way.
#[derive(Default)]
pub(super) struct MalformedKeys {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    found: Option<Found>,
    scan: Option<Scan>,
}

impl MalformedKeys {
    /// The ids, as they were a moment ago at most.
    pub(super) async fn ids(&self, pool: &Pool, patience: Duration) -> Result<Arc<[String]>, Fault> {
        let found = self.found(pool, patience).await?;
        if found.ids.len() > MAX_KEYS_PER_PREFIX {
            let text = format!("more than {MAX_KEYS_PER_PREFIX} keys share no well-formed prefix");
            return Err(StoreError::Unavailable(text).into());
        }
        Ok(found.ids)
    }

    /// How many there are.
    pub(super) async fn count(&self, pool: &Pool, patience: Duration) -> Result<u64, Fault> {
        Ok(self.found(pool, patience).await?.count)
    }

    /// Makes the next question scan again.
    pub(super) fn forget(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State::default();
    }

    async fn found(&self, pool: &Pool, patience: Duration) -> Result<Found, Fault> {
        let scan = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match &state.found {
                Some(found) if Instant::now() < found.fresh_until => return Ok(found.clone()),
                _ => state
                    .scan
                    .get_or_insert_with(|| scan(pool.clone(), patience))
                    .clone(),
            }
        };
        let result = scan.clone().await;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever comes first notes what came of it. A scan that was forgotten meanwhile is not the one that stands there.
        if state.scan.as_ref().is_some_and(|current| current.ptr_eq(&scan)) {
            state.scan = None;
            if let Ok(found) = &result {
                state.found = Some(found.clone());
            }
        }
        Ok(result?)
    }
}

/// One scan for all who ask meanwhile. It goes on when those who asked have gone, so that the next has its answer.
fn scan(pool: Pool, patience: Duration) -> Scan {
    let task = tokio::spawn(async move {
        let session = Session::new(pool.get().await?, patience);
        // What is inserted after this moment may be missed, so from here on the answer ages.
        let at = Instant::now();
        let limit = MAX_KEYS_PER_PREFIX as i64 + 1;
        let rows = session
            .rows(
                &format!("select id from api_keys where {MALFORMED} limit $1"),
                &[&limit],
            )
            .await?;
        let ids: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let count = if ids.len() > MAX_KEYS_PER_PREFIX {
            let sql = format!("select count(*) from api_keys where {MALFORMED}");
            match session.row(&sql, &[]).await? {
                Some(row) => row.try_get::<_, i64>(0)?.unsigned_abs(),
                None => 0,
            }
        } else {
            ids.len() as u64
        };
        Ok::<_, Fault>(Found {
            ids: ids.into(),
            count,
            fresh_until: at + at.elapsed().saturating_mul(PAUSE + 1).min(FRESH),
        })
    });
    async move {
        match task.await {
            Ok(result) => result.map_err(StoreError::from),
            Err(_) => Err(StoreError::Unavailable("a search in it did not end".to_owned())),
        }
    }
    .boxed()
    .shared()
}
