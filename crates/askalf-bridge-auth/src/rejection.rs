use std::time::Duration;

use thiserror::Error;

/// Why a token was not accepted.
///
/// [`Rejection::reason`] is the word on the wire. A hash that matched no row is always
/// [`Rejection::Unknown`]; the states of a key are told only to a bearer whose hash matched.
/// [`Rejection::Unavailable`] and [`Rejection::Overloaded`] are faults of the bridge and say nothing about
/// the token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// No token, or an empty one.
    #[error("no API key was sent")]
    Missing,
    /// Something was sent that is no token.
    #[error("what was sent as API key is not one")]
    Malformed,
    /// No stored key matches, and every one that could was checked.
    #[error("the API key is not known here")]
    Unknown,
    /// The key was revoked.
    #[error("the API key was revoked")]
    Revoked,
    /// The key has expired.
    #[error("the API key has expired")]
    Expired,
    /// The key's user is suspended, deleted or gone.
    #[error("the user of the API key is not active")]
    UserInactive,
    /// The key is good, but not for what was asked.
    #[error("the API key does not permit this")]
    ScopeMissing,
    /// The keys could not be read.
    #[error("the bridge cannot check API keys at the moment")]
    Unavailable,
    /// Too many checks are under way.
    #[error("the bridge is checking too many API keys at the moment")]
    Overloaded {
        /// When to try again, from now.
        retry_after: Duration,
    },
}

impl Rejection {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing => "send the key as 'Authorization: Bearer KEY'; a proxy on the way may strip it",
            Self::Malformed => "copy the key again: one line, without spaces around or inside it",
            Self::Unknown => "pair again with a key of this bridge, and check the bridge's URL",
            Self::Revoked | Self::Expired => "ask the operator for a new key, then pair again",
            Self::UserInactive => "ask the operator to activate the user; pairing again does not help",
            Self::ScopeMissing => {
                "use a key made for this: a device's key has scope device, an operator's has scope admin"
            }
            Self::Unavailable => "try again later; the operator finds the cause in the bridge's log",
            Self::Overloaded { .. } => "try again after the time that the bridge gave",
        }
    }

    /// A stable name for scripts and logs.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::Missing => "key-missing",
            Self::Malformed => "key-malformed",
            Self::Unknown => "key-unknown",
            Self::Revoked => "key-revoked",
            Self::Expired => "key-expired",
            Self::UserInactive => "key-user-inactive",
            Self::ScopeMissing => "key-scope-missing",
            Self::Unavailable => "key-check-unavailable",
            Self::Overloaded { .. } => "key-check-overloaded",
        }
    }

    /// The `reason` of the wire's `device:error`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::UserInactive => "user_inactive",
            Self::ScopeMissing => "scope_missing",
            Self::Unavailable => "unavailable",
            Self::Overloaded { .. } => "overloaded",
        }
    }

    /// Whether this is a fault of the bridge, which says nothing about the token.
    #[must_use]
    pub fn is_bridge_fault(&self) -> bool {
        match self {
            Self::Unavailable | Self::Overloaded { .. } => true,
            Self::Missing
            | Self::Malformed
            | Self::Unknown
            | Self::Revoked
            | Self::Expired
            | Self::UserInactive
            | Self::ScopeMissing => false,
        }
    }
}
