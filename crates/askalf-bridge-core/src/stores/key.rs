//! API keys.

use askalf_bridge_auth::{KeyDigest, KeyHash, KeyPrefix, KeyRecord, KeyStatus, Lookup, Scopes, UnixMillis};
use async_trait::async_trait;

use super::{Principal, StoreError};

/// Keys as the bridge needs them.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// The rows that a look-up of the validator asks for, with the state of their users, read live.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; never a guess.
    async fn find_keys(&self, lookup: &Lookup) -> Result<Vec<KeyRecord>, StoreError>;

    /// Adds a key. `None` as the user of `key` means the only one there is.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the prefix is taken (draw another), [`StoreError::User`] where the user is missing
    /// or must be named, [`StoreError::NotFound`] where the device to bind it to is, [`StoreError::Invalid`] where the
    /// name is too long, [`StoreError::Unavailable`].
    async fn add_key(&self, who: &Principal, key: NewKey) -> Result<Key, StoreError>;

    /// The keys, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn keys(&self, who: &Principal, limit: u32) -> Result<Vec<Key>, StoreError>;

    /// Revokes a key; again is harmless.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unavailable`].
    async fn revoke_key(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<Key, StoreError>;

    /// One key, as a listing shows it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unavailable`].
    async fn key(&self, who: &Principal, id: &str) -> Result<Key, StoreError>;

    /// Adds a key that takes the place of `id`: with its user, scopes and device, whatever `new` says of them. The old
    /// one expires at `old_ends` at the latest. Both or nothing.
    ///
    /// # Errors
    /// As [`KeyStore::add_key`]; [`StoreError::Invalid`] where `id` is revoked or has expired.
    async fn rotate_key(
        &self,
        who: &Principal,
        id: &str,
        new: NewKey,
        old_ends: UnixMillis,
    ) -> Result<Key, StoreError>;

    /// Mends the prefix and the preview of a key whose token was shown.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unavailable`].
    async fn repair_key_prefix(
        &self,
        who: &Principal,
        id: &str,
        prefix: &KeyPrefix,
        preview: &str,
        now: UnixMillis,
    ) -> Result<Key, StoreError>;

    /// The rows of these keys as they are now, with the state of their users: what a live session stands on. A key that
    /// is gone is left out. At most 1,000 ids at once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn keys_now(&self, ids: &[String]) -> Result<Vec<KeyRecord>, StoreError>;

    /// Rows of every key in the order of their ids, after `after`, at most `limit`: for a search that nothing indexes.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn all_keys(&self, after: Option<&str>, limit: u32) -> Result<Vec<KeyRecord>, StoreError>;

    /// How many rows [`Lookup::MalformedPrefix`] has.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn malformed_prefixes(&self) -> Result<u64, StoreError>;

    /// Counts uses of keys. What is unknown is left out.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing was counted.
    async fn count_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError>;

    /// Keeps digests, one per key: a newer one replaces an older. What belongs to no key is left out.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn keep_digests(&self, digests: &[KeyDigest]) -> Result<(), StoreError>;
}

/// How often a key was used since it was last counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The key.
    pub key_id: String,
    /// How often.
    pub count: u32,
    /// When for the last time.
    pub last_used_at: UnixMillis,
}

/// A key to add. The token itself never reaches a store.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Its id.
    pub id: String,
    /// The user that owns it, where several exist.
    pub user_id: Option<String>,
    /// What a person calls it.
    pub name: String,
    /// The hash of its token.
    pub hash: KeyHash,
    /// The first characters of its token.
    pub prefix: KeyPrefix,
    /// What a listing may show of its token.
    pub preview: String,
    /// What it may do.
    pub scopes: Scopes,
    /// The device that it is bound to.
    pub device_id: Option<String>,
    /// When it ends.
    pub expires_at: Option<UnixMillis>,
    /// Now.
    pub created_at: UnixMillis,
}

/// A key as listings show it: nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: String,
    /// Tenant of its user.
    pub tenant_id: String,
    /// The user that owns it.
    pub user_id: Option<String>,
    /// What a person calls it.
    pub name: String,
    /// The first characters of its token.
    pub prefix: String,
    /// What it may do.
    pub scopes: Scopes,
    /// Whether it was revoked.
    pub status: KeyStatus,
    /// The device that it is bound to.
    pub device_id: Option<String>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it ends.
    pub expires_at: Option<UnixMillis>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
    /// When it was last used.
    pub last_used_at: Option<UnixMillis>,
    /// How often it was used.
    pub usage_count: u64,
}
