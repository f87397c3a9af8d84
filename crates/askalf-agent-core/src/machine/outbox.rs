//! Results on their way to the bridge.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use askalf_proto::{HeldExecution, HeldState};

use super::Moment;

/// Most acknowledgement waits by which one wait may grow, as a power of two.
const MAX_DOUBLINGS: u32 = 4;

/// How often the bridge may close the connection over a frame before the frame is given up.
const MAX_REFUSALS: u32 = 3;

/// Results in the order in which they ended. Each stays until the bridge has it; none is ever dropped to make room:
/// when the outbox is full, new work is refused instead.
#[derive(Debug)]
pub(crate) struct Outbox {
    entries: VecDeque<Entry>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
    /// The bridge has closed the connection over a frame: each result waits for the answer to the one before, so that it
    /// is plain which one it was.
    careful: bool,
}

#[derive(Debug)]
struct Entry {
    execution_id: String,
    frame: Arc<str>,
    persisted: bool,
    delivery: Delivery,
    /// How often it was sent on this socket.
    sends: u32,
    /// How often the bridge closed the connection over it.
    refusals: u32,
    /// It stands in for a result that the bridge refused.
    stands_in: bool,
    /// When a peer that acknowledges nothing had it for the first time.
    reached: Option<Moment>,
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
    /// Written to a peer that acknowledges nothing, and this ping after it.
    Pinged { number: u64 },
    /// Such a peer has answered the ping: it has read the result. Should the socket live until then, the result counts
    /// as taken.
    Reached { settled: Moment },
}

/// What becomes of a frame that the bridge refused once too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// A result: something short must be said in its place.
    Result(String),
    /// What was said in place of a result. It is gone from the outbox.
    StandIn(String),
}

