//! The validator over a store, driven as a library: look-ups awaited, derivations on blocking threads.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Result;
use askalf_bridge_auth::{Access, AuthenticatedKey, Rejection, Step, UnixMillis, Validator};
use askalf_bridge_core::stores::Store;
use tokio::sync::Semaphore;

pub(crate) struct Checker {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) validator: Validator,
    derivations: Arc<Semaphore>,
}

impl Checker {
    pub(crate) fn new(store: Arc<dyn Store>, validator: Validator) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            store,
            validator,
            derivations: Arc::new(Semaphore::new(cores)),
        }
    }

    pub(crate) async fn check(&self, token: &str) -> Result<AuthenticatedKey, Rejection> {
        let mut step = self.validator.check(Some(token), Access::Socket);
        loop {
            step = match step {
                Step::Lookup(wanted) => match self.store.find_keys(wanted.lookup()).await {
                    Ok(rows) => wanted.found(rows, now()),
                    Err(_) => wanted.unavailable(),
                },
                Step::Derive(wanted) => {
                    let permit = Arc::clone(&self.derivations).acquire_owned().await;
                    let derived = tokio::task::spawn_blocking(move || {
                        let step = wanted.derive(now());
                        drop(permit);
                        step
                    });
                    derived.await.map_err(|_| Rejection::Unavailable)?
                }
                Step::Done(outcome) => return outcome,
            };
        }
    }

    /// Checks and keeps the digest, as the bridge does after a first check.
    pub(crate) async fn check_and_keep(&self, token: &str) -> Result<()> {
        let key = self.check(token).await.map_err(anyhow::Error::msg)?;
        if let Some(digest) = key.digest_to_keep() {
            self.store.keep_digests(std::slice::from_ref(digest)).await?;
        }
        Ok(())
    }
}

pub(crate) fn now() -> UnixMillis {
    UnixMillis::from_system_time(SystemTime::now())
}
