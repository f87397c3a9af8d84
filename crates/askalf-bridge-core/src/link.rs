//! One session as the rest of the bridge sees it: a bounded way to its device, and a way to end it.

use std::collections::HashSet;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use askalf_proto::{BridgeMessage, CloseCode, Feature, Features, MAX_HELD_EXECUTIONS};
use tokio::sync::{Notify, mpsc, watch};

use crate::BridgeOptions;

/// The session is ending, or ends now because its device does not keep up: nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session of the device has ended")]
pub(crate) struct LinkClosed;

/// How a session ends. The first that is said counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// After what waits to be sent, with this code.
    WithCode(CloseCode),
    /// At once with this code: what waits to be sent is too much already.
    TooSlow,
    /// The peer is gone.
    Gone,
}

impl fmt::Display for Closing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithCode(code) => write!(formatter, "{} {}", code.code, code.text),
            Self::TooSlow => formatter.write_str("the device does not keep up"),
            Self::Gone => formatter.write_str("the device left"),
        }
    }
}

/// A session, alive or ending.
#[derive(Debug)]
pub(crate) struct Link {
    number: u64,
    key_id: String,
    outgoing: mpsc::Sender<String>,
    waiting_bytes: AtomicUsize,
    max_bytes: usize,
    closing: watch::Sender<Option<Closing>>,
    held: Mutex<HashSet<String>>,
    /// What both sides announced, once the device has registered.
    features: OnceLock<Features>,
    /// A frame has left the queue.
    drained: Notify,
}

impl Link {
    /// A session with the frames that wait to be written. `number` is larger than that of every session before.
    pub(crate) fn new(number: u64, key_id: &str, options: &BridgeOptions) -> (Self, mpsc::Receiver<String>) {
        let (outgoing, frames) = mpsc::channel(options.outgoing_frames.max(1));
        let (closing, _) = watch::channel(None);
        let link = Self {
            number,
            key_id: key_id.to_owned(),
            outgoing,
            waiting_bytes: AtomicUsize::new(0),
            max_bytes: options.outgoing_bytes,
            closing,
            held: Mutex::default(),
            features: OnceLock::new(),
            drained: Notify::new(),
        };
        (link, frames)
    }

    /// Its epoch: of two sessions the newer has the larger.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The key that it authenticated with.
    pub(crate) fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Notes what both sides announced.
    pub(crate) fn registered(&self, features: Features) {
        let _ = self.features.set(features);
    }

    /// Whether a task whose dispatch was perhaps lost may be sent to this device again: it says what it holds, and
    /// remembers what it has taken.
    pub(crate) fn redelivers(&self) -> bool {
        self.features.get().is_some_and(|features| {
            features.contains(Feature::Resume) && features.contains(Feature::Redelivery)
        })
    }

    /// Whether the device has registered and takes a new key over its connection.
    pub(crate) fn rotates(&self) -> bool {
        self.features
            .get()
            .is_some_and(|features| features.contains(Feature::Rotation))
    }

    /// Puts a message of the bridge's own into the queue of the socket; see [`Link::send_frame`].
    ///
    /// # Errors
    /// [`LinkClosed`].
    pub(crate) fn send(&self, message: &BridgeMessage) -> Result<(), LinkClosed> {
        match message.encode() {
            Ok(frame) => self.send_frame(frame),
            // Its parts are bounded: one that does not fit is a fault of ours, and the device must not wait for it.
            Err(error) => {
                tracing::error!(error = %error, "a message cannot be sent; the session ends");
                self.close(Closing::WithCode(CloseCode::TRY_AGAIN));
                Err(LinkClosed)
            }
        }
    }

    /// Puts a frame into the queue of the socket. A full queue ends the session: a device that does not read would
    /// otherwise hold ever more memory, or everybody who writes to it.
    ///
    /// # Errors
    /// [`LinkClosed`].
    pub(crate) fn send_frame(&self, frame: String) -> Result<(), LinkClosed> {
        if self.is_closing() {
            return Err(LinkClosed);
        }
        let bytes = frame.len();
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before == 0 || before.saturating_add(bytes) <= self.max_bytes;
        if fits && self.outgoing.try_send(frame).is_ok() {
            return Ok(());
        }
        self.written(bytes);
        self.close(Closing::TooSlow);
        Err(LinkClosed)
    }

    /// Puts a frame into the queue once at least half of that is free: many frames at once must not end the session of a
    /// device that reads.
    ///
    /// # Errors
    /// [`LinkClosed`].
    pub(crate) async fn send_in_turn(&self, frame: String) -> Result<(), LinkClosed> {
        loop {
            let mut drained = pin!(self.drained.notified());
            drained.as_mut().enable();
            let waiting = self.waiting_bytes.load(Ordering::Relaxed);
            let has_room = waiting == 0 || waiting.saturating_add(frame.len()) <= self.max_bytes / 2;
            if self.is_closing() || has_room && self.outgoing.capacity() > self.outgoing.max_capacity() / 2 {
                return self.send_frame(frame);
            }
            tokio::select! {
                () = drained => {}
                _ = self.closed() => return Err(LinkClosed),
            }
        }
    }

