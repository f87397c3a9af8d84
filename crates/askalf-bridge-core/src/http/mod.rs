//! The HTTP API: routes, who asks, and errors as JSON.

mod error;

use axum::Router;
use axum::routing::get;

pub(crate) use error::HttpError;

use crate::Bridge;

/// How requests reach a router, which decides on whose behalf they act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// From anywhere: `/api/v1` demands the key of an operator.
    Tcp,
    /// From the bridge's own socket or its own process: the local admin, whom the log names by the peer's user id, or
    /// by `uid` where no socket tells it.
    Local {
        /// The bridge's user id.
        uid: u32,
    },
}

/// The routes of a bridge, for [`serve`](crate::serve) or for calls within the process (`tower::ServiceExt::oneshot`).
pub fn router(bridge: Bridge, transport: Transport) -> Router {
    let _ = transport;
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .fallback(|| async { HttpError::no_route() })
        .method_not_allowed_fallback(|| async { HttpError::method() })
        .with_state(bridge)
}
