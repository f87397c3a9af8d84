//! What requests bring along, with refusals in the API's own form.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::HttpError;

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
        let body = timeout(BODY_TIMEOUT, Bytes::from_request(request, state))
            .await
            .map_err(|_| HttpError::too_slow())?
            .map_err(unreadable)?;
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
