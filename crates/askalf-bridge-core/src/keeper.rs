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

/// Writes them, and says once when that begins to fail and when it works again: a database that is away for an hour is
/// no news every second.
struct Writer {
    notes: Arc<Notes>,
    store: Arc<dyn Store>,
    clock: Clock,
    failing: [bool; 3],
}

impl Writer {
    async fn write_soon(&mut self) {
        let store = &*self.store;
        let digests = self
            .notes
            .digests
            .write(|part| async move { store.keep_digests(&part).await });
        let digests = digests.await;
        let attempts = self
            .notes
            .attempts
            .write((self.clock)(), |waiting, forget_before| async move {
                store.keep_attempts(&waiting, forget_before).await
            });
        let attempts = attempts.await;
        say(&mut self.failing[0], digests, "digests of keys");
        say(&mut self.failing[1], attempts, "refused checks");
    }

    async fn write_uses(&mut self) {
        let store = &*self.store;
        let uses = self
            .notes
            .uses
            .write(|part| async move { store.count_uses(&part).await });
        let uses = uses.await;
        say(&mut self.failing[2], uses, "uses of keys");
    }
}

fn say(failing: &mut bool, written: Result<(), StoreError>, what: &str) {
    let failed_before = std::mem::replace(failing, written.is_err());
    match written {
        Err(error) if !failed_before => tracing::warn!(error = %error, "{what} cannot be stored yet"),
        Err(error) => tracing::debug!(error = %error, "{what} cannot be stored yet"),
        Ok(()) if failed_before => tracing::info!("{what} are stored again"),
        Ok(()) => {}
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
        let task = tokio::spawn(keep(
            Writer {
                notes,
                store,
                clock,
                failing: [false; 3],
            },
            stopped,
        ));
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

async fn keep(mut writer: Writer, mut stopped: oneshot::Receiver<()>) {
    let mut ticks = interval(SOON);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut uses_due = Instant::now() + AT_LEISURE;
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            now = ticks.tick() => {
                writer.write_soon().await;
                if now >= uses_due {
                    uses_due = now + AT_LEISURE;
                    writer.write_uses().await;
                }
            }
        }
    }
    writer.write_soon().await;
    writer.write_uses().await;
}
