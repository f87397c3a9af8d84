//! What checks leave behind, written in the background: uses, digests and refused attempts. No check waits for it, and a
//! failure there refuses nobody.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::Clock;
use crate::attempts::Attempts;
use crate::digests::Digests;
use crate::stores::{Store, StoreError};
use crate::uses::Uses;

/// How often digests and attempts are written: a device that comes back has its digest, and an operator who looks sees
/// why it does not come in.
const SOON: Duration = Duration::from_secs(1);

/// How often uses are: they are for listings.
const AT_LEISURE: Duration = Duration::from_secs(10);

/// What waits to be written.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) uses: Uses,
    pub(crate) digests: Digests,
    pub(crate) attempts: Attempts,
}

impl Notes {
    async fn write_soon(&self, store: &dyn Store, clock: &Clock) {
        let digests = self
            .digests
            .write(|part| async move { store.keep_digests(&part).await });
        warn_of(digests.await, "digests were not stored yet");
        let attempts = self.attempts.write(clock(), |waiting, forget_before| async move {
            store.keep_attempts(&waiting, forget_before).await
        });
        warn_of(attempts.await, "refused checks were not stored yet");
    }

    async fn write_uses(&self, store: &dyn Store) {
        let uses = self
            .uses
            .write(|part| async move { store.count_uses(&part).await });
        warn_of(uses.await, "uses of keys were not counted yet");
    }
}

fn warn_of(written: Result<(), StoreError>, what: &str) {
    if let Err(error) = written {
        tracing::warn!(error = %error, "{what}");
    }
}

/// The task that writes.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Begins to write. Dropped, it writes once more and ends.
    pub(crate) fn start(notes: Arc<Notes>, store: Arc<dyn Store>, clock: Clock) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(keep(notes, store, clock, stopped));
        Self { stop, task }
    }

    /// Writes what waits, and returns when that is done or has failed, at the latest after `at_most`.
    pub(crate) async fn finish(self, at_most: Duration) {
        drop(self.stop);
        if timeout(at_most, self.task).await.is_err() {
            tracing::warn!("the shutdown did not wait for the last notes to be stored");
        }
    }
}

async fn keep(notes: Arc<Notes>, store: Arc<dyn Store>, clock: Clock, mut stopped: oneshot::Receiver<()>) {
    let mut ticks = interval(SOON);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut uses_due = Instant::now() + AT_LEISURE;
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            now = ticks.tick() => {
                notes.write_soon(&*store, &clock).await;
                if now >= uses_due {
                    uses_due = now + AT_LEISURE;
                    notes.write_uses(&*store).await;
                }
            }
        }
    }
    notes.write_soon(&*store, &clock).await;
    notes.write_uses(&*store).await;
}
