//! The machine's records on their way to the disk: batched, in order, and again after a failure.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, warn};

use crate::journal::{Committed, Journal, JournalError, Record};
use crate::machine::{Event, StateReason};

/// First wait after a failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Longest wait between two tries.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Decides what is handed to the journal when. It is called by the loop alone; the calls into the journal are the loop's.
///
/// What waits is bounded by what the machine holds: results and acceptances up to the bounds of outbox and queue, and
/// while the journal fails, no acceptances at all.
pub(super) struct JournalWriter {
    journal: Arc<dyn Journal>,
    waiting: Vec<Record>,
    /// What a call under way puts in place.
    writing: Option<Arc<Vec<Record>>>,
    /// What an earlier process left has been read.
    loaded: bool,
    /// Whether to ask if it takes records, though there are none.
    probe: bool,
    /// The journal begins anew: the next commit is to hold everything.
    rebuild: bool,
    /// Failures in a row.
    failures: u32,
    retry_at: Option<Instant>,
}

/// A call into the journal.
pub(super) enum Call {
    Load,
    Commit(Arc<Vec<Record>>),
}

impl JournalWriter {
    pub(super) fn new(journal: Arc<dyn Journal>) -> Self {
        Self {
            journal,
            waiting: Vec::new(),
            writing: None,
            loaded: false,
            probe: false,
            rebuild: false,
            failures: 0,
            retry_at: None,
        }
    }

    pub(super) fn journal(&self) -> Arc<dyn Journal> {
        Arc::clone(&self.journal)
    }

    pub(super) fn put(&mut self, record: Record) {
        self.waiting.push(record);
    }

    /// When to ask [`JournalWriter::next_call`] again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Does not wait any longer before the next try.
    pub(super) fn hasten(&mut self, now: Instant) {
        self.retry_at = self.retry_at.map(|at| at.min(now));
    }

    /// The call that is due, if any. It is under way until [`JournalWriter::loaded`] or [`JournalWriter::committed`].
    /// `everything` is what a fresh journal must hold.
    pub(super) fn next_call(
        &mut self,
        now: Instant,
        everything: impl FnOnce() -> Vec<Record>,
    ) -> Option<Call> {
        if self.writing.is_some() || self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        let retries = self.retry_at.take().is_some();
        if !self.loaded {
            return retries.then_some(Call::Load);
        }
        if self.rebuild {
            self.waiting = everything();
        } else if self.waiting.is_empty() && !retries && !self.probe {
            return None;
        }
        self.probe = false;
        let batch = Arc::new(std::mem::take(&mut self.waiting));
        self.writing = Some(Arc::clone(&batch));
        Some(Call::Commit(batch))
    }

    /// The journal was read, or could not be.
    pub(super) fn loaded(&mut self, error: Option<&JournalError>, now: Instant) -> Vec<Event> {
        match error {
            None => {
                self.loaded = true;
                self.probe = true;
                self.works()
            }
            Some(error) => vec![self.fails(error, now)],
        }
    }

    /// The commit under way has ended: what to tell the machine.
    pub(super) fn committed(&mut self, result: Result<Committed, JournalError>, now: Instant) -> Vec<Event> {
        let batch = self.writing.take().unwrap_or_default();
        let error = match result {
            Ok(_) => {
                self.rebuild = false;
                let mut events = self.works();
                events.extend(batch.iter().filter_map(on_record));
                return events;
            }
            Err(error) => error,
        };
        self.rebuild |= error.starts_anew();
        if error.starts_anew() && self.failures == 0 {
            error!("{error}. {}", error.hint());
            // A second time in a row waits as any other failure does.
            self.failures = 1;
            return Vec::new();
        }
        let mut events = vec![self.fails(&error, now)];
        let newer = std::mem::take(&mut self.waiting);
        for record in batch.iter().cloned().chain(newer) {
            match record {
                // Not accepted after all, where nobody was told of it yet.
                Record::Accepted { execution_id, .. } => events.push(Event::NotJournalled(execution_id)),
                kept => self.waiting.push(kept),
            }
        }
        events
    }

    fn works(&mut self) -> Vec<Event> {
        let failed = std::mem::take(&mut self.failures) > 0;
        failed.then_some(Event::JournalWorks).into_iter().collect()
    }

    fn fails(&mut self, error: &JournalError, now: Instant) -> Event {
        let wait = FIRST_RETRY
            .saturating_mul(1 << self.failures.min(6))
            .min(LAST_RETRY);
        self.failures += 1;
        self.retry_at = Some(now + wait);
        warn!("{error}; next try in {} s. {}", wait.as_secs(), error.hint());
        Event::JournalFailed(StateReason::new(error.id(), error.to_string(), error.hint()))
    }
}

/// What the machine is told of a record that is in place.
fn on_record(record: &Record) -> Option<Event> {
    match record {
        Record::Accepted { execution_id, .. } => Some(Event::Journalled(execution_id.clone())),
        Record::Ended { execution_id, .. }
        | Record::Quarantined {
            execution_id,
            replacement: Some(_),
        } => Some(Event::Persisted(execution_id.clone())),
        Record::Quarantined {
            replacement: None, ..
        }
        | Record::Delivered { .. }
        | Record::Remembered(_) => None,
    }
}
