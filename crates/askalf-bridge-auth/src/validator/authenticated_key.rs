use super::Access;
use crate::{KeyDigest, KeyPrefix, Scopes};

/// Proof that a token was checked: the key it belongs to.
///
/// Only the [`Validator`](crate::Validator) makes one, so a function that takes one cannot be reached with
/// a key that nobody checked:
///
/// ```
/// fn open_session(key: &askalf_bridge_auth::AuthenticatedKey) -> String {
///     format!("{} of {}", key.key_id(), key.user_id())
/// }
/// ```
/// ```compile_fail,E0451
/// use askalf_bridge_auth::AuthenticatedKey;
///
/// fn another_user(key: AuthenticatedKey) -> AuthenticatedKey {
///     AuthenticatedKey { user_id: "someone-else".to_owned(), ..key }
/// }
/// ```
/// ```compile_fail,E0277
/// fn unchecked(record: askalf_bridge_auth::KeyRecord) -> askalf_bridge_auth::AuthenticatedKey {
///     record.into()
/// }
/// ```
///
/// It proves the state at the moment of the check: who holds it longer asks
/// [`Validator::recheck`](crate::Validator::recheck) about the key's row again.
#[derive(Clone, Debug)]
pub struct AuthenticatedKey {
    pub(super) key_id: String,
    pub(super) tenant_id: String,
    pub(super) user_id: String,
    pub(super) name: String,
    pub(super) scopes: Scopes,
    pub(super) device_id: Option<String>,
    pub(super) prefix: KeyPrefix,
    pub(super) legacy_scope: bool,
    pub(super) want: Access,
    /// Of the `key_hash` that was matched.
    pub(super) fingerprint: [u8; 32],
    pub(super) digest_to_keep: Option<KeyDigest>,
}

impl AuthenticatedKey {
    /// The id of the key's row.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The tenant that owns the key.
    #[must_use]
    pub fn tenant_id(&self) -> &str {
        &self.tenant_id
    }

    /// The user that the key acts for.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The key's name, as its owner gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the key may do.
    #[must_use]
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// The one device that this key acts as; `None` for a key that is not bound.
    #[must_use]
    pub fn device_id(&self) -> Option<&str> {
        self.device_id.as_deref()
    }

    /// The prefix of the token that was presented.
    #[must_use]
    pub fn prefix(&self) -> &KeyPrefix {
        &self.prefix
    }

    /// Whether the key was let in on the scopes of the forge's older keys: a warning for its operator,
    /// and a refusal under [`ValidatorOptions::strict_scopes`](crate::ValidatorOptions::strict_scopes).
    #[must_use]
    pub fn legacy_scope(&self) -> bool {
        self.legacy_scope
    }

    /// The digest to store, by which the next check of this token needs no derivation. `None` where the key was found by
    /// its digest, or where its token gets none.
    #[must_use]
    pub fn digest_to_keep(&self) -> Option<&KeyDigest> {
        self.digest_to_keep.as_ref()
    }
}
