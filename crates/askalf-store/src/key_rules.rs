//! What both backends refuse of new keys and codes, and in which words.

use askalf_bridge_auth::{KeyStatus, Scope, UnixMillis};
use askalf_bridge_core::stores::{Key, Principal, RotationState, StoreError};

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

/// A device that uses an operator's key gets none of its own that way: the operator's would no longer be one.
pub(crate) fn refuse_operators_key(old: &Key) -> Result<(), StoreError> {
    if old.scopes.contains(&Scope::Admin) {
        let text = "the device uses an operator's key: mint one for the device, and pair it with that";
        return Err(StoreError::Invalid(text.to_owned()));
    }
    Ok(())
}

pub(crate) fn rotation_under_way() -> StoreError {
    StoreError::Invalid("a rotation of this device's key is under way".to_owned())
}

/// When a key ends that is good for as long as `old` was.
pub(crate) fn same_lifetime(old: &Key, now: UnixMillis) -> Option<UnixMillis> {
    let lifetime = old.expires_at?.0.saturating_sub(old.created_at.0);
    Some(UnixMillis(now.0.saturating_add(lifetime)))
}

/// What the trail says of a rotation that has come to `state`.
pub(crate) fn rotation_act(state: RotationState) -> &'static str {
    match state {
        RotationState::Staged => "rotation.stage",
        RotationState::Committed => "rotation.commit",
        RotationState::Confirmed => "rotation.confirm",
        RotationState::Failed => "rotation.fail",
        RotationState::Dropped => "rotation.drop",
    }
}

/// Why no user was chosen, where `found` of them are as `wanted`.
pub(crate) fn unclear_user(found: usize, wanted: Option<&str>) -> StoreError {
    StoreError::User(match (found, wanted) {
        (0, Some(name)) => format!("there is no user '{}'", name.escape_debug()),
        (0, None) => "there is no user yet".to_owned(),
        _ => "there are several users: one must be named".to_owned(),
    })
}