impl Outbox {
    pub(crate) fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            max_entries,
            max_bytes,
            careful: false,
        }
    }

    /// Whether there is room for the results of `expected` more executions.
    pub(crate) fn has_room_for(&self, expected: usize) -> bool {
        self.entries.len() + expected <= self.max_entries && self.bytes < self.max_bytes
    }

    /// Lets go of results that a peer without acknowledgements has read, the oldest first, until there is room for
    /// `expected` more. Yields which.
    pub(crate) fn make_room_for(&mut self, expected: usize) -> Vec<String> {
        let mut gone = Vec::new();
        while !self.has_room_for(expected) {
            let reached = |entry: &Entry| matches!(entry.delivery, Delivery::Reached { .. });
            let Some(index) = self.entries.iter().position(reached) else {
                break;
            };
            gone.extend(self.remove(index));
        }
        gone
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
            refusals: 0,
            stands_in: false,
            reached: None,
        });
    }

    pub(crate) fn persisted(&mut self, execution_id: &str) {
        if let Some(entry) = self.entry(execution_id) {
            entry.persisted = true;
        }
    }

    /// The next result to hand to the socket, if the one before was written: results go out one at a time, so that
    /// what waits in the socket's queue stays small. Whether it must be persisted is for the caller to say.
    pub(crate) fn send_next(&mut self, unpersisted: bool) -> Option<(String, Arc<str>)> {
        let careful = self.careful;
        let holds_up = |entry: &Entry| match entry.delivery {
            Delivery::Handed => true,
            Delivery::Written { .. } | Delivery::Pinged { .. } => careful,
            Delivery::Due | Delivery::Reached { .. } => false,
        };
        if self.entries.iter().any(holds_up) {
            return None;
        }
        let due = |entry: &&mut Entry| (entry.persisted || unpersisted) && entry.delivery == Delivery::Due;
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

    /// The socket has written the result to a peer that acknowledges nothing, and this ping is sent after it. Whether
    /// the result was waiting for that.
    pub(crate) fn pinged(&mut self, execution_id: &str, number: u64) -> bool {
        match self.entry(execution_id) {
            Some(entry) if entry.delivery == Delivery::Handed => {
                entry.delivery = Delivery::Pinged { number };
                true
            }
            Some(_) | None => false,
        }
    }

    /// The peer has answered this ping, and so has read all that was sent before it. A pong may stand for earlier
    /// pings too (RFC 6455, section 5.5.3).
    pub(crate) fn ponged(&mut self, answered: u64, now: Moment, settle: Duration) {
        for entry in &mut self.entries {
            if matches!(entry.delivery, Delivery::Pinged { number } if number <= answered) {
                entry.reached.get_or_insert(now);
                entry.delivery = Delivery::Reached {
                    settled: now + settle,
                };
            }
        }
    }

    /// When the first result counts as taken by a peer that acknowledges nothing.
    pub(crate) fn settled_at(&self) -> Option<Moment> {
        let settled = |entry: &Entry| match entry.delivery {
            Delivery::Reached { settled } => Some(settled),
            _ => None,
        };
        self.entries.iter().filter_map(settled).min()
    }

    /// Lets go of results that count as taken: those whose socket has lived on, and those that such a peer had read more
    /// than `keep` ago. Yields which.
    pub(crate) fn let_go_settled(&mut self, now: Moment, keep: Duration) -> Vec<String> {
        self.let_go(|entry| {
            matches!(entry.delivery, Delivery::Reached { settled } if settled <= now)
                || entry.reached.is_some_and(|reached| now.since(reached) >= keep)
        })
    }

    /// Lets go of every result that a peer without acknowledgements has read: the agent takes its leave of it in an orderly
    /// way. Yields which.
    pub(crate) fn let_go_reached(&mut self) -> Vec<String> {
        self.let_go(|entry| matches!(entry.delivery, Delivery::Reached { .. }))
    }

    /// The bridge has the result. Whether it was still held.
    pub(crate) fn forget(&mut self, execution_id: &str) -> bool {
        let index = self.entries.iter().position(|it| it.execution_id == execution_id);
        index.and_then(|index| self.remove(index)).is_some()
    }

    /// Makes a held result due again; it was asked for. Whether it is held.
    pub(crate) fn send_again(&mut self, execution_id: &str) -> bool {
        match self.entry(execution_id) {
            Some(entry) => {
                if entry.delivery != Delivery::Handed {
                    entry.delivery = Delivery::Due;
                }
                true
            }
            None => false,
        }
    }

    /// The bridge closes the connection because of a frame of ours. Where it is plain that it was a result, that counts
    /// against it; yields the result that it happened to once too often.
    pub(crate) fn frame_refused(&mut self) -> Option<GivenUp> {
        let sent = |entry: &Entry| {
            matches!(
                entry.delivery,
                Delivery::Handed | Delivery::Written { .. } | Delivery::Pinged { .. }
            )
        };
        let mut indexes = (0..self.entries.len()).filter(|index| sent(&self.entries[*index]));
        let index = indexes.next()?;
        let alone = indexes.next().is_none();
        self.careful = true;
        if !alone {
            return None;
        }
        let entry = &mut self.entries[index];
        entry.refusals += 1;
        if entry.refusals < MAX_REFUSALS {
            return None;
        }
        let (execution_id, stands_in) = (entry.execution_id.clone(), entry.stands_in);
        if stands_in {
            self.remove(index);
            return Some(GivenUp::StandIn(execution_id));
        }
        Some(GivenUp::Result(execution_id))
    }

    /// Puts something short in the place of a result that the bridge refused.
    pub(crate) fn replace(&mut self, execution_id: &str, frame: Arc<str>) {
        let Some(entry) = self.entry(execution_id) else {
            return;
        };
        let (old, new) = (entry.frame.len(), frame.len());
        entry.frame = frame;
        entry.persisted = false;
        entry.delivery = Delivery::Due;
        entry.refusals = 0;
        entry.stands_in = true;
        self.bytes = self.bytes - old + new;
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
            _ => None,
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

    /// Results that the bridge does not have, as far as can be known.
    pub(crate) fn unacknowledged(&self) -> impl Iterator<Item = &str> {
        let waits = |entry: &&Entry| !matches!(entry.delivery, Delivery::Reached { .. });
        self.entries.iter().filter(waits).map(|entry| &*entry.frame)
    }

    /// Whether nothing waits for the bridge.
    pub(crate) fn is_delivered(&self) -> bool {
        self.unacknowledged().next().is_none()
    }

    /// What a registration says about what has ended.
    pub(crate) fn held(&self) -> impl Iterator<Item = HeldExecution> {
        self.entries.iter().map(|entry| HeldExecution {
            execution_id: entry.execution_id.clone(),
            state: HeldState::Ended,
        })
    }

    /// Every result, in order.
    pub(crate) fn results(&self) -> impl Iterator<Item = (&str, &Arc<str>)> {
        self.entries
            .iter()
            .map(|entry| (&*entry.execution_id, &entry.frame))
    }

    fn let_go(&mut self, goes: impl Fn(&Entry) -> bool) -> Vec<String> {
        let mut gone = Vec::new();
        while let Some(index) = self.entries.iter().position(&goes) {
            gone.extend(self.remove(index));
        }
        gone
    }

    fn remove(&mut self, index: usize) -> Option<String> {
        let entry = self.entries.remove(index)?;
        self.bytes -= entry.frame.len();
        if self.entries.is_empty() {
            self.careful = false;
        }
        Some(entry.execution_id)
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
    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

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
        outbox.send_next(false).map(|(id, _)| id)
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
        assert_eq!((outbox.entries.len(), outbox.bytes), (1, 10));
        assert!(outbox.forget("a"));
        assert!(!outbox.forget("a"));
        assert_eq!((outbox.entries.len(), outbox.bytes), (0, 0));
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

    #[test]
    fn a_peer_without_acknowledgements_has_a_result_once_it_answers_a_later_ping() {
        let mut outbox = with(&["a", "b"]);
        next(&mut outbox);
        assert!(outbox.pinged("a", 7));
        next(&mut outbox);
        assert!(outbox.pinged("b", 8));
        outbox.ponged(6, at(0), MINUTE);
        assert_eq!(
            outbox.unacknowledged().count(),
            2,
            "an earlier ping proves nothing"
        );
        outbox.ponged(7, at(0), MINUTE);
        assert_eq!(outbox.unacknowledged().count(), 1);
        outbox.ponged(9, at(5), MINUTE);
        assert!(outbox.is_delivered(), "a pong stands for earlier pings too");
        assert_eq!(outbox.settled_at(), Some(at(60)));
        assert_eq!(outbox.let_go_settled(at(59), DAY), Vec::<String>::new());
        assert_eq!(outbox.let_go_settled(at(60), DAY), ["a"]);
        outbox.socket_lost();
        assert_eq!(
            next(&mut outbox).as_deref(),
            Some("b"),
            "its socket died too early"
        );
        outbox.socket_lost();
        assert_eq!(outbox.let_go_settled(at(4) + DAY, DAY), Vec::<String>::new());
        assert_eq!(outbox.let_go_settled(at(5) + DAY, DAY), ["b"], "not for ever");
    }

    #[test]
    fn what_such_a_peer_has_read_makes_room_first() {
        let mut outbox = with(&["a", "b", "c", "d", "e", "f", "g", "h"]);
        next(&mut outbox);
        outbox.pinged("a", 1);
        assert_eq!(outbox.make_room_for(1), Vec::<String>::new());
        outbox.ponged(1, at(0), MINUTE);
        assert_eq!(outbox.make_room_for(1), ["a"]);
        assert!(outbox.has_room_for(1) && !outbox.has_room_for(2));
    }

    #[test]
    fn a_frame_that_closes_the_connection_is_found_and_given_up() {
        let mut outbox = with(&["a", "b"]);
        for id in ["a", "b"] {
            next(&mut outbox);
            outbox.written(id, at(0), WAIT);
        }
        assert_eq!(outbox.frame_refused(), None, "it may have been either");
        for round in 0..3 {
            outbox.socket_lost();
            assert_eq!(next(&mut outbox).as_deref(), Some("a"));
            outbox.written("a", at(0), WAIT);
            assert_eq!(next(&mut outbox), None, "from now on one after the other");
            let given_up = outbox.frame_refused();
            assert_eq!(given_up.is_some(), round == 2);
            if round == 2 {
                assert_eq!(given_up, Some(GivenUp::Result("a".to_owned())));
            }
        }
        outbox.replace("a", Arc::from("short"));
        assert_eq!(outbox.bytes, 15);
        outbox.socket_lost();
        assert_eq!(
            next(&mut outbox).as_deref(),
            Some("b"),
            "not before it is persisted"
        );
        assert!(outbox.forget("b"));
        outbox.persisted("a");
        for _ in 0..2 {
            assert_eq!(next(&mut outbox).as_deref(), Some("a"));
            assert_eq!(outbox.frame_refused(), None);
            outbox.socket_lost();
        }
        next(&mut outbox);
        assert_eq!(outbox.frame_refused(), Some(GivenUp::StandIn("a".to_owned())));
        assert_eq!((outbox.entries.len(), outbox.bytes), (0, 0));
        assert_eq!(outbox.frame_refused(), None, "no result was under way");
    }
}
