//! What both backends refuse of new keys and codes, and in which words.

use askalf_bridge_auth::{KeyStatus, UnixMillis};
use askalf_bridge_core::stores::{Key, Principal, StoreError};

/// A device makes neither keys nor codes.
pub(crate) fn refuse_device(who: &Principal, things: &str) -> Result<(), StoreError> {
    match who {
        Principal::Device { .. } => Err(StoreError::User(format!("a device cannot make {things}"))),
        _ => Ok(()),
    }
}

/// Only a key that is good is rotated.
pub(crate) fn refuse_rotation(old: &Key, now: UnixMillis) -> Result<(), StoreError> {
    let why = if old.status == KeyStatus::Revoked {
        "is revoked"
    } else if old.expires_at.is_some_and(|end| end <= now) {
        "has expired"
    } else {
        return Ok(());
    };
    Err(StoreError::Invalid(format!(
        "the key {why}, so nothing can take its place"
    )))
}

/// Why no user was chosen, where `found` of them are as `wanted`.
pub(crate) fn unclear_user(found: usize, wanted: Option<&str>) -> StoreError {
    StoreError::User(match (found, wanted) {
        (0, Some(name)) => format!("there is no user '{}'", name.escape_debug()),
        (0, None) => "there is no user yet".to_owned(),
        _ => "there are several users: one must be named".to_owned(),
    })
}
