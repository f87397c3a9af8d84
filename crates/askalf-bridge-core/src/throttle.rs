//! Wrong secrets for a prefix that some key has: each address gets a few at once, then one at a time and ever more
//! slowly. Whoever knows a prefix can thereby hold up nobody but those who share his address, and of those only whom
//! the bridge does not know by the digest.

use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use askalf_bridge_auth::KeyPrefix;
use hashlink::LruCache;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::network::network_of;

/// So many wrong secrets cost nothing: a person mistypes, an agent tries its old key first.
const FREE: u32 = 3;

/// The pause after the last of those; each further wrong secret doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause. An address then has 2,880 tries a day, at keys of 190 random bits.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long after the last wrong secret they are forgotten.
const MEMORY: Duration = Duration::from_secs(600);

/// How many pairs of address and prefix are remembered, about 16 MiB; the one that was asked for the longest ago is
/// forgotten first.
const MAX_ENTRIES: usize = 65_536;

/// How many may wait for their turn at one pair.
const MAX_WAITING: u32 = 16;

/// How long one may wait for its turn before it is told to come back: well below the time-outs of clients.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Pairs of address and prefix with the wrong secrets that came lately.
pub(crate) struct Throttle {
    /// Hashed as the standard library does: whoever comes from many addresses chooses the keys.
    entries: Mutex<Entries>,
    /// What those are told to wait who cannot be told when their turn is.
    retry_after: Duration,
}

type Entries = LruCache<Source, Arc<Entry>, RandomState>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Source {
    network: IpAddr,
    prefix: KeyPrefix,
}

#[derive(Default)]
struct Entry {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    last_failure: Option<Instant>,
    /// So many have passed and no verdict is there yet.
    undecided: u32,
    waiting: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Now,
    At(Instant),
    AfterAnother,
}

impl Throttle {
    pub(crate) fn new(retry_after: Duration) -> Self {
        Self::with_room_for(MAX_ENTRIES, retry_after)
    }

    fn with_room_for(entries: usize, retry_after: Duration) -> Self {
        Self {
            entries: Mutex::new(LruCache::with_hasher(entries, RandomState::new())),
            retry_after,
        }
    }

    /// Waits for the turn of `address` at a secret for `prefix`.
    ///
    /// # Errors
    /// How long to stay away, where the turn is too far off or too many wait already.
    pub(crate) async fn pass(&self, address: IpAddr, prefix: KeyPrefix) -> Result<Pass<'_>, Duration> {
        let source = Source {
            network: network_of(address),
            prefix,
        };
        let entry = self.entry(&source);
        let deadline = Instant::now() + LONGEST_WAIT;
        let mut waiting = None;
        loop {
            // Before the look at the state, so that a change in between is not missed.
            let mut changed = std::pin::pin!(entry.changed.notified());
            changed.as_mut().enable();
            let now = Instant::now();
            let turn = entry.state().turn(now);
            let until = match turn {
                Turn::Now => {
                    return Ok(Pass {
                        throttle: self,
                        source,
                        waited: waiting.is_some(),
                        verdict: Verdict::Wrong,
                        entry: Arc::clone(&entry),
                    });
                }
                Turn::At(at) if at > deadline => return Err(at - now),
                Turn::At(at) => at,
                Turn::AfterAnother if now >= deadline => return Err(self.retry_after),
                Turn::AfterAnother => deadline,
            };
            if waiting.is_none() {
                waiting = Some(Waiting::at(&entry).ok_or(self.retry_after)?);
            }
            let _ = timeout_at(until, changed).await;
        }
    }

    fn entry(&self, source: &Source) -> Arc<Entry> {
        let mut entries = self.entries();
        if let Some(entry) = entries.get(source) {
            return Arc::clone(entry);
        }
        let entry = Arc::<Entry>::default();
        entries.insert(source.clone(), Arc::clone(&entry));
        entry
    }

    /// Forgets an entry that holds nothing.
    fn tidy(&self, source: &Source, entry: &Arc<Entry>) {
        let mut entries = self.entries();
        if entries.peek(source).is_some_and(|kept| Arc::ptr_eq(kept, entry)) && entry.state().is_clean() {
            entries.remove(source);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether one may pass; then it counts as undecided.
    fn turn(&mut self, now: Instant) -> Turn {
        let age = self.last_failure.map(|last| now.duration_since(last));
        if age.is_some_and(|age| age >= MEMORY) {
            (self.failures, self.last_failure) = (0, None);
        }
        if self.undecided >= FREE.saturating_sub(self.failures).max(1) {
            return Turn::AfterAnother;
        }
        match self.last_failure.map(|last| last + pause_after(self.failures)) {
            Some(at) if at > now => Turn::At(at),
            _ => {
                self.undecided += 1;
                Turn::Now
            }
        }
    }

    fn decide(&mut self, verdict: Verdict, now: Instant) {
        self.undecided = self.undecided.saturating_sub(1);
        match verdict {
            Verdict::Right => (self.failures, self.last_failure) = (0, None),
            Verdict::Wrong => {
                self.failures = self.failures.saturating_add(1);
                self.last_failure = Some(now);
            }
            Verdict::None => {}
        }
    }

    fn is_clean(&self) -> bool {
        self.failures == 0 && self.undecided == 0 && self.waiting == 0
    }
}

fn pause_after(failures: u32) -> Duration {
    match failures.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(beyond) => FIRST_PAUSE
            .saturating_mul(1_u32.checked_shl(beyond).unwrap_or(u32::MAX))
            .min(LONGEST_PAUSE),
    }
}

