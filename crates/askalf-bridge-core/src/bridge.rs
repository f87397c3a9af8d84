//! The bridge as one value: the store, who is connected, and what goes on.

use std::fmt;
use std::future::Future;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askalf_bridge_auth::{Access, AuthenticatedKey, Rejection, UnixMillis};
use tokio::sync::{MutexGuard, watch};
use tokio::task::JoinHandle;

use crate::BridgeOptions;
use crate::authenticate::Authenticator;
use crate::counters::Counters;
use crate::grace::Grace;
use crate::http::PairBudget;
use crate::hub::{Hub, Router};
use crate::keeper::{Keeper, Notes};
use crate::live_keys::LiveKeys;
use crate::malformed_prefixes::MalformedPrefixes;
use crate::stores::{Store, StoreError};
use crate::watchers::Watchers;
use crate::{orphans, recheck, rotation, session};

/// How often a bridge that drains looks whether it has done so.
const DRAIN_POLL: Duration = Duration::from_millis(100);

/// How long the first device is told to stay away after a shutdown: about what a restart takes.
const FIRST_BACK: Duration = Duration::from_secs(1);

/// How many devices are told to come back in a second: checking the keys of so many is half of what a bridge on two cores does.
const BACK_PER_SECOND: u32 = 1000;

/// Within which all of them are told to come back: a fifth of the default grace, counted from the start of the next bridge.
const ALL_BACK: Duration = Duration::from_secs(30);

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// A bridge. Clones are the same bridge.
///
/// New, it answers questions about keys, devices and executions over [`router`](crate::router), which is all that a
/// command needs while no bridge runs. [`Bridge::start`] opens it for devices.
#[derive(Clone)]
pub struct Bridge {
    pub(crate) core: Arc<Core>,
}

/// What all parts of a bridge share.
pub(crate) struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) options: BridgeOptions,
    pub(crate) clock: Clock,
    pub(crate) authenticator: Authenticator,
    pub(crate) hub: Arc<Hub>,
    pub(crate) router: Arc<dyn Router>,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) grace: Arc<Grace>,
    pub(crate) turns: Turns,
    /// The same by the device, which may come with one key while the session of another ends. Taken after the one of the key.
    pub(crate) device_turns: Turns,
    pub(crate) live_keys: Arc<LiveKeys>,
    pub(crate) counters: Arc<Counters>,
    malformed_prefixes: MalformedPrefixes,
    notes: Arc<Notes>,
    pub(crate) pair_budget: PairBudget,
    phase: watch::Sender<Phase>,
    live_sessions: watch::Sender<usize>,
    tasks: Mutex<Option<Tasks>>,
}

/// What runs beside the sessions of an open bridge.
struct Tasks {
    grace: JoinHandle<()>,
    recheck: JoinHandle<()>,
    rotation: JoinHandle<()>,
    keeper: Option<Keeper>,
}

/// How far a bridge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not open for devices.
    Idle,
    /// Open.
    Open,
    /// Open for devices, but not for new tasks.
    Draining,
    /// Going down.
    Closing,
}

impl Phase {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Open => "open",
            Self::Draining => "draining",
            Self::Closing => "closing",
        }
    }
}

impl Bridge {
    /// A bridge over `store`, which takes no device before [`Bridge::start`].
    pub fn new(store: Arc<dyn Store>, options: BridgeOptions, clock: Clock) -> Self {
        let hub = Arc::new(Hub::default());
        let notes = Arc::<Notes>::default();
        let counters = Arc::<Counters>::default();
        let core = Core {
            authenticator: Authenticator::new(
                Arc::clone(&store),
                &options,
                Arc::clone(&clock),
                Arc::clone(&notes),
                Arc::clone(&counters),
            ),
            router: Arc::clone(&hub) as Arc<dyn Router>,
            hub,
            watchers: Watchers::new(&options),
            grace: Arc::default(),
            turns: Turns::default(),
            device_turns: Turns::default(),
            live_keys: Arc::default(),
            counters,
            malformed_prefixes: MalformedPrefixes::default(),
            notes,
            pair_budget: PairBudget::default(),
            phase: watch::channel(Phase::Idle).0,
            live_sessions: watch::channel(0).0,
            tasks: Mutex::default(),
            store,
            options,
            clock,
        };
        Self { core: Arc::new(core) }
    }

