//! On whose behalf a request acts.

use std::sync::Arc;

use askalf_bridge_auth::Access;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use super::{HttpError, Transport};
use crate::live_keys::CheckedKey;
use crate::session::bearer;
use crate::stores::Principal;
use crate::{Bridge, PeerAddr, PeerUid};

/// Puts the [`Principal`] into the request, and a hold on the key where one was checked; or refuses it.
pub(super) async fn identify(
    State((bridge, transport)): State<(Bridge, Transport)>,
    mut request: Request,
    next: Next,
) -> Result<Response, HttpError> {
    let principal = match transport {
        Transport::Local { uid } => {
            let peer = request.extensions().get::<PeerUid>();
            Principal::LocalAdmin {
                uid: peer.map_or(uid, |peer| peer.0),
            }
        }
        Transport::Tcp => {
            let token = bearer(request.headers());
            let address = request.extensions().get::<PeerAddr>().map(|peer| peer.0);
            let began = Instant::now();
            let checked = bridge
                .core
                .authenticator
                .authenticate(token.as_deref(), Access::Operator, address)
                .await;
            let key = checked.inspect_err(|rejection| {
                tracing::warn!(reason = rejection.reason(), "a request was rejected");
            })?;
            tracing::debug!(
                key = key.key_id(),
                path = request.uri().path(),
                "a request was accepted"
            );
            let operator = Principal::operator(&key);
            let hold = bridge.core.live_keys.hold(CheckedKey { key, began });
            request.extensions_mut().insert(Arc::new(hold));
            operator
        }
    };
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}
