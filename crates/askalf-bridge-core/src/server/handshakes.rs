//! How many TLS handshakes go on at once: a newcomer beyond the bound takes the place of the oldest.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// The handshakes that go on, oldest first. Peers that are slow on purpose fill it, but cannot keep others out: whoever
/// comes takes the place of the one that took longest, and an honest handshake is done long before its turn.
#[derive(Debug, Clone)]
pub(super) struct Handshakes {
    most: usize,
    pending: Arc<Mutex<Pending>>,
}

#[derive(Debug, Default)]
struct Pending {
    next: u64,
    /// By rising number. Dropping the sender cuts the handshake off.
    places: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// A handshake's place, until it is dropped.
#[derive(Debug)]
pub(super) struct HandshakePlace {
    number: u64,
    lost: oneshot::Receiver<()>,
    pending: Arc<Mutex<Pending>>,
}

impl Handshakes {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            pending: Arc::default(),
        }
    }

    pub(super) fn enter(&self) -> HandshakePlace {
        let (sender, lost) = oneshot::channel();
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.places.len() >= self.most {
            pending.places.pop_front();
        }
        let number = pending.next;
        pending.next += 1;
        pending.places.push_back((number, sender));
        HandshakePlace {
            number,
            lost,
            pending: Arc::clone(&self.pending),
        }
    }
}

impl HandshakePlace {
    /// Resolves once another handshake took this place.
    pub(super) async fn lost(&mut self) {
        let _never_sent = (&mut self.lost).await;
    }
}

impl Drop for HandshakePlace {
    fn drop(&mut self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(at) = pending
            .places
            .binary_search_by_key(&self.number, |(number, _)| *number)
        {
            pending.places.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_newcomer_takes_the_place_of_the_oldest_and_of_nobody_else() {
        let handshakes = Handshakes::new(2);
        let (mut first, mut second) = (handshakes.enter(), handshakes.enter());
        assert!(first.lost().now_or_never().is_none());
        let mut third = handshakes.enter();
        assert!(first.lost().now_or_never().is_some());
        assert!(second.lost().now_or_never().is_none());
        drop(second);
        let mut fourth = handshakes.enter();
        assert!(third.lost().now_or_never().is_none());
        assert!(fourth.lost().now_or_never().is_none());
        drop((first, third, fourth));
        assert!(handshakes.pending.lock().unwrap().places.is_empty());
    }
}
