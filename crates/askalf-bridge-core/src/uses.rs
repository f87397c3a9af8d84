//! How often keys were used since that was last stored. A use is counted in memory and written with others: a check must
//! not wait for it, and a fleet that comes back at once must not be a write each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use askalf_bridge_auth::UnixMillis;

use crate::stores::{KeyUse, StoreError};

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

    /// Passes what was counted on to `write`, in parts. What could not be written stays for the next time.
    ///
    /// # Errors
    /// That of the first part that failed.
    pub(crate) async fn write<F>(&self, mut write: impl FnMut(Vec<KeyUse>) -> F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        let Counted { by_key, uncounted } = mem::take(&mut *self.counted());
        if uncounted > 0 {
            tracing::warn!(uncounted, "more keys were used at once than are counted");
        }
        let uses: Vec<_> = by_key.into_values().collect();
        for (written, part) in uses.chunks(PER_WRITE).enumerate() {
            if let Err(error) = write(part.to_vec()).await {
                let mut counted = self.counted();
                let left = uses.into_iter().skip(written * PER_WRITE);
                left.for_each(|used| counted.add(used));
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn written(uses: &Uses) -> Vec<KeyUse> {
        let mut all = Vec::new();
        let write = |part: Vec<KeyUse>| {
            assert!(part.len() <= PER_WRITE);
            all.extend(part);
            std::future::ready(Ok(()))
        };
        uses.write(write).await.unwrap();
        all.sort_by(|one, two| one.key_id.cmp(&two.key_id));
        all
    }

    fn used(key_id: &str, count: u32, at: i64) -> KeyUse {
        KeyUse {
            key_id: key_id.to_owned(),
            count,
            last_used_at: UnixMillis(at),
        }
    }

    #[tokio::test]
    async fn uses_of_a_key_are_one_write_and_are_written_once() {
        let uses = Uses::default();
        for at in [1, 3, 2] {
            uses.count("key_1", UnixMillis(at));
        }
        uses.count("key_2", UnixMillis(4));
        assert_eq!(written(&uses).await, [used("key_1", 3, 3), used("key_2", 1, 4)]);
        assert_eq!(written(&uses).await, []);
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_added_to_what_came_meanwhile() {
        let uses = Uses::default();
        uses.count("key_1", UnixMillis(1));
        let failed = uses.write(|_| {
            uses.count("key_1", UnixMillis(2));
            std::future::ready(Err(StoreError::Unavailable("the disk is full".to_owned())))
        });
        failed.await.unwrap_err();
        assert_eq!(written(&uses).await, [used("key_1", 2, 2)]);
    }

    #[tokio::test]
    async fn of_parts_only_those_are_written_again_that_failed() {
        let uses = Uses::default();
        for key in 0..PER_WRITE + 1 {
            uses.count(&key.to_string(), UnixMillis(1));
        }
        let mut parts = 0;
        let second_fails = uses.write(|_| {
            parts += 1;
            std::future::ready(match parts {
                1 => Ok(()),
                _ => Err(StoreError::Unavailable("the disk is full".to_owned())),
            })
        });
        second_fails.await.unwrap_err();
        assert_eq!(written(&uses).await.len(), 1);
    }

    #[tokio::test]
    async fn keys_are_bounded_and_those_that_are_counted_go_on() {
        let uses = Uses::default();
        for key in 0..MAX_KEYS + 10 {
            uses.count(&key.to_string(), UnixMillis(1));
        }
        uses.count("0", UnixMillis(2));
        assert_eq!(uses.counted().uncounted, 10);
        let written = written(&uses).await;
        assert_eq!((written.len(), &written[0]), (MAX_KEYS, &used("0", 2, 2)));
    }
}