    /// Opens the bridge for devices: marks all of them as gone, since nobody can be connected yet, and gives their open
    /// executions the grace of [`BridgeOptions::interrupted_grace`] from now. Call it once, before the listeners are
    /// served and only while no other bridge runs on the database; on an open bridge it does nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the bridge is not open, and may be started again.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(&self) -> Result<(), StoreError> {
        if self.core.phase() != Phase::Idle {
            return Ok(());
        }
        let offline = self.core.store.all_devices_offline(self.core.now()).await?;
        let orphans = orphans::give_grace(&self.core).await?;
        tracing::info!(offline, orphans, "the bridge is open for devices");
        self.core.note_malformed_prefixes().await;
        let tasks = Tasks {
            grace: tokio::spawn(orphans::end_when_due(
                Arc::clone(&self.core.grace),
                Arc::downgrade(&self.core),
            )),
            recheck: tokio::spawn(recheck::recheck_always(
                Arc::downgrade(&self.core),
                self.core.options.recheck_interval,
            )),
            rotation: tokio::spawn(rotation::rotate_always(
                Arc::downgrade(&self.core),
                self.core.options.rotation_round,
            )),
            keeper: Some(Keeper::start(
                Arc::clone(&self.core.notes),
                Arc::clone(&self.core.store),
                Arc::clone(&self.core.clock),
            )),
        };
        drop(self.core.tasks().replace(tasks));
        self.core.phase.send_if_modified(|phase| {
            let opens = *phase == Phase::Idle;
            if opens {
                *phase = Phase::Open;
            }
            opens
        });
        Ok(())
    }

    /// Takes no new tasks from now on, and returns once no device that is connected has one, or after `at_most`. Devices may
    /// still come, to deliver their results. [`Bridge::shutdown`] comes next; what runs on stays open in the store, for the
    /// next bridge to take up.
    pub async fn drain(&self, at_most: Duration) {
        self.core.phase.send_if_modified(|phase| {
            let begins = *phase == Phase::Open;
            if begins {
                *phase = Phase::Draining;
            }
            begins
        });
        let is_busy = || self.core.hub.all().iter().any(|link| link.held_count() > 0);
        let done = async {
            while is_busy() {
                tokio::time::sleep(DRAIN_POLL).await;
            }
        };
        if tokio::time::timeout(at_most, done).await.is_err() {
            tracing::warn!("tasks still run on devices; the next bridge takes them up");
        }
    }

    /// Ends every session with `SERVER_SHUTDOWN` and close code 1001 and every stream of events; takes no new ones. Each
    /// device is told a time of its own to come back at, so that they do not all come at once.
    /// Returns when the sessions are gone and what their checks left behind is stored; each may take
    /// [`BridgeOptions::shutdown_timeout`].
    pub async fn shutdown(&self) {
        self.core.phase.send_replace(Phase::Closing);
        let links = self.core.hub.all();
        let count = links.len();
        for (place, link) in links.iter().enumerate() {
            session::say_shutdown(link, comes_back_after(place, count));
        }
        drop(links);
        let mut live = self.core.live_sessions.subscribe();
        let gone = live.wait_for(|live| *live == 0);
        if tokio::time::timeout(self.core.options.shutdown_timeout, gone)
            .await
            .is_err()
        {
            tracing::warn!("sessions were cut off by the shutdown");
        }
        let tasks = self.core.tasks().take();
        if let Some(tasks) = tasks {
            tasks.end(self.core.options.shutdown_timeout).await;
        }
    }

    /// Checks a token as the sockets and the API do, for a program that asks on its own: with the same budgets, and the same
    /// traces in the list of refused checks and the count of uses. `address` is where the bearer comes from; without one
    /// wrong secrets are not slowed down. Drop the future to give a check up.
    ///
    /// # Errors
    /// [`Rejection`]; of those [`Rejection::Unavailable`] and [`Rejection::Overloaded`] say nothing about the token.
    ///
    /// # Panics
    /// Outside a tokio runtime with a timer.
    pub async fn authenticate(
        &self,
        presented: Option<&str>,
        want: Access,
        address: Option<IpAddr>,
    ) -> Result<AuthenticatedKey, Rejection> {
        self.core
            .authenticator
            .authenticate(presented, want, address)
            .await
    }

    /// How many keys had a malformed prefix when they were last counted: at the start, and with each recheck of the live
    /// sessions. Every token that is not known is derived against all of them.
    pub fn malformed_prefixes(&self) -> u64 {
        self.core.malformed_prefixes.last()
    }

    /// Resolves once [`Bridge::shutdown`] was called. It does not keep the bridge alive.
    pub fn shutting_down(&self) -> impl Future<Output = ()> + Send + 'static {
        self.core.closing()
    }
}

