//! The bridge as one value: the store, who is connected, and what goes on.

use std::fmt;
use std::future::Future;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, PoisonError};

use askalf_bridge_auth::UnixMillis;
use tokio::sync::{MutexGuard, watch};
use tokio::task::JoinHandle;

use crate::BridgeOptions;
use crate::authenticate::Authenticator;
use crate::grace::Grace;
use crate::http::PairBudget;
use crate::hub::{Hub, Router};
use crate::stores::{Store, StoreError};
use crate::watchers::Watchers;
use crate::{orphans, session};

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
    pub(crate) pair_budget: PairBudget,
    phase: watch::Sender<Phase>,
    live_sessions: watch::Sender<usize>,
    grace_task: Mutex<Option<JoinHandle<()>>>,
}

/// How far a bridge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not open for devices.
    Idle,
    /// Open.
    Open,
    /// Going down.
    Closing,
}

impl Bridge {
    /// A bridge over `store`, which takes no device before [`Bridge::start`].
    pub fn new(store: Arc<dyn Store>, options: BridgeOptions, clock: Clock) -> Self {
        let hub = Arc::new(Hub::default());
        let core = Core {
            authenticator: Authenticator::new(Arc::clone(&store), &options, Arc::clone(&clock)),
            router: Arc::clone(&hub) as Arc<dyn Router>,
            hub,
            watchers: Watchers::new(&options),
            grace: Arc::default(),
            turns: Turns::default(),
            pair_budget: PairBudget::default(),
            phase: watch::channel(Phase::Idle).0,
            live_sessions: watch::channel(0).0,
            grace_task: Mutex::default(),
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
        let task = tokio::spawn(orphans::end_when_due(
            Arc::clone(&self.core.grace),
            Arc::downgrade(&self.core),
        ));
        let mut slot = self
            .core
            .grace_task
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = slot.replace(task) {
            other.abort();
        }
        drop(slot);
        self.core.phase.send_if_modified(|phase| {
            let opens = *phase == Phase::Idle;
            if opens {
                *phase = Phase::Open;
            }
            opens
        });
        Ok(())
    }

    /// Ends every session with `SERVER_SHUTDOWN` and close code 1001 and every stream of events; takes no new ones.
    /// Returns when the sessions are gone, at the latest after [`BridgeOptions::shutdown_timeout`].
    pub async fn shutdown(&self) {
        self.core.phase.send_replace(Phase::Closing);
        for link in self.core.hub.all() {
            session::say_shutdown(&link);
        }
        let mut live = self.core.live_sessions.subscribe();
        let gone = live.wait_for(|live| *live == 0);
        if tokio::time::timeout(self.core.options.shutdown_timeout, gone)
            .await
            .is_err()
        {
            tracing::warn!("sessions were cut off by the shutdown");
        }
    }

    /// Resolves once [`Bridge::shutdown`] was called. It does not keep the bridge alive.
    pub fn shutting_down(&self) -> impl Future<Output = ()> + Send + 'static {
        self.core.closing()
    }
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

    /// Ends the sessions of a key that was revoked.
    pub(crate) fn key_revoked(&self, key_id: &str) {
        for link in self.hub.revoke(key_id) {
            session::say_revoked(&link);
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let slot = self.grace_task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = slot.take() {
            task.abort();
        }
    }
}

pub(crate) struct LiveSession(watch::Sender<usize>);

impl Drop for LiveSession {
    fn drop(&mut self) {
        self.0.send_modify(|live| *live -= 1);
    }
}

/// Turns at changing whether a key's device is there. Without them the "gone" of an old session could be written after
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
    /// Waits for the turn of a key. Keys that share a slot wait for each other now and then.
    pub(crate) async fn of_key(&self, key_id: &str) -> MutexGuard<'_, ()> {
        let slots = self.slots.len() as u64;
        let slot = usize::try_from(self.hasher.hash_one(key_id) % slots).unwrap_or(0);
        self.slots[slot].lock().await
    }
}
