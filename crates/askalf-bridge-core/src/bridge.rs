//! The bridge as one value: the store, who is connected, and what goes on.

use std::fmt;
use std::sync::Arc;

use askalf_bridge_auth::UnixMillis;
use tokio::sync::watch;

use crate::BridgeOptions;
use crate::stores::{Store, StoreError};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// A bridge. Clones are the same bridge.
#[derive(Clone)]
pub struct Bridge {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    options: BridgeOptions,
    clock: Clock,
    phase: watch::Sender<Phase>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Open,
    Closing,
}

impl Bridge {
    /// A bridge over `store`, which answers questions about keys, devices and executions but takes no device before
    /// [`Bridge::start`].
    pub fn new(store: Arc<dyn Store>, options: BridgeOptions, clock: Clock) -> Self {
        let (phase, _) = watch::channel(Phase::Idle);
        Self {
            inner: Arc::new(Inner {
                store,
                options,
                clock,
                phase,
            }),
        }
    }

    /// Opens the bridge for devices: marks all of them as gone, since nobody can be connected yet, and gives their open
    /// executions the grace of [`BridgeOptions::interrupted_grace`]. Call it once, before the listeners are served and
    /// only while no other bridge runs on the database.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the bridge is not open, and may be started again.
    pub async fn start(&self) -> Result<(), StoreError> {
        let _ = (
            &self.inner.options,
            self.inner.store.all_devices_offline((self.inner.clock)()).await?,
        );
        self.inner.phase.send_replace(Phase::Open);
        Ok(())
    }

    /// Ends every session with `SERVER_SHUTDOWN` and close code 1001 and every stream of events; takes no new ones.
    /// Returns when they are gone, at the latest after [`BridgeOptions::shutdown_timeout`].
    pub async fn shutdown(&self) {
        self.inner.phase.send_replace(Phase::Closing);
    }

    /// Resolves once [`Bridge::shutdown`] was called.
    pub fn shutting_down(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut phase = self.inner.phase.subscribe();
        async move {
            let _ = phase.wait_for(|phase| *phase == Phase::Closing).await;
        }
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Bridge")
            .field("phase", &*self.inner.phase.borrow())
            .finish_non_exhaustive()
    }
}
