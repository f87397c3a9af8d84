//! Digests of tokens that were just derived, on their way to the store. One that is lost costs a derivation.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use askalf_bridge_auth::KeyDigest;

use crate::stores::{KeyStore, StoreError};

/// How many wait for a write. Derivations give at most some hundred a second and core.
const MAX_WAITING: usize = 8_192;

/// How many one write takes: so that others get their turn at the database in between.
const PER_WRITE: usize = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Digests {
    by_key: Mutex<HashMap<String, KeyDigest>>,
}

impl Digests {
    /// Keeps a digest with the next write. Where too many wait it is left out.
    pub(crate) fn keep(&self, digest: &KeyDigest) {
        let mut waiting = self.waiting();
        if waiting.len() < MAX_WAITING || waiting.contains_key(&digest.key_id) {
            waiting.insert(digest.key_id.clone(), digest.clone());
        }
    }

    /// Writes what waits. What could not be written stays for the next time.
    ///
    /// # Errors
    /// [`StoreError`] of the first write that failed.
    pub(crate) async fn write(&self, store: &(impl KeyStore + ?Sized)) -> Result<(), StoreError> {
        let digests: Vec<_> = mem::take(&mut *self.waiting()).into_values().collect();
        for (written, part) in digests.chunks(PER_WRITE).enumerate() {
            if let Err(error) = store.keep_digests(part).await {
                let mut waiting = self.waiting();
                for digest in digests.into_iter().skip(written * PER_WRITE) {
                    if waiting.len() < MAX_WAITING {
                        // A newer one of the same key stays.
                        waiting.entry(digest.key_id.clone()).or_insert(digest);
                    }
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, KeyDigest>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
