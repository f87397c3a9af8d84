//! What requests bring along, with refusals in the API's own form.

use std::sync::Arc;
use std::time::Duration;

use askalf_bridge_auth::UnixMillis;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::HttpError;
use crate::live_keys::KeyHold;

/// How long a client may take to send a body, which has at most 1 MiB. One that stops halfway would hold its place among
/// the connections for ever.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

/// A JSON body.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = HttpError;

    async fn from_request(request: Request, state: &S) -> Result<Self, HttpError> {
        let hold = request.extensions().get::<Arc<KeyHold>>().map(Arc::clone);
        let body = timeout(BODY_TIMEOUT, Bytes::from_request(request, state))
            .await
            .map_err(|_| HttpError::too_slow())?
            .map_err(unreadable)?;
        // A body may be slow on purpose: what was asked with a good key is not done with one that was revoked meanwhile.
        if let Some(rejection) = hold.and_then(|hold| hold.lost_already()) {
            return Err(rejection.into());
        }
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            HttpError::new(
                StatusCode::BAD_REQUEST,
                "invalid-json",
                format!(
                    "the body is not what this path takes: {}",
                    askalf_proto::one_line(&error.to_string())
                ),
                "correct the body and send it again",
            )
        })
    }
}

fn unreadable(rejection: BytesRejection) -> HttpError {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        HttpError::too_large()
    } else {
        HttpError::invalid("the body could not be read")
    }
}

/// The query of the URL.
pub(super) struct UrlQuery<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for UrlQuery<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => Err(HttpError::invalid(askalf_proto::one_line(&error.body_text()))),
        }
    }
}

/// The id in the path.
pub(super) struct PathId(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let id = Path::from_request_parts(parts, state).await;
        id.map(|Path(id)| Self(id))
            .map_err(|_| HttpError::invalid("the id in the path cannot be read"))
    }
}

/// How many things a listing wants.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Limit {
    limit: Option<u32>,
}

impl Limit {
    pub(super) fn rows(&self) -> u32 {
        bounded(self.limit)
    }
}

pub(super) fn bounded(limit: Option<u32>) -> u32 {
    limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT)
}

/// Longest name of a key or a device, in characters: the forge's column.
const MAX_NAME_CHARS: usize = 255;

/// A name that a person chose, without the white space around it.
pub(super) fn name(text: &str) -> Result<String, HttpError> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.contains(char::is_control) {
        return Err(HttpError::invalid(
            "'name' must have 1 to 255 characters and no control characters",
        ));
    }
    Ok(name.to_owned())
}

/// A century in seconds: whoever says more means for ever.
const MAX_SECONDS: u64 = 100 * 366 * 24 * 60 * 60;

/// The time that lies so many seconds ahead.
pub(super) fn ends(
    field: &str,
    seconds: Option<u64>,
    now: UnixMillis,
) -> Result<Option<UnixMillis>, HttpError> {
    let Some(seconds) = seconds else { return Ok(None) };
    match i64::try_from(seconds) {
        Ok(whole) if seconds <= MAX_SECONDS => {
            Ok(Some(UnixMillis(now.0.saturating_add(whole.saturating_mul(1000)))))
        }
        _ => Err(HttpError::invalid(format!(
            "'{field}' must be at most {MAX_SECONDS}, a century"
        ))),
    }
}
