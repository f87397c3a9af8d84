//! Refusals as JSON.

use std::time::Duration;

use askalf_bridge_auth::Rejection;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::api::ApiError;
use crate::dispatch::DispatchError;
use crate::stores::StoreError;

/// After how long the next bridge may be up.
const DRAINED: Duration = Duration::from_secs(5);

/// A refusal: a status and an [`ApiError`].
#[derive(Debug, Clone)]
pub(crate) struct HttpError {
    status: StatusCode,
    error: ApiError,
    retry_after: Option<Duration>,
}

impl HttpError {
    pub(crate) fn new(
        status: StatusCode,
        id: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let error = ApiError {
            id: id.to_owned(),
            message: message.into(),
            hint: hint.into(),
        };
        Self {
            status,
            error,
            retry_after: None,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid-request",
            message,
            "correct the request and send it again",
        )
    }

    pub(crate) fn bad_value(id: &str, message: String, hint: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, id, message, hint)
    }

    pub(crate) fn no_id() -> Self {
        Self::internal("random-source-failed", "no id could be made")
    }

    pub(crate) fn only_the_local_admin() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "local-admin-only",
            "only a local admin of the bridge may do this",
            "run the askalf-bridge command on the bridge's machine, as its user or as root",
        )
    }

    /// What is said of it in a stream that has begun.
    pub(crate) fn into_body(self) -> ApiError {
        self.error
    }

    pub(crate) fn no_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no-such-route",
            "there is nothing at this path",
            "check the path and the version of the program that asks",
        )
    }

    pub(crate) fn method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "this path does not know that method",
            "check the method and the version of the program that asks",
        )
    }

    pub(crate) fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request-too-large",
            "the request is larger than this path takes",
            "a task may have 1 MiB: put its data where the device can fetch it, and send the way to it",
        )
    }

    pub(crate) fn too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "request-too-slow",
            "the body did not arrive in 30 s",
            "check the connection, and send the request again",
        )
    }

    pub(crate) fn internal(id: &str, message: &str) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            id,
            message,
            "look into the bridge's log, then try again",
        )
    }

    pub(crate) fn bridge_unavailable() -> Self {
        DispatchError::BridgeUnavailable.into()
    }

    #[cfg(unix)]
    pub(crate) fn foreign_user() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "foreign-user",
            "this socket serves only the user that the bridge runs as",
            "run the command as that user or as root",
        )
    }

    pub(crate) fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl From<StoreError> for HttpError {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            StoreError::Conflict(_) => StatusCode::CONFLICT,
            StoreError::NotFound(_) => StatusCode::NOT_FOUND,
            StoreError::User(_) | StoreError::Invalid(_) => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.id(), error.to_string(), error.hint())
    }
}

impl From<DispatchError> for HttpError {
    fn from(error: DispatchError) -> Self {
        let status = match &error {
            DispatchError::BridgeUnavailable | DispatchError::Draining | DispatchError::DeviceOffline(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            DispatchError::DeviceUnknown(_) => StatusCode::NOT_FOUND,
            DispatchError::DeviceAmbiguous { .. } | DispatchError::AlreadyEnded(_) => StatusCode::CONFLICT,
            DispatchError::Invalid(_) => StatusCode::BAD_REQUEST,
            DispatchError::InputTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            DispatchError::NoId => StatusCode::INTERNAL_SERVER_ERROR,
            DispatchError::Store(error) => return error.clone().into(),
        };
        let wait = match error {
            DispatchError::Draining => Some(DRAINED),
            _ => None,
        };
        Self {
            retry_after: wait,
            ..Self::new(status, error.id(), error.to_string(), error.hint())
        }
    }
}

impl From<Rejection> for HttpError {
    fn from(rejection: Rejection) -> Self {
        let status = match &rejection {
            Rejection::Missing
            | Rejection::Malformed
            | Rejection::Unknown
            | Rejection::Revoked
            | Rejection::Expired => StatusCode::UNAUTHORIZED,
            Rejection::UserInactive | Rejection::ScopeMissing => StatusCode::FORBIDDEN,
            Rejection::Unavailable | Rejection::Overloaded { .. } => StatusCode::SERVICE_UNAVAILABLE,
        };
        let error = Self::new(status, rejection.id(), rejection.to_string(), rejection.hint());
        match rejection {
            Rejection::Overloaded { retry_after } => error.with_retry_after(retry_after),
            _ => error,
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.error)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            // Whole seconds are all that the field holds (RFC 9110, section 10.2.3).
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}
