//! Live sessions are checked again: a key that somebody changed in the database, past this bridge, must not keep its
//! session for longer than [`BridgeOptions::recheck_interval`](crate::BridgeOptions::recheck_interval).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use askalf_bridge_auth::KeyRecord;

use crate::bridge::Core;
use crate::live_keys::HeldKey;
use crate::stores::StoreError;

/// Keys per look-up: the most that [`keys_now`](crate::stores::KeyStore::keys_now) takes.
const BATCH: usize = 1_000;

/// The shortest pause between two rounds, whatever the interval.
const SHORTEST: Duration = Duration::from_millis(10);

/// Checks what is live again and again, until the bridge is no more.
pub(crate) async fn recheck_always(core: Weak<Core>, interval: Duration) {
    loop {
        tokio::time::sleep(jittered(interval).max(SHORTEST)).await;
        let Some(core) = core.upgrade() else { return };
        // A store that fails closes nobody; the next round asks again.
        if let Err(error) = recheck_all(&core).await {
            tracing::warn!(error = %error, "live sessions could not be checked again");
        }
        core.note_malformed_prefixes().await;
    }
}

/// Checks every key that something stands on, and ends what stands on one that does not hold any more.
pub(crate) async fn recheck_all(core: &Core) -> Result<(), StoreError> {
    let mut by_key = BTreeMap::<String, Vec<Arc<HeldKey>>>::new();
    for held in core.live_keys.all() {
        by_key
            .entry(held.key().key_id().to_owned())
            .or_default()
            .push(held);
    }
    let ids: Vec<String> = by_key.keys().cloned().collect();
    for batch in ids.chunks(BATCH) {
        let rows = core.store.keys_now(batch).await?;
        let rows: HashMap<&str, &KeyRecord> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
        let now = core.now();
        for id in batch {
            for held in by_key.get(id).into_iter().flatten() {
                let row = rows.get(id.as_str()).copied();
                if let Err(rejection) = core.authenticator.recheck(held.key(), row, now) {
                    tracing::warn!(
                        key = id,
                        reason = rejection.reason(),
                        "the key of a session does not hold any more"
                    );
                    held.end(rejection);
                }
            }
        }
    }
    Ok(())
}

/// Between five sixths of it and all of it, so that several bridges on one server do not ask in step. Without random
/// numbers it is all of it.
fn jittered(interval: Duration) -> Duration {
    let mut random = [0; 4];
    let _ = getrandom::fill(&mut random);
    let share = f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX);
    interval - (interval / 6).mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_never_longer_than_the_interval() {
        let interval = Duration::from_secs(30);
        let pauses: Vec<_> = (0..100).map(|_| jittered(interval)).collect();
        assert!(
            pauses
                .iter()
                .all(|pause| (Duration::from_secs(25)..=interval).contains(pause))
        );
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "they differ");
    }
}