/// A place among those who wait.
struct Waiting<'a>(&'a Entry);

impl<'a> Waiting<'a> {
    fn at(entry: &'a Entry) -> Option<Self> {
        let mut state = entry.state();
        (state.waiting < MAX_WAITING).then(|| {
            state.waiting += 1;
            Self(entry)
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting = state.waiting.saturating_sub(1);
    }
}

/// Whether a secret was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It matched a key, whatever that key's state.
    Right,
    /// It matched none.
    Wrong,
    /// The bridge could not tell.
    None,
}

/// The turn of one secret. Dropped without a verdict it counts as wrong: else whoever leaves before the answer could
/// have as many derivations as he likes.
#[must_use]
pub(crate) struct Pass<'a> {
    throttle: &'a Throttle,
    source: Source,
    entry: Arc<Entry>,
    waited: bool,
    verdict: Verdict,
}

impl Pass<'_> {
    /// Whether its turn did not come at once: then what was read before may have changed.
    pub(crate) fn waited(&self) -> bool {
        self.waited
    }

    /// Tells whether the secret was right.
    pub(crate) fn decide(mut self, verdict: Verdict) {
        self.verdict = verdict;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let clean = {
            let mut state = self.entry.state();
            state.decide(self.verdict, Instant::now());
            state.is_clean()
        };
        self.entry.changed.notify_waiters();
        if clean {
            self.throttle.tidy(&self.source, &self.entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use askalf_bridge_auth::Token;

    use super::*;

    const HERE: &str = "192.0.2.1";
    const RETRY_AFTER: Duration = Duration::from_secs(7);

    fn prefix(text: &str) -> KeyPrefix {
        Token::parse(text).unwrap().prefix()
    }

    async fn pass<'a>(throttle: &'a Throttle, address: &str) -> Result<Pass<'a>, Duration> {
        throttle
            .pass(address.parse().unwrap(), prefix("sk_live_NdlP"))
            .await
    }

    async fn fail(throttle: &Throttle, address: &str, times: u32) {
        for _ in 0..times {
            pass(throttle, address).await.unwrap().decide(Verdict::Wrong);
        }
    }

    /// How long the next one waits.
    async fn wait_of(throttle: &Throttle, address: &str) -> Duration {
        let before = Instant::now();
        match pass(throttle, address).await {
            Ok(pass) => {
                assert_eq!(pass.waited(), before.elapsed() > Duration::ZERO);
                pass.decide(Verdict::None);
                before.elapsed()
            }
            Err(told) => told,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn three_are_free_and_then_each_waits_twice_as_long_up_to_half_a_minute() {
        let throttle = Throttle::new(RETRY_AFTER);
        let mut waits = Vec::new();
        for _ in 0..9 {
            let before = Instant::now();
            let turn = loop {
                match pass(&throttle, HERE).await {
                    Ok(turn) => break turn,
                    // Told to come back, it comes exactly then.
                    Err(told) => tokio::time::advance(told).await,
                }
            };
            waits.push(before.elapsed().as_secs());
            turn.decide(Verdict::Wrong);
        }
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_long_is_told_when_to_come_and_holds_no_connection() {
        let throttle = Throttle::new(RETRY_AFTER);
        fail(&throttle, HERE, 5).await;
        assert_eq!(wait_of(&throttle, HERE).await, Duration::from_secs(4));
        fail(&throttle, HERE, 1).await;
        let before = Instant::now();
        assert_eq!(pass(&throttle, HERE).await.err(), Some(Duration::from_secs(8)));
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn another_address_and_another_prefix_do_not_wait() {
        let throttle = Throttle::new(RETRY_AFTER);
        fail(&throttle, HERE, 6).await;
        assert_eq!(wait_of(&throttle, "192.0.2.2").await, Duration::ZERO);
        let other = throttle.pass(HERE.parse().unwrap(), prefix("sk_live_othe")).await;
        other.unwrap().decide(Verdict::None);
        assert!(wait_of(&throttle, HERE).await > Duration::ZERO);
        assert!(
            wait_of(&throttle, "::ffff:192.0.2.1").await > Duration::ZERO,
            "the same in IPv6's words"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_ipv6_is_one_address() {
        let throttle = Throttle::new(RETRY_AFTER);
        fail(&throttle, "2001:db8:0:1::1", 6).await;
        assert!(wait_of(&throttle, "2001:db8:0:1:ffff::2").await > Duration::ZERO);
        assert_eq!(wait_of(&throttle, "2001:db8:0:2::1").await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_secret_clears_the_slate_and_leaves_nothing_behind() {
        let throttle = Throttle::new(RETRY_AFTER);
        fail(&throttle, HERE, 3).await;
        pass(&throttle, HERE).await.unwrap().decide(Verdict::Right);
        assert_eq!(throttle.entries().len(), 0);
        assert_eq!(wait_of(&throttle, HERE).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_secrets_are_forgotten_after_ten_minutes() {
        let throttle = Throttle::new(RETRY_AFTER);
        fail(&throttle, HERE, 6).await;
        tokio::time::advance(MEMORY).await;
        fail(&throttle, HERE, 2).await;
        assert_eq!(wait_of(&throttle, HERE).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_at_once_do_not_slip_through() {
        let throttle = Throttle::new(RETRY_AFTER);
        let mut undecided = Vec::new();
        for _ in 0..FREE {
            undecided.push(pass(&throttle, HERE).await.unwrap());
        }
        let before = Instant::now();
        let fourth = pass(&throttle, HERE);
        let third = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            undecided.pop().unwrap().decide(Verdict::Right);
        };
        let (fourth, ()) = tokio::join!(fourth, third);
        assert_eq!(
            before.elapsed(),
            Duration::from_millis(10),
            "it waits for a verdict"
        );
        drop(fourth);
        assert_eq!(
            pass(&throttle, HERE).await.err(),
            Some(RETRY_AFTER),
            "and no longer than it may"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_before_the_answer_has_used_up_a_try() {
        let throttle = Throttle::new(RETRY_AFTER);
        for _ in 0..FREE {
            drop(pass(&throttle, HERE).await.unwrap());
        }
        assert_eq!(wait_of(&throttle, HERE).await, FIRST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn few_wait_and_more_are_sent_away() {
        let throttle = Throttle::new(RETRY_AFTER);
        fail(&throttle, HERE, 3).await;
        let all = futures_util::future::join_all((0..MAX_WAITING + 5).map(|_| async {
            let turn = pass(&throttle, HERE).await;
            turn.map(|turn| turn.decide(Verdict::None))
        }));
        let outcomes = all.await;
        let sent_away = outcomes
            .iter()
            .filter(|outcome| **outcome == Err(RETRY_AFTER))
            .count();
        assert_eq!(sent_away, 5);
        assert_eq!(
            wait_of(&throttle, HERE).await,
            Duration::ZERO,
            "nobody waits any more"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let throttle = Throttle::with_room_for(2, RETRY_AFTER);
        for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
            fail(&throttle, address, 3).await;
        }
        assert_eq!(throttle.entries().len(), 2);
        assert_eq!(wait_of(&throttle, "192.0.2.3").await, FIRST_PAUSE);
        assert_eq!(wait_of(&throttle, "192.0.2.1").await, Duration::ZERO);
    }
}
