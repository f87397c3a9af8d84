//! `/api/v1/keys`.

use askalf_bridge_auth::{MintError, Scope, Scopes, mint_key};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{HeaderValue, StatusCode, header};

use super::HttpError;
use super::input::{JsonBody, Limit, PathId, UrlQuery};
use crate::Bridge;
use crate::api::{KeyView, MintKey, MintedKeyView};
use crate::ids::new_id;
use crate::stores::{NewKey, Principal, StoreError};

/// How often a key is drawn anew because its prefix is taken. With 62^4 prefixes, ten thousand of them taken, eight
/// misses in a row are once in 10^25.
const DRAWS: u32 = 8;

/// Longest name of a key, in characters: the forge's column.
const MAX_NAME_CHARS: usize = 255;

pub(super) async fn list(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    UrlQuery(limit): UrlQuery<Limit>,
) -> Result<Json<Vec<KeyView>>, HttpError> {
    let keys = bridge.core.store.keys(&who, limit.rows()).await?;
    Ok(Json(keys.into_iter().map(KeyView::from).collect()))
}

pub(super) async fn mint(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    JsonBody(wanted): JsonBody<MintKey>,
) -> Result<Response, HttpError> {
    let scopes = scopes(&wanted.scopes)?;
    let name = wanted.name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.contains(char::is_control) {
        return Err(HttpError::invalid(
            "'name' must have 1 to 255 characters and no control characters",
        ));
    }
    let user_id = user_of(&who, wanted.user)?;
    for _ in 0..DRAWS {
        let minted = bridge
            .core
            .authenticator
            .derive_within_budget(mint_key)
            .await?
            .map_err(no_random)?;
        let now = bridge.core.now();
        let id = new_id("key_", now)
            .map_err(|_| HttpError::internal("random-source-failed", "no id could be made"))?;
        let key = NewKey {
            id: id.clone(),
            user_id: user_id.clone(),
            name: name.to_owned(),
            hash: minted.hash,
            prefix: minted.prefix.clone(),
            preview: minted.preview,
            scopes: scopes.clone(),
            device_id: None,
            expires_at: None,
            created_at: now,
        };
        match bridge.core.store.add_key(&who, key).await {
            Ok(key) => {
                tracing::info!(key = id, prefix = key.prefix, by = %who, "a key was minted");
                let view = MintedKeyView {
                    id,
                    key: minted.token.expose_secret().to_owned(),
                    key_prefix: minted.prefix.as_str().to_owned(),
                };
                let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
                return Ok((StatusCode::CREATED, no_store, Json(view)).into_response());
            }
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(HttpError::internal(
        "no-free-prefix",
        "no free key prefix was found",
    ))
}

pub(super) async fn revoke(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    PathId(id): PathId,
) -> Result<Json<KeyView>, HttpError> {
    let key = bridge.core.store.revoke_key(&who, &id, bridge.core.now()).await?;
    tracing::info!(key = id, by = %who, "a key was revoked");
    bridge.core.key_revoked(&id);
    Ok(Json(key.into()))
}

/// Words that mean nothing here would be kept for good; so a mistyped one is refused.
fn scopes(words: &[String]) -> Result<Scopes, HttpError> {
    if words.is_empty() {
        return Ok(Scopes::from_iter([Scope::Device]));
    }
    if words
        .iter()
        .any(|word| matches!(Scope::parse(word), Scope::Other(_)))
    {
        return Err(HttpError::invalid(
            "'scopes' may hold device, execute, read, write and admin",
        ));
    }
    Ok(Scopes::parse(words))
}

/// An operator mints for its own user only.
fn user_of(who: &Principal, wanted: Option<String>) -> Result<Option<String>, HttpError> {
    match (who.owner(), wanted) {
        (None, wanted) => Ok(wanted),
        (Some((_, own)), Some(wanted)) if own != wanted => Err(HttpError::new(
            StatusCode::FORBIDDEN,
            "other-user",
            "this key mints keys for its own user only",
            "leave the user out, or run the command on the bridge's machine",
        )),
        (Some((_, own)), _) => Ok(Some(own.to_owned())),
    }
}

fn no_random(error: MintError) -> HttpError {
    HttpError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        error.id(),
        error.to_string(),
        error.hint(),
    )
}
