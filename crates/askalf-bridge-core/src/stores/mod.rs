//! What the bridge keeps, as traits: keys, devices and executions. Each method takes the [`Principal`] on whose
//! behalf it acts, and answers only what that principal may see.

mod audit_head;
mod device;
mod execution;
mod key;
mod pair_code;
mod principal;
mod rotation;
mod trail;
mod user;

use std::fmt;

/// Words of the wire that the stores keep, so that a backend needs nothing but this crate.
pub use askalf_proto::{AuditHead, Cause, DeviceType};
pub use audit_head::{AuditConflict, AuditHeadStore, HeadKept, KeptAuditHead};
pub use device::{Device, DeviceFacts, DeviceStatus, DeviceStore};
pub use execution::{
    Execution, ExecutionEnd, ExecutionFilter, ExecutionStatus, ExecutionStore, Finish, NewExecution,
    PendingTask, TaskTerms,
};
pub use key::{Key, KeyStore, KeyUse, NewKey};
pub use pair_code::{Exchanged, NewPairCode, PairCode, PairCodeStore};
pub use principal::Principal;
pub use rotation::{NewRotation, ROTATION_KEPT_MS, Rotation, RotationEnd, RotationState, RotationStore};
pub use trail::{Act, Attempt, MAX_ACTS, MAX_ATTEMPTS, TrailStore};
pub use user::{NewUser, User, UserStore};

/// All stores together, as a server holds them.
pub trait Store:
    KeyStore
    + DeviceStore
    + ExecutionStore
    + UserStore
    + PairCodeStore
    + RotationStore
    + TrailStore
    + AuditHeadStore
{
}

impl<T> Store for T where
    T: KeyStore
        + DeviceStore
        + ExecutionStore
        + UserStore
        + PairCodeStore
        + RotationStore
        + TrailStore
        + AuditHeadStore
{
}

/// Why the store did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is locked, is full or failed. Says nothing about the data asked for.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Something of that name exists already.
    #[error("{0} exists already")]
    Conflict(String),
    /// What the request names does not exist, or the principal may not see it.
    #[error("no such {0}")]
    NotFound(Kind),
    /// Several users exist, or none of that name: the request must name one.
    #[error("{0}")]
    User(String),
    /// A value that its column cannot hold, such as a name that is too long.
    #[error("{0}")]
    Invalid(String),
}

/// Kinds of things in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An API key.
    Key,
    /// A pairing code.
    PairCode,
    /// A device.
    Device,
    /// An execution.
    Execution,
    /// A rotation of a device's key.
    Rotation,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Key => "key",
            Self::PairCode => "pairing code",
            Self::Device => "device",
            Self::Execution => "execution",
            Self::Rotation => "rotation",
        })
    }
}

impl StoreError {
    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "store-unavailable",
            Self::Conflict(_) => "conflict",
            Self::NotFound(_) => "not-found",
            Self::User(_) => "user",
            Self::Invalid(_) => "invalid",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "check the database file, its folder and the free space, then try again",
            Self::Conflict(_) => "choose another",
            Self::NotFound(Kind::Key) => "list the keys with 'askalf-bridge keys list'",
            Self::NotFound(Kind::PairCode) => "list those that are open with 'askalf-bridge pair-code list'",
            Self::NotFound(Kind::Device) => "list the devices with 'askalf-bridge devices list'",
            Self::NotFound(Kind::Execution) => "list the executions with 'askalf-bridge executions list'",
            Self::NotFound(Kind::Rotation) => "list the rotations with 'askalf-bridge keys rotations'",
            Self::User(_) => "name one of 'askalf-bridge users list' with --user",
            Self::Invalid(_) => "change that value and try again",
        }
    }
}
