//! Pairing codes.

use askalf_bridge_auth::UnixMillis;
use async_trait::async_trait;

use super::{NewKey, Principal, StoreError};

/// Codes that a device exchanges for a key, once. A code itself never reaches a store.
#[async_trait]
pub trait PairCodeStore: Send + Sync {
    /// Adds a code.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the code or its id is taken (draw another), [`StoreError::User`] where the user is missing or must be named, [`StoreError::NotFound`] where the device is,
    /// [`StoreError::Invalid`], [`StoreError::Unavailable`].
    async fn add_pair_code(&self, who: &Principal, code: NewPairCode) -> Result<PairCode, StoreError>;

    /// The codes that can still be exchanged, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn pair_codes(
        &self,
        who: &Principal,
        now: UnixMillis,
        limit: u32,
    ) -> Result<Vec<PairCode>, StoreError>;

    /// Withdraws a code.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unavailable`].
    async fn withdraw_pair_code(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError>;

    /// Whether there is a code of this MAC at all, good or not: one that there is not is refused without the derivation that
    /// making a key costs.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn has_pair_code(&self, code_mac: &[u8; 32]) -> Result<bool, StoreError>;

    /// Exchanges a code: adds `key` with the user, name and device of the code, scope `device`, and marks the code as
    /// exchanged with this nonce; both or nothing. Again with the same nonce, until a day after the code's end
    /// and while the key is not revoked, answers the same key and adds nothing.
    ///
    /// A key for a device that exists stands beside the device's older keys until it registers for the first time:
    /// [`register_device`](super::DeviceStore::register_device) then revokes them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the code is unknown, expired, withdrawn or was exchanged with another nonce,
    /// [`StoreError::Conflict`] where the prefix of the key is taken, [`StoreError::Unavailable`].
    async fn exchange_pair_code(
        &self,
        code_mac: &[u8; 32],
        nonce_mac: &[u8; 32],
        key: NewKey,
        now: UnixMillis,
    ) -> Result<Exchanged, StoreError>;
}

/// A code to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPairCode {
    /// Its id.
    pub id: String,
    /// HMAC of the code under the bridge's secret.
    pub code_mac: [u8; 32],
    /// The user whose key it gives, where several exist.
    pub user_id: Option<String>,
    /// The device that it pairs anew.
    pub device_id: Option<String>,
    /// Name of the key.
    pub name: String,
    /// From when on it is worth nothing.
    pub expires_at: UnixMillis,
    /// Now.
    pub created_at: UnixMillis,
}

/// A code as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairCode {
    /// Its id.
    pub id: String,
    /// Tenant of its user.
    pub tenant_id: String,
    /// The user whose key it gives.
    pub user_id: String,
    /// The device that it pairs anew.
    pub device_id: Option<String>,
    /// Name of the key.
    pub name: String,
    /// When it was made.
    pub created_at: UnixMillis,
    /// From when on it is worth nothing.
    pub expires_at: UnixMillis,
}

/// What an exchange gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanged {
    /// The key's row.
    pub key_id: String,
    /// The device that it is bound to.
    pub device_id: Option<String>,
    /// Name of the key.
    pub name: String,
    /// Whether the exchange had happened before.
    pub again: bool,
}
