//! The HTTP API: routes, who asks, and errors as JSON.

mod caller;
mod devices;
mod error;
mod executions;
mod input;
mod keys;
mod views;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware;
use axum::routing::{get, post};

pub(crate) use error::HttpError;

use crate::bridge::Phase;
use crate::{Bridge, session};

/// Largest body of a request, in bytes (1 MiB): a task must fit into one frame to its device anyway.
const MAX_BODY: usize = 1024 * 1024;

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
        .route("/keys", get(keys::list).post(keys::mint))
        .route("/keys/{id}/revoke", post(keys::revoke))
        .route("/devices", get(devices::list))
        .route("/executions", get(executions::list).post(executions::dispatch))
        .route("/executions/{id}", get(executions::show))
        .route("/executions/{id}/cancel", post(executions::cancel))
        .method_not_allowed_fallback(no_method)
        .fallback(no_route)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(
            (bridge.clone(), transport),
            caller::identify,
        ));
    Router::new()
        .route("/healthz", get(healthz))
        .route(askalf_proto::ENDPOINT_PATH, get(session::upgrade))
        .nest("/api/v1", api)
        .method_not_allowed_fallback(no_method)
        .fallback(no_route)
        .with_state(bridge)
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
