//! Who follows an execution. News are bounded for each reader. One that is behind for a moment holds up the device's
//! socket for as long as it is given; a slow one misses pieces, is told so, and holds up nobody.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::BridgeOptions;
use crate::api::DispatchEvent;

/// How many times its patience a reader is waited for before it has taken as much as lies there at most: it may take each piece just
/// in time, and would hold up all that its device says for ever.
const PATIENCES: u32 = 50;

/// The readers of all executions.
#[derive(Debug)]
pub(crate) struct Watchers {
    by_execution: Mutex<HashMap<String, Watched>>,
    max_events: usize,
    max_bytes: usize,
    patience: Duration,
}

#[derive(Debug)]
struct Watched {
    /// News of this execution count only from this device: another one could name it too.
    device_id: String,
    readers: Vec<Reader>,
}

#[derive(Debug, Clone)]
struct Reader {
    events: mpsc::Sender<DispatchEvent>,
    backlog: Arc<Backlog>,
}

#[derive(Debug, Default)]
struct Backlog {
    bytes: AtomicUsize,
    skipped: AtomicU64,
    /// It did not make room in time: nobody waits for it again before it has read all that lies there.
    slow: AtomicBool,
    /// Milliseconds that were waited for it since it had last taken a whole queue of news, or all that was there.
    waited: AtomicU64,
    room: Notify,
}

impl Watchers {
    pub(crate) fn new(options: &BridgeOptions) -> Arc<Self> {
        Arc::new(Self {
            by_execution: Mutex::default(),
            max_events: options.watcher_events.max(1),
            max_bytes: options.watcher_bytes,
            patience: options.watcher_patience,
        })
    }

    /// Follows an execution of a device until it ends.
    pub(crate) fn watch(self: &Arc<Self>, execution_id: &str, device_id: &str) -> Watch {
        let (sender, events) = mpsc::channel(self.max_events);
        let backlog = Arc::new(Backlog::default());
        let reader = Reader {
            events: sender,
            backlog: Arc::clone(&backlog),
        };
        let mut watched = self.watched();
        let entry = watched.entry(execution_id.to_owned()).or_insert_with(|| Watched {
            device_id: device_id.to_owned(),
            readers: Vec::new(),
        });
        entry.readers.push(reader);
        Watch {
            execution_id: execution_id.to_owned(),
            events,
            backlog,
            taken: (0, 0),
            watchers: Arc::clone(self),
        }
    }

    /// Tells the readers of an execution, where it is one of this device. Those that are behind get a moment to make room.
    ///
    /// Cancelled, it may have told some readers and not others.
    pub(crate) async fn publish(&self, device_id: &str, execution_id: &str, event: &DispatchEvent) {
        let behind = self.publish_at_once(device_id, execution_id, event);
        let began = Instant::now();
        let deadline = began + self.patience;
        for reader in behind {
            let outcome = timeout_at(deadline, reader.room_for(event, self.max_bytes)).await;
            let waited = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let before = reader.backlog.waited.fetch_add(waited, Ordering::Relaxed);
            let most = u64::try_from((self.patience * PATIENCES).as_millis()).unwrap_or(u64::MAX);
            if outcome.is_err() || before.saturating_add(waited) >= most {
                reader.backlog.slow.store(true, Ordering::Relaxed);
            }
            reader.tell(event, self.max_bytes);
        }
    }

    /// Tells the readers that have room, and those that are too slow to be waited for; the others.
    fn publish_at_once(&self, device_id: &str, execution_id: &str, event: &DispatchEvent) -> Vec<Reader> {
        let watched = self.watched();
        let readers = watched
            .get(execution_id)
            .filter(|watched| watched.device_id == device_id);
        let mut behind = Vec::new();
        for reader in readers.into_iter().flat_map(|watched| &watched.readers) {
            if reader.backlog.slow.load(Ordering::Relaxed) || reader.has_room(event, self.max_bytes) {
                reader.tell(event, self.max_bytes);
            } else {
                behind.push(reader.clone());
            }
        }
        behind
    }

    /// Tells the readers of all executions of a device.
    pub(crate) fn publish_to_all(&self, device_id: &str, event: &DispatchEvent) {
        let watched = self.watched();
        let of_device = watched.values().filter(|watched| watched.device_id == device_id);
        of_device
            .flat_map(|watched| &watched.readers)
            .for_each(|reader| reader.tell(event, self.max_bytes));
    }

