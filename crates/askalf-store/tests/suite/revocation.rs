//! A key that is revoked while it is being checked, again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use askalf_bridge_auth::{Access, BridgeSecret, Rejection, Token};
use askalf_bridge_core::{Bridge, BridgeOptions};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{ADMIN, HASH, NOW, Shared, later};

/// How many keys are at it at once.
const AT_ONCE: usize = 4;

/// The most digests that one write keeps here.
const BATCH: usize = 1_000;

fn id(trial: usize) -> String {
    format!("key_{trial:04x}")
}

fn token(trial: usize) -> String {
    format!("sk_live_{trial:04x}{:028}", 0)
}

/// SQL that adds a key for each trial. `scopes` is the column's literal for scope `device`. The hashes are filler: what is
/// checked is known by its digest, so that nothing is derived.
pub(crate) fn rows(trials: usize, scopes: &str) -> String {
    let row = |trial| {
        let prefix = &token(trial)[..12];
        format!(
            "('{}', 'acme', 'ann', 'n', '{HASH}', '{prefix}', {scopes})",
            id(trial)
        )
    };
    format!(
        "insert into api_keys (id, tenant_id, user_id, name, key_hash, key_prefix, scopes) values {}",
        (0..trials).map(row).collect::<Vec<_>>().join(",\n")
    )
}

/// Every check that begins after the revocation returned is refused as revoked. One that began before may go either way, and
/// says nothing else.
pub(crate) async fn counts_for_every_check_after_it(store: Shared, trials: usize) {
    let secret = BridgeSecret::from_bytes([7; 32].into());
    let ids: Vec<String> = (0..trials).map(id).collect();
    let key = secret.digest_key();
    for (batch, ids) in ids.chunks(BATCH).enumerate() {
        let mut rows = store.keys_now(ids).await.unwrap();
        assert_eq!(rows.len(), ids.len());
        rows.sort_by(|one, other| one.id.cmp(&other.id));
        let digests: Vec<_> = rows
            .iter()
            .enumerate()
            .map(|(n, row)| key.bind(&Token::parse(token(batch * BATCH + n)).unwrap(), row))
            .collect();
        store.keep_digests(&digests).await.unwrap();
    }
    let options = BridgeOptions {
        secret: Some(secret),
        ..BridgeOptions::default()
    };
    let bridge = Bridge::new(Shared::clone(&store), options, Arc::new(|| NOW));
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (bridge, store, next) = (bridge.clone(), Shared::clone(&store), Arc::clone(&next));
        workers.spawn(async move {
            let mut done = 0;
            loop {
                let trial = next.fetch_add(1, Ordering::Relaxed);
                if trial >= trials {
                    return done;
                }
                one(&bridge, &store, trial).await;
                done += 1;
            }
        });
    }
    assert_eq!(workers.join_all().await.into_iter().sum::<usize>(), trials);
}

async fn one(bridge: &Bridge, store: &Shared, trial: usize) {
    let token = token(trial);
    let (revoked, checked) = (AtomicBool::new(false), Notify::new());
    let checks = async {
        loop {
            let is_late = revoked.load(Ordering::SeqCst);
            match bridge.authenticate(Some(&token), Access::Socket, None).await {
                Ok(key) => assert!(!is_late, "{} was let in after its revocation", key.key_id()),
                Err(rejection) => assert_eq!(rejection, Rejection::Revoked, "trial {trial}"),
            }
            checked.notify_one();
            if is_late {
                return;
            }
        }
    };
    let revocation = async {
        // The checks go on meanwhile.
        checked.notified().await;
        store.revoke_key(&ADMIN, &id(trial), later(1)).await.unwrap();
        revoked.store(true, Ordering::SeqCst);
        let next = bridge.authenticate(Some(&token), Access::Socket, None).await;
        assert_eq!(next.unwrap_err(), Rejection::Revoked, "trial {trial}");
    };
    tokio::join!(checks, revocation);
}
