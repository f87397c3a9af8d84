use sha2::{Digest, Sha256};

use super::Access;
use crate::{KeyRecord, KeyStatus, Rejection, Scope, Scopes, UnixMillis, UserStatus};

/// What a row that was matched says for itself.
pub(super) struct Standing {
    pub(super) user_id: String,
    /// Let in on the scopes of an older key.
    pub(super) legacy_scope: bool,
}

/// Whether the row of a matched key lets its bearer do what it wants: status, expiry, user and scopes, in that order.
pub(super) fn standing(
    record: &KeyRecord,
    want: Access,
    strict_scopes: bool,
    now: UnixMillis,
) -> Result<Standing, Rejection> {
    if record.status == KeyStatus::Revoked {
        return Err(Rejection::Revoked);
    }
    if record.expires_at.is_some_and(|end| end <= now) {
        return Err(Rejection::Expired);
    }
    let (Some(user_id), Some(UserStatus::Active)) = (&record.user_id, record.user_status) else {
        return Err(Rejection::UserInactive);
    };
    let legacy_scope = match want {
        Access::Socket => socket_scope(&record.scopes, strict_scopes)?,
        Access::Operator if record.device_id.is_none() && record.scopes.contains(&Scope::Admin) => false,
        Access::Operator => return Err(Rejection::ScopeMissing),
    };
    Ok(Standing {
        user_id: user_id.clone(),
        legacy_scope,
    })
}

/// Whether the scopes open the socket, and then whether they do so as those of an older key: `execute`
/// among read or write, which nobody chose for a device.
fn socket_scope(scopes: &Scopes, strict: bool) -> Result<bool, Rejection> {
    if scopes.contains(&Scope::Device) {
        return Ok(false);
    }
    let legacy = scopes.contains(&Scope::Read) || scopes.contains(&Scope::Write);
    if scopes.contains(&Scope::Execute) && !(legacy && strict) {
        return Ok(legacy);
    }
    Err(Rejection::ScopeMissing)
}

/// Tells one `key_hash` from another, without holding it for as long as a session lives.
pub(super) fn fingerprint(record: &KeyRecord) -> [u8; 32] {
    Sha256::digest(record.key_hash.as_bytes()).into()
}
