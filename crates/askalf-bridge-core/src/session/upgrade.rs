//! From a request to a WebSocket: the handshake of RFC 6455, section 4.2, and the socket handed over.

use std::sync::Arc;

use askalf_proto::SUBPROTOCOL;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::connection::{self, Caller};
use super::token::Presented;
use crate::Bridge;
use crate::bridge::Phase;
use crate::http::HttpError;
use crate::server::{ConnectionPlace, PeerAddr};

/// Answers 101 to a WebSocket handshake and runs the session. Whether the token is good is said on the socket: agents
/// of all generations wait for it there.
pub(crate) async fn upgrade(State(bridge): State<Bridge>, request: Request) -> Response {
    match accept(bridge, request) {
        Ok(response) => response,
        Err(error) => {
            let version = [(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))];
            (version, error).into_response()
        }
    }
}

fn accept(bridge: Bridge, request: Request) -> Result<Response, HttpError> {
    if !matches!(bridge.core.phase(), Phase::Open | Phase::Draining) {
        return Err(HttpError::bridge_unavailable());
    }
    let (mut parts, _) = request.into_parts();
    let accept_key = accept_key(&parts)?;
    let on_upgrade = parts
        .extensions
        .remove::<OnUpgrade>()
        .ok_or_else(not_a_handshake)?;
    let place = parts.extensions.remove::<ConnectionPlace>();
    let address = parts.extensions.get::<PeerAddr>().map(|peer| peer.0);
    let presented = Presented::of(&parts, bridge.core.options.allow_query_token);
    let mut response = (
        StatusCode::SWITCHING_PROTOCOLS,
        [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, accept_key),
        ],
    )
        .into_response();
    if presented.subprotocol {
        let selected = HeaderValue::from_static(SUBPROTOCOL);
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, selected);
    }
    let caller = Caller {
        presented,
        address,
        agent_version: text(&parts.headers, "x-agent-version"),
        device_name: text(&parts.headers, "x-device-name"),
    };
    let core = Arc::clone(&bridge.core);
    let alive = core.count_session();
    tokio::spawn(async move {
        match on_upgrade.await {
            Ok(upgraded) => connection::run(core, TokioIo::new(upgraded), caller).await,
            Err(error) => tracing::debug!(error = %error, "a client left during the handshake"),
        }
        drop((alive, place));
    });
    Ok(response)
}

fn accept_key(parts: &Parts) -> Result<HeaderValue, HttpError> {
    let headers = &parts.headers;
    let is_handshake = parts.method == Method::GET
        && names(headers, header::CONNECTION, "upgrade")
        && names(headers, header::UPGRADE, "websocket")
        && names(headers, header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|_| is_handshake)
        .ok_or_else(not_a_handshake)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| not_a_handshake())
}

fn names(headers: &HeaderMap, header: HeaderName, word: &str) -> bool {
    let values = headers
        .get_all(header)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(word))
}

fn not_a_handshake() -> HttpError {
    HttpError::new(
        StatusCode::UPGRADE_REQUIRED,
        "upgrade-required",
        "this path speaks WebSocket, version 13",
        "connect an agent; a proxy on the way must pass the Upgrade header on",
    )
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(askalf_proto::one_line(value)).filter(|value| !value.is_empty())
}
