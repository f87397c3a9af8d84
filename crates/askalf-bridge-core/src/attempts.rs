//! Refused checks on their way to the store, for an operator who asks why a device is out.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use askalf_bridge_auth::{Token, UnixMillis, key_preview};

use crate::stores::{Attempt, StoreError, TrailStore};

/// How long they are kept.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Equal ones within this time are one, with a count.
const MOMENT: Duration = Duration::from_secs(1);

/// How many wait for a write. Of more, the newest are left out: a flood must not push out what came before it.
const MAX_WAITING: usize = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Attempts {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    attempts: Vec<Attempt>,
    /// Where the last one of a kind stands.
    latest: HashMap<Kind, usize>,
    left_out: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    address: Option<String>,
    preview: String,
    key_id: Option<String>,
    reason: String,
}

impl Attempts {
    /// Notes a refused check.
    pub(crate) fn note(&self, attempt: Attempt) {
        self.waiting().add(attempt);
    }

    /// Writes what waits, and has the store forget what is older than the retention. What could not be written stays
    /// for the next time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn write(
        &self,
        store: &(impl TrailStore + ?Sized),
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let Waiting {
            attempts, left_out, ..
        } = mem::take(&mut *self.waiting());
        if left_out > 0 {
            tracing::warn!(left_out, "more checks were refused at once than are kept");
        }
        if attempts.is_empty() {
            return Ok(());
        }
        let retention = i64::try_from(RETENTION.as_millis()).unwrap_or(i64::MAX);
        let forget_before = UnixMillis(now.0.saturating_sub(retention));
        let written = store.keep_attempts(&attempts, forget_before).await;
        if written.is_err() {
            let mut waiting = self.waiting();
            let newer = mem::take(&mut *waiting);
            attempts
                .into_iter()
                .chain(newer.attempts)
                .for_each(|attempt| waiting.add(attempt));
            waiting.left_out += newer.left_out;
        }
        written
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn add(&mut self, attempt: Attempt) {
        let kind = Kind {
            address: attempt.address.clone(),
            preview: attempt.preview.clone(),
            key_id: attempt.key_id.clone(),
            reason: attempt.reason.clone(),
        };
        let moment = i64::try_from(MOMENT.as_millis()).unwrap_or(i64::MAX);
        if let Some(latest) = self
            .latest
            .get(&kind)
            .and_then(|index| self.attempts.get_mut(*index))
            && attempt.at.0.saturating_sub(latest.at.0).saturating_abs() < moment
        {
            latest.count = latest.count.saturating_add(attempt.count);
        } else if self.attempts.len() < MAX_WAITING {
            self.latest.insert(kind, self.attempts.len());
            self.attempts.push(attempt);
        } else {
            self.left_out += u64::from(attempt.count);
        }
    }
}

/// As much of what was presented as a log or a listing may hold.
pub(crate) fn preview(presented: Option<&str>) -> String {
    match presented.map(Token::parse) {
        None => "none".to_owned(),
        Some(Ok(token)) => key_preview(&token),
        Some(Err(_)) => "malformed".to_owned(),
    }
}
