//! Devices that are gone and may come back: each has a deadline, and one task waits for the next of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use askalf_bridge_auth::UnixMillis;
use tokio::sync::Notify;
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Grace {
    deadlines: Mutex<Deadlines>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Deadlines {
    by_device: HashMap<String, Vec<Deadline>>,
    by_time: BTreeSet<(Deadline, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Deadline {
    at: Instant,
    since: UnixMillis,
}

/// Most deadlines of one device. One that comes and goes faster than that shares the last.
const MAX_PER_DEVICE: usize = 8;

impl Grace {
    /// Sets a deadline of a device for what is there at `since`. Earlier ones stand: a device that comes and goes does not
    /// put them off.
    pub(crate) fn arm(&self, device_id: &str, at: Instant, since: UnixMillis) {
        let mut deadlines = self.deadlines();
        let deadline = Deadline { at, since };
        let of_device = deadlines.by_device.entry(device_id.to_owned()).or_default();
        if of_device.len() < MAX_PER_DEVICE && !of_device.contains(&deadline) {
            of_device.push(deadline);
            deadlines.by_time.insert((deadline, device_id.to_owned()));
            drop(deadlines);
            self.changed.notify_one();
        }
    }

    /// Whether a device has a deadline.
    pub(crate) fn is_armed(&self, device_id: &str) -> bool {
        self.deadlines().by_device.contains_key(device_id)
    }

    /// How many devices have one.
    pub(crate) fn devices(&self) -> usize {
        self.deadlines().by_device.len()
    }

    /// Takes the deadlines of a device back.
    pub(crate) fn disarm(&self, device_id: &str) {
        let mut deadlines = self.deadlines();
        for deadline in deadlines.by_device.remove(device_id).unwrap_or_default() {
            deadlines.by_time.remove(&(deadline, device_id.to_owned()));
        }
    }

    /// Waits for the next deadline and takes it out: the device, and since when it counts.
    pub(crate) async fn due(&self) -> (String, UnixMillis) {
        loop {
            if let Some(due) = self.take_due(Instant::now()) {
                return due;
            }
            // `notify_one` keeps one permit for whoever is not waiting yet, so nothing is missed in between.
            let next = self.deadlines().by_time.first().map(|(deadline, _)| deadline.at);
            match next {
                None => self.changed.notified().await,
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
            }
        }
    }

    fn take_due(&self, now: Instant) -> Option<(String, UnixMillis)> {
        let mut deadlines = self.deadlines();
        if deadlines.by_time.first()?.0.at > now {
            return None;
        }
        let (deadline, device_id) = deadlines.by_time.pop_first()?;
        let of_device = deadlines.by_device.get_mut(&device_id)?;
        of_device.retain(|other| *other != deadline);
        if of_device.is_empty() {
            deadlines.by_device.remove(&device_id);
        }
        Some((device_id, deadline.since))
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
            async move { vec![grace.due().await, grace.due().await, grace.due().await] }
        });
        tokio::task::yield_now().await;
        grace.arm("dev_late", at(60), UnixMillis(1));
        grace.arm("dev_back", at(20), UnixMillis(2));
        grace.arm("dev_early", at(30), UnixMillis(3));
        grace.arm("dev_early", at(50), UnixMillis(4));
        grace.disarm("dev_back");
        assert!(!grace.is_armed("dev_back"));
        let due = |device_id: &str, since| (device_id.to_owned(), UnixMillis(since));
        let wanted = vec![due("dev_early", 3), due("dev_early", 4), due("dev_late", 1)];
        assert_eq!(waiting.await.unwrap(), wanted);
        assert!(!grace.is_armed("dev_early"));
        assert_eq!(Instant::now(), at(60));
    }
}
