//! The bridge's own check of a token, as a library call without sockets.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use askalf_bridge_auth::{Access, AuthenticatedKey, BridgeSecret, Rejection, UnixMillis};
use askalf_bridge_core::stores::Store;
use askalf_bridge_core::{Bridge, BridgeOptions};

/// How long the bridge may take to keep the digest of a key that was checked for the first time: it does so each second.
const KEPT_AFTER: Duration = Duration::from_secs(4);

/// A bridge that keeps digests and one that does not, on one store.
pub(crate) struct Checker {
    warm: Bridge,
    cold: Bridge,
}

impl Checker {
    pub(crate) async fn new(store: Arc<dyn Store>) -> Result<Self> {
        let bridge = |secret| {
            let options = BridgeOptions {
                secret,
                // A fleet waits here, and no client is told to come again.
                derivations_waiting: 100_000,
                ..BridgeOptions::default()
            };
            Bridge::new(Arc::clone(&store), options, Arc::new(now))
        };
        let warm = bridge(Some(BridgeSecret::mint()?));
        warm.start().await?;
        let cold = bridge(None);
        cold.start().await?;
        Ok(Self { warm, cold })
    }

    /// With a look-up by digest first.
    pub(crate) async fn warm(&self, token: &str) -> Result<AuthenticatedKey, Rejection> {
        self.warm.authenticate(Some(token), Access::Socket, None).await
    }

    /// As a device's first check is: with a derivation.
    pub(crate) async fn cold(&self, token: &str) -> Result<AuthenticatedKey, Rejection> {
        self.cold.authenticate(Some(token), Access::Socket, None).await
    }

    /// Waits until digests of what was checked are kept.
    pub(crate) async fn kept(&self) {
        tokio::time::sleep(KEPT_AFTER).await;
    }

    pub(crate) async fn end(self) {
        self.warm.shutdown().await;
        self.cold.shutdown().await;
    }
}

pub(crate) fn now() -> UnixMillis {
    UnixMillis::from_system_time(SystemTime::now())
}
