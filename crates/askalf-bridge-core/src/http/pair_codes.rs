//! `/api/v1/pair-codes`: what operators do with pairing codes.

use askalf_bridge_auth::{PairCode, PairKeys};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;

use super::input::{JsonBody, Limit, PathId, UrlQuery, ends, name};
use super::{HttpError, NO_STORE, new_keys};
use crate::Bridge;
use crate::api::{MakePairCode, NewPairCodeView, PairCodeView};
use crate::bridge::Core;
use crate::ids::new_id;
use crate::stores::{NewPairCode, Principal};

/// How long a code is good where nothing else is said: ten minutes, in seconds.
const TTL_SECONDS: u64 = 600;

/// Shortest and longest life of a code, in seconds: what it takes to type it in, and a day, within which guessing stays
/// hopeless (see [`PairCode`]).
const TTL_BOUNDS: std::ops::RangeInclusive<u64> = 60..=86_400;

pub(super) async fn list(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    UrlQuery(limit): UrlQuery<Limit>,
) -> Result<Json<Vec<PairCodeView>>, HttpError> {
    let codes = bridge
        .core
        .store
        .pair_codes(&who, bridge.core.now(), limit.rows())
        .await?;
    Ok(Json(codes.into_iter().map(PairCodeView::from).collect()))
}

pub(super) async fn make(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    JsonBody(wanted): JsonBody<MakePairCode>,
) -> Result<Response, HttpError> {
    let core = &bridge.core;
    let keys = pair_keys(core)?;
    let name = name(&wanted.name)?;
    let seconds = wanted.ttl_seconds.unwrap_or(TTL_SECONDS);
    if !TTL_BOUNDS.contains(&seconds) {
        return Err(HttpError::invalid(
            "'ttl_seconds' must be 60 to 86,400: a minute to a day",
        ));
    }
    let (user_id, device_id) = new_keys::owner(core, &who, wanted.user, wanted.device.as_deref()).await?;
    let code = PairCode::mint().map_err(new_keys::no_random)?;
    let now = core.now();
    let row = NewPairCode {
        id: new_id("code_", now).map_err(|_| HttpError::no_id())?,
        code_mac: keys.code_mac(&code),
        user_id,
        device_id,
        name,
        expires_at: ends("ttl_seconds", Some(seconds), now)?.unwrap_or(now),
        created_at: now,
    };
    let row = core.store.add_pair_code(&who, row).await?;
    tracing::info!(code = row.id, by = %who, "a pairing code was made");
    let view = NewPairCodeView {
        code: code.to_string(),
        view: row.into(),
    };
    Ok((StatusCode::CREATED, NO_STORE, Json(view)).into_response())
}

pub(super) async fn withdraw(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    PathId(id): PathId,
) -> Result<StatusCode, HttpError> {
    let now = bridge.core.now();
    bridge.core.store.withdraw_pair_code(&who, &id, now).await?;
    tracing::info!(code = id, by = %who, "a pairing code was withdrawn");
    Ok(StatusCode::NO_CONTENT)
}

/// What codes are kept and exchanged under. A bridge without a secret of its own knows no codes.
pub(super) fn pair_keys(core: &Core) -> Result<PairKeys, HttpError> {
    match &core.options.secret {
        Some(secret) => Ok(secret.pair_keys()),
        None => Err(HttpError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "pairing-off",
            "this bridge has no secret, so it knows no pairing codes",
            "give the bridge a secret, or pair with a key",
        )),
    }
}
