//! Refusals on the wire: the `device:error` and the close that follows it.

use std::time::Duration;

use askalf_bridge_auth::Rejection;
use askalf_proto::{BridgeError, BridgeMessage, CloseCode, ErrorCode, Reason};

use crate::link::{Closing, Link};

/// What a client is told whose token was not accepted, and how its socket closes.
pub(super) fn of_rejection(rejection: &Rejection, unavailable_retry: Duration) -> (BridgeError, CloseCode) {
    let (code, reason, close) = match rejection {
        Rejection::Missing => (ErrorCode::AuthRequired, None, CloseCode::MISSING_TOKEN),
        // The wire has no word of its own for what is no token at all; like any other it matches no key, ever.
        Rejection::Malformed | Rejection::Unknown => (
            ErrorCode::AuthFailed,
            Some(Reason::Unknown),
            CloseCode::INVALID_TOKEN,
        ),
        Rejection::Revoked => (
            ErrorCode::AuthFailed,
            Some(Reason::Revoked),
            CloseCode::INVALID_TOKEN,
        ),
        Rejection::Expired => (
            ErrorCode::AuthFailed,
            Some(Reason::Expired),
            CloseCode::INVALID_TOKEN,
        ),
        Rejection::ScopeMissing => (
            ErrorCode::AuthFailed,
            Some(Reason::ScopeMissing),
            CloseCode::INVALID_TOKEN,
        ),
        Rejection::UserInactive => (
            ErrorCode::UserNotFound,
            Some(Reason::UserInactive),
            CloseCode::USER_NOT_FOUND,
        ),
        Rejection::Unavailable => (
            ErrorCode::InternalError,
            Some(Reason::Unavailable),
            CloseCode::TRY_AGAIN,
        ),
        Rejection::Overloaded { .. } => (
            ErrorCode::InternalError,
            Some(Reason::Overloaded),
            CloseCode::TRY_AGAIN,
        ),
    };
    let retry_after = match rejection {
        Rejection::Overloaded { retry_after } => Some(*retry_after),
        Rejection::Unavailable => Some(unavailable_retry),
        _ => None,
    };
    let error = BridgeError {
        code,
        message: format!("{rejection}: {}", rejection.hint()),
        reason,
        retry_after_ms: retry_after.map(millis),
    };
    (error, close)
}

/// What a device is told while the store fails.
pub(super) fn unavailable(retry_after: Duration) -> BridgeMessage {
    BridgeMessage::Error(BridgeError {
        code: ErrorCode::InternalError,
        message: "the bridge cannot reach its database at the moment".to_owned(),
        reason: Some(Reason::Unavailable),
        retry_after_ms: Some(millis(retry_after)),
    })
}

/// An error that ends nothing.
pub(super) fn error(code: ErrorCode, message: impl Into<String>) -> BridgeMessage {
    BridgeMessage::Error(BridgeError {
        code,
        message: message.into(),
        reason: None,
        retry_after_ms: None,
    })
}

/// Ends a session because the bridge goes down.
pub(crate) fn say_shutdown(link: &Link, retry_after: Duration) {
    let _ = link.send(&BridgeMessage::Error(BridgeError {
        code: ErrorCode::ServerShutdown,
        message: "the bridge is going down".to_owned(),
        reason: None,
        retry_after_ms: Some(millis(retry_after)),
    }));
    link.close(Closing::WithCode(CloseCode::SERVER_SHUTDOWN));
}

/// Ends a session because its key does not hold any more.
pub(super) fn say_rejected(link: &Link, rejection: &Rejection, unavailable_retry: Duration) {
    let (error, close) = of_rejection(rejection, unavailable_retry);
    let _ = link.send(&BridgeMessage::Error(error));
    link.close(Closing::WithCode(close));
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
