//! Keys that something stands on which lives longer than their check: sessions of devices, and the streams of operators.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use askalf_bridge_auth::{AuthenticatedKey, Rejection};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a revocation is remembered: longer than any check takes that may have read the key before it.
const REVOCATION_MEMORY: Duration = Duration::from_secs(60);

/// A key, and when its check began.
#[derive(Debug, Clone)]
pub(crate) struct CheckedKey {
    pub(crate) key: AuthenticatedKey,
    pub(crate) began: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct LiveKeys {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_number: u64,
    held: BTreeMap<u64, Arc<HeldKey>>,
    /// Keys that were revoked lately, oldest first.
    revoked: VecDeque<(Instant, String)>,
}

/// A key that is held.
#[derive(Debug)]
pub(crate) struct HeldKey {
    key: AuthenticatedKey,
    lost: watch::Sender<Option<Rejection>>,
}

impl LiveKeys {
    /// Holds a key for as long as what is returned lives. Where it was revoked since its check began it is lost already.
    pub(crate) fn hold(self: &Arc<Self>, checked: CheckedKey) -> KeyHold {
        let CheckedKey { key, began } = checked;
        let mut state = self.state();
        let revoked = state
            .revoked
            .iter()
            .any(|(at, id)| *at >= began && id == key.key_id());
        let held = Arc::new(HeldKey {
            key,
            lost: watch::channel(revoked.then_some(Rejection::Revoked)).0,
        });
        state.last_number += 1;
        let number = state.last_number;
        state.held.insert(number, Arc::clone(&held));
        KeyHold {
            number,
            held,
            keys: Arc::clone(self),
        }
    }

    /// Ends what stands on a key that was revoked, now and where its check is still under way.
    pub(crate) fn revoke(&self, key_id: &str) {
        let now = Instant::now();
        let mut state = self.state();
        while state
            .revoked
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) > REVOCATION_MEMORY)
        {
            state.revoked.pop_front();
        }
        state.revoked.push_back((now, key_id.to_owned()));
        let of_key = state.held.values().filter(|held| held.key.key_id() == key_id);
        of_key.for_each(|held| held.end(Rejection::Revoked));
    }

    /// All that are held now.
    pub(crate) fn all(&self) -> Vec<Arc<HeldKey>> {
        self.state().held.values().map(Arc::clone).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldKey {
    pub(crate) fn key(&self) -> &AuthenticatedKey {
        &self.key
    }

    /// Ends what stands on it. The first reason counts.
    pub(crate) fn end(&self, why: Rejection) {
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            lost.get_or_insert(why);
            first
        });
    }
}

/// Holds a key until it is dropped.
#[derive(Debug)]
pub(crate) struct KeyHold {
    number: u64,
    held: Arc<HeldKey>,
    keys: Arc<LiveKeys>,
}

impl KeyHold {
    /// Why the key does not hold any more, where that is so.
    pub(crate) fn lost_already(&self) -> Option<Rejection> {
        self.held.lost.borrow().clone()
    }

    /// Resolves once the key does not hold any more. Cancel-safe.
    pub(crate) async fn lost(&self) -> Rejection {
        let mut lost = self.held.lost.subscribe();
        let why = lost.wait_for(Option::is_some).await.map(|why| (*why).clone());
        match why {
            Ok(Some(why)) => why,
            // The sender is ours: it is there for as long as we are.
            _ => std::future::pending().await,
        }
    }
}

impl Drop for KeyHold {
    fn drop(&mut self) {
        self.keys.state().held.remove(&self.number);
    }
}
