//! Digests of tokens that were just derived, on their way to the store. One that is lost costs a derivation.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use askalf_bridge_auth::KeyDigest;

use crate::stores::StoreError;

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

    /// Passes what waits on to `write`, in parts. What could not be written stays for the next time.
    ///
    /// # Errors
    /// That of the first part that failed.
    pub(crate) async fn write<F>(&self, mut write: impl FnMut(Vec<KeyDigest>) -> F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        let digests: Vec<_> = mem::take(&mut *self.waiting()).into_values().collect();
        for (written, part) in digests.chunks(PER_WRITE).enumerate() {
            if let Err(error) = write(part.to_vec()).await {
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

#[cfg(test)]
mod tests {
    use askalf_bridge_auth::{BridgeSecret, KeyRecord, KeyStatus, Scopes, Token, UserStatus};

    use super::*;

    fn digest(key_id: &str, secret: u8) -> KeyDigest {
        let record = KeyRecord {
            id: key_id.to_owned(),
            tenant_id: "tenant_1".to_owned(),
            user_id: Some("user_1".to_owned()),
            name: "bench".to_owned(),
            key_hash: String::new(),
            key_prefix: "sk_live_NdlP".to_owned(),
            scopes: Scopes::default(),
            status: KeyStatus::Active,
            expires_at: None,
            user_status: Some(UserStatus::Active),
            device_id: None,
            digest_binding: None,
        };
        let token = Token::parse("sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG").unwrap();
        BridgeSecret::from_bytes([secret; 32].into())
            .digest_key()
            .bind(&token, &record)
    }

    async fn written(digests: &Digests) -> Vec<KeyDigest> {
        let mut all = Vec::new();
        let write = |part: Vec<KeyDigest>| {
            all.extend(part);
            std::future::ready(Ok(()))
        };
        digests.write(write).await.unwrap();
        all
    }

    #[tokio::test]
    async fn the_last_digest_of_a_key_counts() {
        let digests = Digests::default();
        digests.keep(&digest("key_1", 1));
        digests.keep(&digest("key_1", 2));
        assert_eq!(written(&digests).await, [digest("key_1", 2)]);
        assert_eq!(written(&digests).await, []);
    }

    #[tokio::test]
    async fn what_could_not_be_written_stays_behind_what_is_newer() {
        let digests = Digests::default();
        digests.keep(&digest("key_1", 1));
        digests.keep(&digest("key_2", 1));
        let failed = digests.write(|_| {
            digests.keep(&digest("key_1", 2));
            std::future::ready(Err(StoreError::Unavailable("the disk is full".to_owned())))
        });
        failed.await.unwrap_err();
        let mut all = written(&digests).await;
        all.sort_by(|one, two| one.key_id.cmp(&two.key_id));
        assert_eq!(all, [digest("key_1", 2), digest("key_2", 1)]);
    }

    #[tokio::test]
    async fn so_many_wait_and_no_more() {
        let digests = Digests::default();
        let one = digest("key", 1);
        for key in 0..MAX_WAITING + 1 {
            digests.keep(&KeyDigest {
                key_id: key.to_string(),
                ..one.clone()
            });
        }
        assert_eq!(written(&digests).await.len(), MAX_WAITING);
    }
}
