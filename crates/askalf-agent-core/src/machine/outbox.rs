//! Results on their way to the bridge.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use askalf_proto::{HeldExecution, HeldState};

use super::Moment;

/// Most acknowledgement waits by which one wait may grow, as a power of two.
const MAX_DOUBLINGS: u32 = 4;

/// Results in the order in which they ended. Each stays until the bridge has it; none is ever dropped to make room:
/// when the outbox is full, new work is refused instead.
#[derive(Debug)]
pub(crate) struct Outbox {
    entries: VecDeque<Entry>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    execution_id: String,
    frame: Arc<str>,
    persisted: bool,
    delivery: Delivery,
    /// How often it was sent on this socket.
    sends: u32,
}

/// How far an entry is on the socket of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// Not sent on this socket, or overdue.
    Due,
    /// Handed to the socket.
    Handed,
    /// Written; the bridge should acknowledge it until then.
    Written { overdue: Moment },
}

impl Outbox {
    pub(crate) fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            max_entries,
            max_bytes,
        }
    }

    /// Whether there is room for the results of `expected` more executions.
    pub(crate) fn has_room_for(&self, expected: usize) -> bool {
        self.entries.len() + expected <= self.max_entries && self.bytes < self.max_bytes
    }

    /// Takes a result. It may be sent once it is persisted.
    pub(crate) fn push(&mut self, execution_id: String, frame: Arc<str>) {
        self.bytes += frame.len();
        self.entries.push_back(Entry {
            execution_id,
            frame,
            persisted: false,
            delivery: Delivery::Due,
            sends: 0,
        });
    }

    pub(crate) fn persisted(&mut self, execution_id: &str) {
        if let Some(entry) = self.entry(execution_id) {
            entry.persisted = true;
        }
    }

    /// The next result to hand to the socket, if the one before was written: results go out one at a time, so that
    /// what waits in the socket's queue stays small.
    pub(crate) fn send_next(&mut self) -> Option<(String, Arc<str>)> {
        if self
            .entries
            .iter()
            .any(|entry| entry.delivery == Delivery::Handed)
        {
            return None;
        }
        let due = |entry: &&mut Entry| entry.persisted && entry.delivery == Delivery::Due;
        let entry = self.entries.iter_mut().find(due)?;
        entry.delivery = Delivery::Handed;
        Some((entry.execution_id.clone(), Arc::clone(&entry.frame)))
    }

    /// The socket has written the result; the bridge has `wait` to acknowledge it, and longer each time.
    pub(crate) fn written(&mut self, execution_id: &str, now: Moment, wait: Duration) {
        if let Some(entry) = self.entry(execution_id)
            && entry.delivery == Delivery::Handed
        {
            let overdue = now + wait.saturating_mul(1 << entry.sends.min(MAX_DOUBLINGS));
            entry.sends += 1;
            entry.delivery = Delivery::Written { overdue };
        }
    }

    /// The bridge has the result. Whether it was still held.
    pub(crate) fn forget(&mut self, execution_id: &str) -> bool {
        let Some(index) = self.entries.iter().position(|it| it.execution_id == execution_id) else {
            return false;
        };
        if let Some(entry) = self.entries.remove(index) {
            self.bytes -= entry.frame.len();
        }
        true
    }

    /// Makes a held result due again; it was asked for. Whether it is held.
    pub(crate) fn send_again(&mut self, execution_id: &str) -> bool {
        match self.entry(execution_id) {
            Some(entry) => {
                if matches!(entry.delivery, Delivery::Written { .. }) {
                    entry.delivery = Delivery::Due;
                }
                true
            }
            None => false,
        }
    }

    /// The socket is gone: everything is due again.
    pub(crate) fn socket_lost(&mut self) {
        for entry in &mut self.entries {
            entry.delivery = Delivery::Due;
            entry.sends = 0;
        }
    }

    /// When the first acknowledgement is overdue.
    pub(crate) fn overdue_at(&self) -> Option<Moment> {
        let overdue = |entry: &Entry| match entry.delivery {
            Delivery::Written { overdue } => Some(overdue),
            Delivery::Due | Delivery::Handed => None,
        };
        self.entries.iter().filter_map(overdue).min()
    }

    /// Makes every result due again whose acknowledgement is overdue.
    pub(crate) fn check_overdue(&mut self, now: Moment) {
        for entry in &mut self.entries {
            if matches!(entry.delivery, Delivery::Written { overdue } if overdue <= now) {
                entry.delivery = Delivery::Due;
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What a registration says about what has ended.
    pub(crate) fn held(&self) -> impl Iterator<Item = HeldExecution> {
        self.entries.iter().map(|entry| HeldExecution {
            execution_id: entry.execution_id.clone(),
            state: HeldState::Ended,
        })
    }

    fn entry(&mut self, execution_id: &str) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|entry| entry.execution_id == execution_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    fn at(secs: u64) -> Moment {
        Moment::new(Duration::from_secs(secs))
    }

    fn with(ids: &[&str]) -> Outbox {
        let mut outbox = Outbox::new(8, 100);
        for id in ids {
            outbox.push((*id).to_owned(), Arc::from("0123456789"));
            outbox.persisted(id);
        }
        outbox
    }

    fn next(outbox: &mut Outbox) -> Option<String> {
        outbox.send_next().map(|(id, _)| id)
    }

    #[test]
    fn nothing_is_sent_before_it_is_persisted_and_one_does_not_hold_up_the_next() {
        let mut outbox = Outbox::new(8, 100);
        outbox.push("a".to_owned(), Arc::from("x"));
        outbox.push("b".to_owned(), Arc::from("x"));
        assert_eq!(next(&mut outbox), None);
        outbox.persisted("b");
        assert_eq!(next(&mut outbox).as_deref(), Some("b"));
    }

    #[test]
    fn they_go_out_one_at_a_time_and_again_in_order_on_the_next_socket() {
        let mut outbox = with(&["a", "b"]);
        assert_eq!(next(&mut outbox).as_deref(), Some("a"));
        assert_eq!(next(&mut outbox), None);
        outbox.written("a", at(0), WAIT);
        assert_eq!(next(&mut outbox).as_deref(), Some("b"));
        outbox.written("b", at(0), WAIT);
        assert_eq!(next(&mut outbox), None);
        outbox.socket_lost();
        assert_eq!(next(&mut outbox).as_deref(), Some("a"));
    }

    #[test]
    fn only_an_acknowledgement_frees_the_place() {
        let mut outbox = with(&["a"]);
        next(&mut outbox);
        outbox.written("a", at(0), WAIT);
        assert_eq!((outbox.len(), outbox.bytes), (1, 10));
        assert!(outbox.forget("a"));
        assert!(!outbox.forget("a"));
        assert_eq!((outbox.len(), outbox.bytes), (0, 0));
    }

    #[test]
    fn an_overdue_result_is_sent_again_and_waits_longer_each_time() {
        let mut outbox = with(&["a"]);
        next(&mut outbox);
        outbox.written("a", at(0), WAIT);
        assert_eq!(outbox.overdue_at(), Some(at(30)));
        outbox.check_overdue(at(29));
        assert_eq!(next(&mut outbox), None);
        outbox.check_overdue(at(30));
        assert_eq!(next(&mut outbox).as_deref(), Some("a"));
        outbox.written("a", at(30), WAIT);
        assert_eq!(outbox.overdue_at(), Some(at(90)));
    }

    #[test]
    fn room_is_counted_in_entries_and_bytes() {
        let outbox = with(&["a", "b"]);
        assert!(outbox.has_room_for(6));
        assert!(!outbox.has_room_for(7));
        let full = with(&["a", "b", "c", "d", "e", "f", "g", "h"]);
        assert!(!full.has_room_for(1));
        let mut heavy = Outbox::new(8, 10);
        assert!(heavy.has_room_for(1));
        heavy.push("a".to_owned(), Arc::from("0123456789"));
        assert!(!heavy.has_room_for(1));
    }
}