/// When the device at `place` of `count` shall come back: evenly spread, so that it needs no chance.
fn comes_back_after(place: usize, count: usize) -> Duration {
    let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    let place = u32::try_from(place).unwrap_or(u32::MAX).min(count);
    let window = (Duration::from_secs(1) * count / BACK_PER_SECOND).clamp(FIRST_BACK, ALL_BACK);
    FIRST_BACK + window.mul_f64(f64::from(place) / f64::from(count))
}

impl fmt::Debug for Bridge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Bridge")
            .field("phase", &self.core.phase())
            .finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn now(&self) -> UnixMillis {
        (self.clock)()
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Resolves once the bridge goes down, or is no more.
    pub(crate) fn closing(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut phase = self.phase.subscribe();
        async move {
            let _ = phase.wait_for(|phase| *phase == Phase::Closing).await;
        }
    }

    /// Counts a session as alive until the guard is dropped.
    pub(crate) fn count_session(&self) -> LiveSession {
        self.live_sessions.send_modify(|live| *live += 1);
        LiveSession(self.live_sessions.clone())
    }

    /// Ends the sessions and streams of a key that was revoked.
    pub(crate) fn key_revoked(&self, key_id: &str) {
        self.live_keys.revoke(key_id);
    }

    /// Counts the keys that no prefix finds. Where the store fails the last count stays.
    pub(crate) async fn note_malformed_prefixes(&self) {
        if let Err(error) = self.malformed_prefixes.count(&*self.store).await {
            tracing::warn!(error = %error, "keys with a malformed prefix could not be counted");
        }
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Option<Tasks>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tasks {
    /// Ends them; the notes are written before that.
    async fn end(mut self, at_most: Duration) {
        if let Some(keeper) = self.keeper.take() {
            keeper.finish(at_most).await;
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.grace.abort();
        self.recheck.abort();
        self.rotation.abort();
    }
}

pub(crate) struct LiveSession(watch::Sender<usize>);

impl Drop for LiveSession {
    fn drop(&mut self) {
        self.0.send_modify(|live| *live -= 1);
    }
}

/// Turns at changing whether a device is there. Without them the "gone" of an old session could be written after
/// the "online" of the new one. They order writes and guard no data; so, unlike any other lock here, they are held
/// while the store is asked.
pub(crate) struct Turns {
    slots: [tokio::sync::Mutex<()>; 64],
    hasher: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            slots: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            hasher: RandomState::new(),
        }
    }
}

impl Turns {
    /// Waits for the turn of a key or a device. Those that share a slot wait for each other now and then.
    pub(crate) async fn of(&self, id: &str) -> MutexGuard<'_, ()> {
        let slots = self.slots.len() as u64;
        let slot = usize::try_from(self.hasher.hash_one(id) % slots).unwrap_or(0);
        self.slots[slot].lock().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_come_back_one_after_the_other_and_within_the_grace() {
        assert_eq!(comes_back_after(0, 1), FIRST_BACK);
        let few: Vec<_> = (0..4)
            .map(|place| comes_back_after(place, 4).as_millis())
            .collect();
        assert_eq!(few, [1000, 1250, 1500, 1750]);
        let gaps = |count: usize| {
            let at = |place| comes_back_after(place, count);
            (0..count - 1).all(|place| at(place) < at(place + 1))
        };
        assert!(gaps(5000) && gaps(50_000));
        assert_eq!(comes_back_after(4999, 5000).as_secs(), 5);
        assert!(comes_back_after(49_999, 50_000) <= FIRST_BACK + ALL_BACK);
    }
}
