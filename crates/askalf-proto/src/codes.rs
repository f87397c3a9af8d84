//! Error codes, rejection reasons and close codes.

use serde::{Deserialize, Deserializer};

use crate::bounded;
use crate::word::words;

/// `code` of a `device:error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorCode {
    /// No token was presented; close 4001 follows.
    AuthRequired,
    /// The token was refused; close 4001 follows. [`Reason`] says why, where the bridge tells.
    AuthFailed,
    /// The key's user is missing or inactive; close 4001 follows.
    UserNotFound,
    /// The frame was not a JSON message.
    InvalidJson,
    /// This socket has registered already.
    AlreadyRegistered,
    /// A message that needs a registration came before it. An extension of this project.
    NotRegistered,
    /// `device:reconnect` named no device.
    MissingDeviceId,
    /// `device:reconnect` named a device that does not exist or belongs to another key.
    DeviceNotFound,
    /// A result is of no execution of this device; the device may forget it. An extension of this project.
    ExecutionNotFound,
    /// The message type is not one the peer knows. Never fatal.
    UnknownType,
    /// The peer failed. Never says anything about the credential.
    InternalError,
    /// The bridge is going down; close 1001 follows.
    ServerShutdown,
    /// A code of a newer or foreign peer.
    Other(String),
}

words! { ErrorCode or Other, from_wire:
    AuthRequired = "AUTH_REQUIRED",
    AuthFailed = "AUTH_FAILED",
    UserNotFound = "USER_NOT_FOUND",
    InvalidJson = "INVALID_JSON",
    AlreadyRegistered = "ALREADY_REGISTERED",
    NotRegistered = "NOT_REGISTERED",
    MissingDeviceId = "MISSING_DEVICE_ID",
    DeviceNotFound = "DEVICE_NOT_FOUND",
    ExecutionNotFound = "EXECUTION_NOT_FOUND",
    UnknownType = "UNKNOWN_TYPE",
    InternalError = "INTERNAL_ERROR",
    ServerShutdown = "SERVER_SHUTDOWN",
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bounded::id(deserializer).map(|code| Self::from_wire(&code))
    }
}

/// Why a bridge refused a token or could not check it: `reason` of a `device:error`. Older forges send
/// none, and one that we do not know counts as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No key matches the token.
    Unknown,
    /// The key was revoked.
    Revoked,
    /// The key has expired.
    Expired,
    /// The key lacks the scope that the endpoint demands.
    ScopeMissing,
    /// The user that owns the key is suspended, deleted or missing.
    UserInactive,
    /// The bridge could not check: a fault of its own.
    Unavailable,
    /// The bridge has too much to check at the moment.
    Overloaded,
}

words! { Reason, from_wire:
    Unknown = "unknown",
    Revoked = "revoked",
    Expired = "expired",
    ScopeMissing = "scope_missing",
    UserInactive = "user_inactive",
    Unavailable = "unavailable",
    Overloaded = "overloaded",
}

impl Reason {
    pub(crate) fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let reason = bounded::optional_id(deserializer)?;
        Ok(reason.as_deref().and_then(Self::from_wire))
    }
}

/// A WebSocket close code (RFC 6455, section 7.4) with the text that goes with it on this wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode {
    /// The numeric code.
    pub code: u16,
    /// The reason text sent beside it.
    pub text: &'static str,
}

impl CloseCode {
    /// The agent leaves on purpose.
    pub const CLIENT_DISCONNECT: Self = Self {
        code: 1000,
        text: "Client disconnect",
    };
    /// The bridge goes down.
    pub const SERVER_SHUTDOWN: Self = Self {
        code: 1001,
        text: "Server shutting down",
    };
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self {
        code: 1002,
        text: "Protocol error",
    };
    /// A text frame was not UTF-8.
    pub const INVALID_TEXT: Self = Self {
        code: 1007,
        text: "Invalid UTF-8",
    };
    /// A frame was larger than [`MAX_FRAME_IN`](crate::MAX_FRAME_IN).
    pub const TOO_LARGE: Self = Self {
        code: 1009,
        text: "Message too large",
    };
    /// The bridge cannot serve now; `retryAfterMs` of the `device:error` before it says when to come back.
    pub const TRY_AGAIN: Self = Self {
        code: 1013,
        text: "Try again later",
    };
    /// No token was presented.
    pub const MISSING_TOKEN: Self = Self {
        code: 4001,
        text: "Missing token",
    };
    /// The token was refused.
    pub const INVALID_TOKEN: Self = Self {
        code: 4001,
        text: "Invalid token",
    };
    /// The key's user is missing or inactive.
    pub const USER_NOT_FOUND: Self = Self {
        code: 4001,
        text: "User not found",
    };
    /// The device was silent for too long (90 s).
    pub const HEARTBEAT_TIMEOUT: Self = Self {
        code: 4002,
        text: "Heartbeat timeout",
    };
    /// The same key registered on another socket.
    pub const REPLACED: Self = Self {
        code: 4003,
        text: "Replaced by new connection",
    };
}
