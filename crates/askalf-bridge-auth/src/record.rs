use std::fmt;

use crate::{KeyHash, KeyHashError, Scopes, UnixMillis};

/// A row of `api_keys`, with the state of its user and the device it is bound to, all read in one query.
///
/// The hash is the text as stored, since rows made by hand may hold anything.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// `api_keys.id`.
    pub id: String,
    /// `api_keys.tenant_id`.
    pub tenant_id: String,
    /// `api_keys.user_id`. A key without a user cannot authenticate.
    pub user_id: Option<String>,
    /// `api_keys.name`.
    pub name: String,
    /// `api_keys.key_hash`.
    pub key_hash: String,
    /// `api_keys.key_prefix`.
    pub key_prefix: String,
    /// `api_keys.scopes`.
    pub scopes: Scopes,
    /// `api_keys.status`.
    pub status: KeyStatus,
    /// `api_keys.expires_at`: the key is good before this instant, and for ever when `None`.
    pub expires_at: Option<UnixMillis>,
    /// `users.status` of `user_id`; `None` when there is no such row.
    pub user_status: Option<UserStatus>,
    /// The one device that the key acts as, when it is bound to one.
    pub device_id: Option<String>,
    /// `askalf_key_digests.binding`, where the row was looked up by a digest; `None` otherwise.
    pub digest_binding: Option<[u8; 32]>,
}

impl KeyRecord {
    /// The stored hash, checked: for a doctor or a log line that names damaged rows.
    ///
    /// # Errors
    /// [`KeyHashError`]: such a row matches no token.
    pub fn parsed_hash(&self) -> Result<KeyHash, KeyHashError> {
        KeyHash::parse(&self.key_hash)
    }
}

impl fmt::Debug for KeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRecord")
            .field("id", &self.id)
            .field("tenant_id", &self.tenant_id)
            .field("user_id", &self.user_id)
            .field("name", &self.name)
            .field("key_hash", &format_args!("redacted"))
            .field("key_prefix", &format_args!("redacted"))
            .field("scopes", &self.scopes)
            .field("status", &self.status)
            .field("expires_at", &self.expires_at)
            .field("user_status", &self.user_status)
            .field("device_id", &self.device_id)
            .finish_non_exhaustive()
    }
}

/// `api_keys.status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// `active`.
    Active,
    /// `revoked`: for good.
    Revoked,
}

impl KeyStatus {
    /// The status of that name; `None` for one that the column does not allow.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "active" => Some(Self::Active),
            "revoked" => Some(Self::Revoked),
            _ => None,
        }
    }

    /// Its name, as stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
    }
}

/// `users.status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserStatus {
    /// `active`.
    Active,
    /// `suspended`: by an operator, who can undo it.
    Suspended,
    /// `deleted`.
    Deleted,
}

impl UserStatus {
    /// The status of that name; `None` for one that the column does not allow.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "active" => Some(Self::Active),
            "suspended" => Some(Self::Suspended),
            "deleted" => Some(Self::Deleted),
            _ => None,
        }
    }

    /// Its name, as stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_the_columns_own_words() {
        for name in ["active", "revoked"] {
            assert_eq!(KeyStatus::parse(name).map(KeyStatus::as_str), Some(name));
        }
        for name in ["active", "suspended", "deleted"] {
            assert_eq!(UserStatus::parse(name).map(UserStatus::as_str), Some(name));
        }
        assert_eq!(KeyStatus::parse("Active"), None);
        assert_eq!(UserStatus::parse("revoked"), None);
    }
}
