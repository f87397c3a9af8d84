//! How many keys have a prefix that finds them for nobody. Every unknown token is derived against all of them; so an
//! operator should know, and mend them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::stores::{KeyStore, StoreError};

#[derive(Debug, Default)]
pub(crate) struct MalformedPrefixes(AtomicU64);

impl MalformedPrefixes {
    /// The last count; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts them anew, and says so where the number has changed.
    ///
    /// # Errors
    /// [`StoreError`]; the last count stays.
    pub(crate) async fn count(&self, store: &(impl KeyStore + ?Sized)) -> Result<(), StoreError> {
        let keys = store.malformed_prefixes().await?;
        let before = self.0.swap(keys, Ordering::Relaxed);
        if keys > 0 && keys != before {
            tracing::warn!(
                keys,
                "keys have a malformed prefix: each token that is not known is derived against all of them; \
                 mend them with 'askalf-bridge keys verify --repair -'"
            );
        } else if before > keys {
            tracing::info!("no key has a malformed prefix any more");
        }
        Ok(())
    }
}
