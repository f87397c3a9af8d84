//! Heads of the devices' audit logs.

use askalf_bridge_auth::UnixMillis;
use askalf_proto::AuditHead;
use async_trait::async_trait;

use super::{Principal, StoreError};

/// The newest head of each device's audit log. It only moves on: a log whose end was cut off, or that was written anew,
/// shows by the head that it no longer has.
#[async_trait]
pub trait AuditHeadStore: Send + Sync {
    /// Keeps a head that a device told. One that is lower than the kept one, or has its number with other digits, is
    /// noted as a conflict and takes no place: neither of the head nor of an earlier conflict in the trail. A head under a
    /// key that told none before begins a new row, for a device that was set up anew begins a new log; where it is
    /// behind the device's older rows that is a conflict too.
    ///
    /// A conflict is an [`Act`](super::Act) `audit.conflict`, at most one an hour and device.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the principal is no registered device, [`StoreError::Invalid`] for a number above
    /// 2^63 - 1, [`StoreError::Unavailable`].
    async fn keep_audit_head(
        &self,
        who: &Principal,
        head: AuditHead,
        now: UnixMillis,
    ) -> Result<HeadKept, StoreError>;

    /// The head of a device's audit log that is kept, where one is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn audit_head(&self, who: &Principal, device_id: &str)
    -> Result<Option<KeptAuditHead>, StoreError>;
}

/// What became of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadKept {
    /// It is the newest and committed.
    Kept,
    /// It was kept before.
    Unchanged,
    /// It contradicts what is kept.
    Conflict,
}

/// What is kept of a device's audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAuditHead {
    /// The key under which it was told.
    pub key_id: String,
    /// The newest head under that key.
    pub head: AuditHead,
    /// When it came.
    pub received_at: UnixMillis,
    /// How many contradictions were told, over all keys of the device.
    pub conflicts: u64,
    /// The last of them.
    pub last_conflict: Option<AuditConflict>,
}

/// A head that contradicts the one that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConflict {
    /// When it came.
    pub at: UnixMillis,
    /// What was told.
    pub head: AuditHead,
}