    /// Lets the readers of an execution go: it has ended, and the store knows how.
    pub(crate) fn ended(&self, execution_id: &str) {
        self.watched().remove(execution_id);
    }

    fn prune(&self, execution_id: &str) {
        let mut watched = self.watched();
        if let Some(entry) = watched.get_mut(execution_id) {
            entry.readers.retain(|reader| !reader.events.is_closed());
            if entry.readers.is_empty() {
                watched.remove(execution_id);
            }
        }
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<String, Watched>> {
        self.by_execution.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    fn tell(&self, event: &DispatchEvent, max_bytes: usize) {
        let skipped = self.backlog.skipped.load(Ordering::Relaxed);
        // The gap is told where it is, before anything that comes after it.
        if skipped > 0
            && self
                .events
                .try_send(DispatchEvent::Skipped { events: skipped })
                .is_ok()
        {
            self.backlog.skipped.fetch_sub(skipped, Ordering::Relaxed);
        }
        let bytes = bytes_of(event);
        if self.backlog.skipped.load(Ordering::Relaxed) == 0 && self.fits(bytes, max_bytes) {
            self.backlog.bytes.fetch_add(bytes, Ordering::Relaxed);
            match self.events.try_send(event.clone()) {
                Ok(()) => return,
                Err(_) => {
                    self.backlog.bytes.fetch_sub(bytes, Ordering::Relaxed);
                }
            }
        }
        self.backlog.skipped.fetch_add(1, Ordering::Relaxed);
    }

    fn fits(&self, bytes: usize, max_bytes: usize) -> bool {
        let waiting = self.backlog.bytes.load(Ordering::Relaxed);
        waiting == 0 || waiting.saturating_add(bytes) <= max_bytes
    }

    /// Whether it would be told now; one that left needs no room.
    fn has_room(&self, event: &DispatchEvent, max_bytes: usize) -> bool {
        self.events.is_closed()
            || self.events.capacity() > usize::from(self.backlog.skipped.load(Ordering::Relaxed) > 0)
                && self.fits(bytes_of(event), max_bytes)
    }

    async fn room_for(&self, event: &DispatchEvent, max_bytes: usize) {
        loop {
            let mut room = pin!(self.backlog.room.notified());
            room.as_mut().enable();
            if self.has_room(event, max_bytes) {
                return;
            }
            room.await;
        }
    }
}

fn bytes_of(event: &DispatchEvent) -> usize {
    match event {
        DispatchEvent::Output { data, .. } => data.len(),
        DispatchEvent::Accepted { .. }
        | DispatchEvent::Running
        | DispatchEvent::Queued { .. }
        | DispatchEvent::Skipped { .. }
        | DispatchEvent::Idle
        | DispatchEvent::Ended { .. } => 0,
    }
}

/// The news of one execution for one reader.
#[derive(Debug)]
pub(crate) struct Watch {
    execution_id: String,
    events: mpsc::Receiver<DispatchEvent>,
    backlog: Arc<Backlog>,
    /// Events and bytes since `waited` began anew.
    taken: (usize, usize),
    watchers: Arc<Watchers>,
}

impl Watch {
    /// The next piece of news; `None` once the execution has ended. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<DispatchEvent> {
        match self.events.recv().await {
            Some(event) => {
                let bytes = bytes_of(&event);
                self.backlog.bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.taken = (self.taken.0 + 1, self.taken.1.saturating_add(bytes));
                let has_caught_up = self.events.is_empty();
                if has_caught_up {
                    self.backlog.slow.store(false, Ordering::Relaxed);
                }
                if has_caught_up
                    || self.taken.0 >= self.watchers.max_events
                    || self.taken.1 >= self.watchers.max_bytes
                {
                    self.taken = (0, 0);
                    self.backlog.waited.store(0, Ordering::Relaxed);
                }
                self.backlog.room.notify_waiters();
                Some(event)
            }
            None => match self.backlog.skipped.swap(0, Ordering::Relaxed) {
                0 => None,
                events => Some(DispatchEvent::Skipped { events }),
            },
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.events.close();
        self.backlog.room.notify_waiters();
        self.watchers.prune(&self.execution_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchers(events: usize, bytes: usize) -> Arc<Watchers> {
        Watchers::new(&BridgeOptions {
            watcher_events: events,
            watcher_bytes: bytes,
            watcher_patience: Duration::from_millis(100),
            ..BridgeOptions::default()
        })
    }

    fn output(data: &str) -> DispatchEvent {
        DispatchEvent::Output {
            stream: "stdout".to_owned(),
            data: data.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_told_how_much_it_missed_and_where() {
        let watchers = watchers(3, 1024);
        let mut watch = watchers.watch("exec_1", "dev_1");
        for piece in ["a", "b", "c", "d", "e"] {
            watchers.publish("dev_1", "exec_1", &output(piece)).await;
        }
        for piece in ["a", "b", "c"] {
            assert_eq!(watch.next().await, Some(output(piece)));
        }
        watchers.publish("dev_1", "exec_1", &output("f")).await;
        assert_eq!(watch.next().await, Some(DispatchEvent::Skipped { events: 2 }));
        assert_eq!(watch.next().await, Some(output("f")));
        watchers.ended("exec_1");
        assert_eq!(watch.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_missed_at_the_very_end_is_told_too() {
        let watchers = watchers(16, 10);
        let mut watch = watchers.watch("exec_1", "dev_1");
        watchers
            .publish("dev_1", "exec_1", &output(&"x".repeat(100)))
            .await;
        watchers.publish("dev_1", "exec_1", &output("lost")).await;
        watchers.ended("exec_1");
        assert_eq!(
            watch.next().await,
            Some(output(&"x".repeat(100))),
            "one large piece passes"
        );
        assert_eq!(watch.next().await, Some(DispatchEvent::Skipped { events: 1 }));
        assert_eq!(watch.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_behind_for_a_moment_misses_nothing() {
        let watchers = watchers(2, 1024);
        let mut watch = watchers.watch("exec_1", "dev_1");
        let writer = async {
            for number in 0..100 {
                watchers
                    .publish("dev_1", "exec_1", &output(&number.to_string()))
                    .await;
            }
        };
        let reader = async {
            for number in 0..100 {
                tokio::time::sleep(Duration::from_millis(99)).await;
                assert_eq!(watch.next().await, Some(output(&number.to_string())));
            }
        };
        tokio::join!(writer, reader);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_waited_for_once_until_it_has_caught_up() {
        let watchers = watchers(1, 1024);
        let mut watch = watchers.watch("exec_1", "dev_1");
        let waited = async |piece: &str| {
            let began = Instant::now();
            watchers.publish("dev_1", "exec_1", &output(piece)).await;
            began.elapsed().as_millis()
        };
        assert_eq!(waited("a").await, 0);
        assert_eq!(waited("b").await, 100);
        assert_eq!(waited("c").await, 0);
        assert_eq!(watch.next().await, Some(output("a")));
        // What it missed is told before anything else is: it has no room for both yet.
        assert_eq!(waited("d").await, 100);
        assert_eq!(watch.next().await, Some(DispatchEvent::Skipped { events: 2 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_always_just_in_time_does_not_hold_up_a_device_for_ever() {
        let watchers = watchers(1_000, 1024 * 1024);
        let mut watch = watchers.watch("exec_1", "dev_1");
        for _ in 0..1_000 {
            watchers.publish("dev_1", "exec_1", &output("early")).await;
        }
        let began = Instant::now();
        let writer = async {
            for _ in 0..900 {
                watchers.publish("dev_1", "exec_1", &output("x")).await;
            }
            began.elapsed()
        };
        let reader = async {
            loop {
                tokio::time::sleep(Duration::from_millis(99)).await;
                watch.next().await;
            }
        };
        let took = tokio::select! { took = writer => took, () = reader => unreachable!() };
        // What it took was waited for, and no more than fifty times its patience.
        assert!(
            took >= Duration::from_secs(4) && took <= Duration::from_secs(6),
            "{took:?}"
        );
    }

    #[tokio::test]
    async fn news_count_only_from_the_device_that_runs_it() {
        let watchers = watchers(16, 1024);
        let mut watch = watchers.watch("exec_1", "dev_1");
        watchers.publish("dev_2", "exec_1", &output("forged")).await;
        watchers.publish_to_all("dev_2", &output("forged"));
        watchers.publish("dev_1", "exec_1", &output("real")).await;
        assert_eq!(watch.next().await, Some(output("real")));
    }

    #[tokio::test]
    async fn a_reader_that_left_leaves_nothing_behind() {
        let watchers = watchers(16, 1024);
        drop(watchers.watch("exec_1", "dev_1"));
        assert!(watchers.watched().is_empty());
    }
}
