//! Devices that are gone and may come back: each has a deadline, and one task waits for the next of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Grace {
    deadlines: Mutex<Deadlines>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Deadlines {
    by_device: HashMap<String, Instant>,
    by_time: BTreeSet<(Instant, String)>,
}

impl Grace {
    /// Sets the deadline of a device, unless it has one: the earlier one stands.
    pub(crate) fn arm(&self, device_id: &str, at: Instant) {
        let mut deadlines = self.deadlines();
        if !deadlines.by_device.contains_key(device_id) {
            deadlines.by_device.insert(device_id.to_owned(), at);
            deadlines.by_time.insert((at, device_id.to_owned()));
            drop(deadlines);
            self.changed.notify_one();
        }
    }

    /// Takes the deadline of a device back.
    pub(crate) fn disarm(&self, device_id: &str) {
        let mut deadlines = self.deadlines();
        if let Some(at) = deadlines.by_device.remove(device_id) {
            deadlines.by_time.remove(&(at, device_id.to_owned()));
        }
    }

    /// Waits for the next deadline and takes it out.
    pub(crate) async fn due(&self) -> String {
        loop {
            if let Some(device_id) = self.take_due(Instant::now()) {
                return device_id;
            }
            // `notify_one` keeps one permit for whoever is not waiting yet, so nothing is missed in between.
            let next = self.deadlines().by_time.first().map(|(at, _)| *at);
            match next {
                None => self.changed.notified().await,
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
            }
        }
    }

    fn take_due(&self, now: Instant) -> Option<String> {
        let mut deadlines = self.deadlines();
        if deadlines.by_time.first()?.0 > now {
            return None;
        }
        let (_, device_id) = deadlines.by_time.pop_first()?;
        deadlines.by_device.remove(&device_id);
        Some(device_id)
    }

    fn deadlines(&self) -> MutexGuard<'_, Deadlines> {
        self.deadlines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn deadlines_come_in_their_order_and_can_be_taken_back() {
        let grace = Arc::new(Grace::default());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let waiting = tokio::spawn({
            let grace = Arc::clone(&grace);
            async move { (grace.due().await, grace.due().await) }
        });
        tokio::task::yield_now().await;
        grace.arm("dev_late", at(60));
        grace.arm("dev_back", at(20));
        grace.arm("dev_early", at(30));
        grace.arm("dev_early", at(90));
        grace.disarm("dev_back");
        assert_eq!(
            waiting.await.unwrap(),
            ("dev_early".to_owned(), "dev_late".to_owned())
        );
        assert_eq!(Instant::now(), at(60));
    }
}
