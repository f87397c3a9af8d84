//! The HTTP API: routes, who asks, and errors as JSON.

mod caller;
mod devices;
mod error;
mod executions;
mod forge;
mod input;
mod keys;
mod new_keys;
mod pair;
mod pair_budget;
mod pair_codes;
mod repair;
mod rotations;
mod status;
mod trail;
mod users;
mod views;

use std::future::Future;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware;
use axum::routing::{get, post};
use http::{HeaderName, HeaderValue, header};

pub(crate) use error::HttpError;
pub(crate) use new_keys::DRAWS;
pub(crate) use pair_budget::PairBudget;

use crate::bridge::Phase;
use crate::{Bridge, session};

/// Largest body of a request, in bytes (1 MiB): a task must fit into one frame to its device anyway.
const MAX_BODY: usize = 1024 * 1024;

/// Largest body of an exchange of a pairing code, in bytes, which anybody may send: a code, a nonce and two names.
const MAX_PAIR_BODY: usize = 8 * 1024;

/// For answers with a secret in them.
const NO_STORE: [(HeaderName, HeaderValue); 1] =
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];

/// For answers that are a stream of events.
const NDJSON: [(HeaderName, HeaderValue); 1] = [(
    header::CONTENT_TYPE,
    HeaderValue::from_static("application/x-ndjson"),
)];

/// How requests reach a router, which decides on whose behalf they act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// From anywhere: `/api/v1` demands the key of an operator, `Authorization: Bearer KEY`.
    Tcp,
    /// From the bridge's own socket or its own process: the local admin. It acts under the peer's user id, or under
    /// `uid` where no socket tells it.
    Local {
        /// The bridge's user id.
        uid: u32,
    },
}

/// The routes of a bridge, for [`serve`](crate::serve) or for calls within the process: the answer to a request does
/// not depend on which. See [`api`](crate::api) for them.
pub fn router(bridge: Bridge, transport: Transport) -> Router {
    let api = Router::new()
        .route("/keys", get(keys::list).post(new_keys::mint))
        .route("/keys/import", post(new_keys::import))
        .route("/keys/repair", post(repair::repair))
        .route("/keys/{id}", get(keys::show))
        .route("/keys/{id}/revoke", post(keys::revoke))
        .route("/keys/{id}/rotate", post(new_keys::rotate))
        .route("/attempts", get(trail::attempts))
        .route("/acts", get(trail::acts))
        .route("/users", get(users::list).post(users::add))
        .route("/pair-codes", get(pair_codes::list).post(pair_codes::make))
        .route("/pair-codes/{id}/withdraw", post(pair_codes::withdraw))
        .route("/devices", get(devices::list))
        .route("/devices/{device}", get(devices::show).delete(devices::remove))
        .route("/devices/{device}/disconnect", post(devices::disconnect))
        .route("/devices/{device}/rotate", post(rotations::begin))
        .route("/rotations", get(rotations::list))
        .route("/forge/devices", get(forge::devices))
        .route("/forge/devices/summary", get(forge::summary))
        .route("/forge/devices/{id}", get(forge::device).delete(forge::remove))
        .route("/forge/devices/{id}/disconnect", post(forge::disconnect))
        .route("/forge/api-keys/{id}/rotate", post(forge::rotate))
        .route("/executions", get(executions::list).post(executions::dispatch))
        .route("/executions/{id}", get(executions::show))
        .route("/executions/{id}/events", get(executions::events))
        .route("/executions/{id}/cancel", post(executions::cancel))
        .route("/status", get(status::status))
        .method_not_allowed_fallback(no_method)
        .fallback(no_route)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(
            (bridge.clone(), transport),
            caller::identify,
        ));
    let metrics = get(status::metrics).layer(middleware::from_fn_with_state(
        (bridge.clone(), transport),
        caller::identify,
    ));
    let pair = post(pair::exchange).layer(DefaultBodyLimit::max(MAX_PAIR_BODY));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", metrics)
        .route("/api/v1/pair", pair)
        .route(askalf_proto::ENDPOINT_PATH, get(session::upgrade))
        .nest("/api/v1", api)
        .method_not_allowed_fallback(no_method)
        .fallback(no_route)
        .with_state(bridge)
}

/// Does what a request asks for to its end, also when whoever asked leaves meanwhile: a half of it must not stand.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, HttpError>> + Send + 'static,
) -> Result<T, HttpError> {
    tokio::spawn(work)
        .await
        .map_err(|_| HttpError::internal("request-lost", "the request was lost"))?
}

/// Whether devices may come: a load balancer sends them elsewhere otherwise.
async fn healthz(State(bridge): State<Bridge>) -> Result<&'static str, HttpError> {
    if bridge.core.phase() == Phase::Open {
        Ok("ok")
    } else {
        Err(HttpError::bridge_unavailable())
    }
}

async fn no_route() -> HttpError {
    HttpError::no_route()
}

async fn no_method() -> HttpError {
    HttpError::method()
}
