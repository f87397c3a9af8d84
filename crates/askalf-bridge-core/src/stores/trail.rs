//! What happened: checks that were refused, and acts.

use askalf_bridge_auth::UnixMillis;
use async_trait::async_trait;

use super::{Principal, StoreError};

/// Refused checks and acts, for an operator who asks why.
///
/// The methods that change keys, codes, users and executions add their [`Act`] themselves, in the same transaction.
#[async_trait]
pub trait TrailStore: Send + Sync {
    /// Keeps refused checks, and forgets all but the last [`MAX_ATTEMPTS`] and those older than `forget_before`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn keep_attempts(&self, attempts: &[Attempt], forget_before: UnixMillis) -> Result<(), StoreError>;

    /// The last refused checks, newest first, at most `limit`. Only the local admin sees them: they belong to nobody.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn attempts(
        &self,
        who: &Principal,
        prefix: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Attempt>, StoreError>;

    /// The last acts within the principal's reach, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn acts(&self, who: &Principal, limit: u32) -> Result<Vec<Act>, StoreError>;
}

/// How many refused checks are kept.
pub const MAX_ATTEMPTS: u32 = 10_000;

/// How many acts are kept.
pub const MAX_ACTS: u32 = 100_000;

/// A check of a token that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When.
    pub at: UnixMillis,
    /// The address that it came from, where the connection has one.
    pub address: Option<String>,
    /// What a listing may show of the token: [`key_preview`](askalf_bridge_auth::key_preview), `none` or
    /// `malformed`.
    pub preview: String,
    /// The key that it matched, where it matched one.
    pub key_id: Option<String>,
    /// [`Rejection::reason`](askalf_bridge_auth::Rejection::reason).
    pub reason: String,
    /// How many of the same kind within the same moment stand behind this one.
    pub count: u32,
}

/// Something that somebody did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// When.
    pub at: UnixMillis,
    /// Who: [`Principal`] as text.
    pub by: String,
    /// Tenant of what it was done to, where it has one.
    pub tenant_id: Option<String>,
    /// What: `key.mint`, `key.revoke`, `key.rotate`, `key.repair`, `pair-code.new`, `pair-code.withdraw`,
    /// `pair-code.exchange`, `user.add`, `rotation.stage`, `rotation.commit`, `rotation.confirm`, `rotation.fail`,
    /// `rotation.drop`, `device.remove`, `execution.dispatch`, `execution.cancel` or `audit.conflict`.
    pub what: String,
    /// The id of what it was done to.
    pub subject: String,
}
