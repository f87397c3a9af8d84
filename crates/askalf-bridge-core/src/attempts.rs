//! Refused checks on their way to the store, for an operator who asks why a device is out.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use askalf_bridge_auth::{Token, UnixMillis, key_preview};

use crate::stores::{Attempt, StoreError};

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

    /// Passes what waits on to `write`, with the time before which older ones are to be forgotten. What could not be
    /// written stays for the next time.
    ///
    /// # Errors
    /// That of `write`.
    pub(crate) async fn write<F>(
        &self,
        now: UnixMillis,
        write: impl FnOnce(Vec<Attempt>, UnixMillis) -> F,
    ) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        let taken = mem::take(&mut *self.waiting());
        if taken.left_out > 0 {
            let left_out = taken.left_out;
            tracing::warn!(left_out, "more checks were refused at once than are kept");
        }
        if taken.attempts.is_empty() {
            return Ok(());
        }
        let forget_before = UnixMillis(now.0.saturating_sub(millis(RETENTION)));
        let written = write(taken.attempts.clone(), forget_before).await;
        if written.is_err() {
            let mut waiting = self.waiting();
            let newer = mem::take(&mut *waiting);
            let all = taken.attempts.into_iter().chain(newer.attempts);
            all.for_each(|attempt| waiting.add(attempt));
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
        if let Some(latest) = self
            .latest
            .get(&kind)
            .and_then(|index| self.attempts.get_mut(*index))
            && attempt.at.0.saturating_sub(latest.at.0).saturating_abs() < millis(MOMENT)
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

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// As much of what was presented as a log or a listing may hold.
pub(crate) fn preview(presented: Option<&str>) -> String {
    match presented.map(Token::parse) {
        None => "none".to_owned(),
        Some(Ok(token)) => key_preview(&token),
        Some(Err(_)) => "malformed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(at: i64, preview: &str, reason: &str) -> Attempt {
        Attempt {
            at: UnixMillis(at),
            address: Some("192.0.2.1".to_owned()),
            preview: preview.to_owned(),
            key_id: None,
            reason: reason.to_owned(),
            count: 1,
        }
    }

    async fn written(attempts: &Attempts, now: i64) -> (Vec<Attempt>, Option<UnixMillis>) {
        let (mut all, mut before) = (Vec::new(), None);
        let write = |written, forget_before| {
            (all, before) = (written, Some(forget_before));
            std::future::ready(Ok(()))
        };
        attempts.write(UnixMillis(now), write).await.unwrap();
        (all, before)
    }

    #[tokio::test]
    async fn equal_ones_within_a_second_are_one() {
        let attempts = Attempts::default();
        for at in [0, 999, 1_000] {
            attempts.note(attempt(at, "sk_live_NdlP...", "unknown"));
        }
        attempts.note(attempt(1_000, "sk_live_NdlP...", "revoked"));
        let mut other = attempt(1_000, "sk_live_NdlP...", "unknown");
        other.address = None;
        attempts.note(other.clone());
        let (all, before) = written(&attempts, 2_000).await;
        let mut first = attempt(0, "sk_live_NdlP...", "unknown");
        first.count = 2;
        let second = attempt(1_000, "sk_live_NdlP...", "unknown");
        let third = attempt(1_000, "sk_live_NdlP...", "revoked");
        assert_eq!(all, [first, second, third, other]);
        assert_eq!(before, Some(UnixMillis(2_000 - 2_592_000_000)), "thirty days");
        assert_eq!(
            written(&attempts, 2_000).await,
            (vec![], None),
            "nothing to write, no write"
        );
    }

    #[tokio::test]
    async fn a_flood_is_bounded_and_what_came_first_stays() {
        let attempts = Attempts::default();
        for n in 0..MAX_WAITING + 5 {
            attempts.note(attempt(0, &format!("sk_live_{n}..."), "unknown"));
        }
        attempts.note(attempt(1, "sk_live_0...", "unknown"));
        assert_eq!(attempts.waiting().left_out, 5);
        let (all, _) = written(&attempts, 0).await;
        assert_eq!((all.len(), all[0].count), (MAX_WAITING, 2));
    }

    #[tokio::test]
    async fn what_could_not_be_written_stays_in_its_order() {
        let attempts = Attempts::default();
        attempts.note(attempt(0, "first", "unknown"));
        let failed = attempts.write(UnixMillis(0), |_, _| {
            attempts.note(attempt(10, "second", "unknown"));
            attempts.note(attempt(20, "first", "unknown"));
            std::future::ready(Err(StoreError::Unavailable("the disk is full".to_owned())))
        });
        failed.await.unwrap_err();
        let (all, _) = written(&attempts, 0).await;
        let words: Vec<_> = all
            .iter()
            .map(|kept| (kept.preview.as_str(), kept.count))
            .collect();
        assert_eq!(words, [("first", 2), ("second", 1)]);
    }

    #[test]
    fn a_preview_tells_what_was_presented_and_no_secret() {
        assert_eq!(preview(None), "none");
        assert_eq!(preview(Some("two words")), "malformed");
        assert_eq!(preview(Some("hunter2")), "...");
        assert_eq!(
            preview(Some("sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG")),
            "sk_live_NdlP..."
        );
    }
}