    /// Notes that a frame has left the queue.
    pub(crate) fn written(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.drained.notify_waiters();
    }

    /// Ends the session, unless it ends already.
    pub(crate) fn close(&self, closing: Closing) {
        self.closing.send_if_modified(|now| {
            let first = now.is_none();
            now.get_or_insert(closing);
            first
        });
    }

    /// Whether the session ends already.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.borrow().is_some()
    }

    /// Resolves with the end of the session once it is decided.
    pub(crate) async fn closed(&self) -> Closing {
        let mut closing = self.closing.subscribe();
        let decided = closing.wait_for(Option::is_some).await;
        decided.ok().and_then(|decided| *decided).unwrap_or(Closing::Gone)
    }

    /// Notes that an execution is the business of this session: its device said so, or it is about to be sent there.
    /// Such an execution does not end `interrupted` while the session lives.
    pub(crate) fn hold(&self, execution_id: &str) {
        self.held().insert(execution_id.to_owned());
    }

    /// The same for one who would send it, of several perhaps: answers whether nobody did before.
    pub(crate) fn claim(&self, execution_id: &str) -> bool {
        self.held().insert(execution_id.to_owned())
    }

    /// The same on the word of the device, which could name any number: beyond a bound none is added.
    pub(crate) fn hold_if_room(&self, execution_id: &str) {
        let mut held = self.held();
        if held.len() < 2 * MAX_HELD_EXECUTIONS {
            held.insert(execution_id.to_owned());
        }
    }

    /// Forgets an execution that has ended.
    pub(crate) fn release(&self, execution_id: &str) {
        self.held().remove(execution_id);
    }

    pub(crate) fn holds(&self, execution_id: &str) -> bool {
        self.held().contains(execution_id)
    }

    /// How many executions are its business.
    pub(crate) fn held_count(&self) -> usize {
        self.held().len()
    }

    /// Whether its device has registered.
    pub(crate) fn is_registered(&self) -> bool {
        self.features.get().is_some()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use askalf_proto::TaskCancel;

    use super::*;

    fn cancel(id: &str) -> BridgeMessage {
        BridgeMessage::Cancel(TaskCancel {
            execution_id: id.to_owned(),
        })
    }

    #[tokio::test]
    async fn a_full_queue_ends_the_session() {
        let options = BridgeOptions {
            outgoing_frames: 2,
            ..BridgeOptions::default()
        };
        let (link, mut frames) = Link::new(1, "key_1", &options);
        link.send(&cancel("a")).unwrap();
        link.send(&cancel("b")).unwrap();
        assert_eq!(link.send(&cancel("c")), Err(LinkClosed));
        assert_eq!(link.closed().await, Closing::TooSlow);
        assert!(frames.recv().await.unwrap().contains("\"a\""));
        assert_eq!(
            link.send(&cancel("d")),
            Err(LinkClosed),
            "an ending session takes nothing"
        );
    }

    #[tokio::test]
    async fn bytes_that_wait_are_bounded_too_and_one_large_frame_still_passes() {
        let options = BridgeOptions {
            outgoing_bytes: 10,
            ..BridgeOptions::default()
        };
        let (link, mut frames) = Link::new(1, "key_1", &options);
        link.send(&cancel("first")).unwrap();
        let frame = frames.recv().await.unwrap();
        link.written(frame.len());
        link.send(&cancel("second")).unwrap();
        assert_eq!(link.send(&cancel("third")), Err(LinkClosed));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_wait_their_turn_never_fill_the_queue() {
        let options = BridgeOptions {
            outgoing_frames: 4,
            outgoing_bytes: 1000,
            ..BridgeOptions::default()
        };
        let (link, mut frames) = Link::new(1, "key_1", &options);
        let sending = async {
            for number in 0..20 {
                link.send_in_turn(format!("{number} {}", "x".repeat(300)))
                    .await
                    .unwrap();
            }
        };
        let reading = async {
            for number in 0..20 {
                let frame = frames.recv().await.unwrap();
                assert!(frame.starts_with(&format!("{number} ")));
                link.written(frame.len());
            }
        };
        tokio::join!(sending, reading);
        assert!(!link.is_closing());
        link.send_in_turn("x".repeat(300)).await.unwrap();
        let waiting = link.send_in_turn("x".repeat(300));
        let closing = async { link.close(Closing::Gone) };
        assert_eq!(tokio::join!(waiting, closing).0, Err(LinkClosed));
    }

    #[tokio::test]
    async fn the_first_reason_to_end_counts() {
        let (link, _frames) = Link::new(1, "key_1", &BridgeOptions::default());
        link.close(Closing::WithCode(CloseCode::REPLACED));
        link.close(Closing::Gone);
        assert_eq!(link.closed().await, Closing::WithCode(CloseCode::REPLACED));
    }
}
