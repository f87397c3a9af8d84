//! How often keys were used since that was last stored. A use is counted in memory and written with others: a check must
//! not wait for it, and a fleet that comes back at once must not be a write each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use askalf_bridge_auth::UnixMillis;

use crate::stores::{KeyStore, KeyUse, StoreError};

/// How many keys are counted between two writes. Of more, the rest go uncounted: a count is for people, not for a bill.
const MAX_KEYS: usize = 65_536;

/// How many keys one write takes: so that others get their turn at the database in between.
const PER_WRITE: usize = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Uses {
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    by_key: HashMap<String, KeyUse>,
    uncounted: u64,
}

impl Uses {
    pub(crate) fn count(&self, key_id: &str, now: UnixMillis) {
        self.counted().add(KeyUse {
            key_id: key_id.to_owned(),
            count: 1,
            last_used_at: now,
        });
    }

    /// Writes what was counted. What could not be written stays for the next time.
    ///
    /// # Errors
    /// [`StoreError`] of the first write that failed.
    pub(crate) async fn write(&self, store: &(impl KeyStore + ?Sized)) -> Result<(), StoreError> {
        let Counted { by_key, uncounted } = mem::take(&mut *self.counted());
        if uncounted > 0 {
            tracing::warn!(uncounted, "more keys were used at once than are counted");
        }
        let uses: Vec<_> = by_key.into_values().collect();
        for (written, part) in uses.chunks(PER_WRITE).enumerate() {
            if let Err(error) = store.count_uses(part).await {
                let mut counted = self.counted();
                uses.into_iter()
                    .skip(written * PER_WRITE)
                    .for_each(|used| counted.add(used));
                return Err(error);
            }
        }
        Ok(())
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn add(&mut self, used: KeyUse) {
        let full = self.by_key.len() >= MAX_KEYS;
        match self.by_key.entry(used.key_id.clone()) {
            Entry::Occupied(mut counted) => {
                let counted = counted.get_mut();
                counted.count = counted.count.saturating_add(used.count);
                counted.last_used_at = counted.last_used_at.max(used.last_used_at);
            }
            Entry::Vacant(_) if full => self.uncounted += u64::from(used.count),
            Entry::Vacant(free) => {
                free.insert(used);
            }
        }
    }
}
