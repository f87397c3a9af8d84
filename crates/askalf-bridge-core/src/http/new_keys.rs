//! Keys that are made or come in: mint, rotate, import.

use askalf_bridge_auth::{KeyHash, KeyPrefix, MintError, Scope, Scopes, Token, UnixMillis, mint_key};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;

use super::input::{JsonBody, PathId, ends, name};
use super::{HttpError, NO_STORE};
use crate::api::{ImportKey, KeyView, MintKey, MintedKeyView, RotateKey};
use crate::bridge::Core;
use crate::ids::new_id;
use crate::stores::{Key, NewKey, Principal, StoreError};
use crate::{Bridge, dispatch};

/// How often a key is drawn anew because its prefix is taken. With 62^4 prefixes, ten thousand of them taken, eight
/// misses in a row are once in 10^25; with a million taken once in 10^9.
pub(crate) const DRAWS: u32 = 8;

/// How long a key that was rotated stays good where nothing else is said: a day, in seconds, as on the forge.
const OVERLAP_SECONDS: u64 = 24 * 60 * 60;

/// Longest preview of a key, in characters: the forge's column.
const MAX_PREVIEW_CHARS: usize = 20;

pub(super) async fn mint(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    JsonBody(wanted): JsonBody<MintKey>,
) -> Result<Response, HttpError> {
    let facts = Facts::of(&bridge.core, &who, wanted).await?;
    let (token, key) = draw(&bridge.core, &who, &facts, &Place::Beside).await?;
    tracing::info!(key = key.id, prefix = key.prefix, by = %who, "a key was minted");
    Ok(shown_once(&token, key))
}

pub(super) async fn rotate(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    PathId(id): PathId,
    JsonBody(wanted): JsonBody<RotateKey>,
) -> Result<Response, HttpError> {
    let (token, key) = rotated(&bridge, &who, &id, &wanted).await?;
    Ok(shown_once(&token, key))
}

/// Puts a key in the place of another.
pub(super) async fn rotated(
    bridge: &Bridge,
    who: &Principal,
    id: &str,
    wanted: &RotateKey,
) -> Result<(Token, Key), HttpError> {
    let now = bridge.core.now();
    let old = bridge.core.store.key(who, id).await?;
    let overlap = wanted.overlap_seconds.unwrap_or(OVERLAP_SECONDS);
    let old_ends = ends("overlap_seconds", Some(overlap), now)?.unwrap_or(now);
    let lifetime = old.expires_at.map(|end| end.0.saturating_sub(old.created_at.0));
    let facts = Facts {
        user_id: None,
        name: old.name,
        scopes: Scopes::default(),
        device_id: None,
        expires_at: match wanted.ttl_seconds {
            Some(seconds) => ends("ttl_seconds", Some(seconds), now)?,
            None => lifetime.map(|millis| UnixMillis(now.0.saturating_add(millis))),
        },
    };
    let place = Place::Of { id, old_ends };
    let (token, key) = draw(&bridge.core, who, &facts, &place).await?;
    tracing::info!(key = id, new = key.id, by = %who, "a key was rotated");
    Ok((token, key))
}

pub(super) async fn import(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    JsonBody(wanted): JsonBody<ImportKey>,
) -> Result<(StatusCode, Json<KeyView>), HttpError> {
    let hash = KeyHash::parse(&wanted.key_hash)
        .map_err(|error| HttpError::bad_value(error.id(), error.to_string(), error.hint()))?;
    let prefix = KeyPrefix::parse(&wanted.key_prefix)
        .map_err(|error| HttpError::bad_value(error.id(), error.to_string(), error.hint()))?;
    let preview = wanted.key_preview.unwrap_or_else(|| "...".to_owned());
    if preview.chars().count() > MAX_PREVIEW_CHARS || preview.contains(char::is_control) {
        return Err(HttpError::invalid(
            "'key_preview' must have at most 20 characters and no control characters",
        ));
    }
    let facts = Facts::of(&bridge.core, &who, wanted.key).await?;
    let key = facts.key(&bridge.core, hash, prefix, preview)?;
    let key = bridge
        .core
        .store
        .add_key(&who, key)
        .await
        .map_err(|error| match error {
            StoreError::Conflict(what) => HttpError::new(
                StatusCode::CONFLICT,
                "conflict",
                format!("{what} exists already"),
                "see whether it is this very key: 'askalf-bridge keys list' shows the prefixes",
            ),
            error => error.into(),
        })?;
    tracing::info!(key = key.id, prefix = key.prefix, by = %who, "a key was imported");
    Ok((StatusCode::CREATED, Json(key.into())))
}

/// Where a new key goes.
enum Place<'a> {
    Beside,
    Of { id: &'a str, old_ends: UnixMillis },
}

/// What is said of a new key, whatever its token.
struct Facts {
    user_id: Option<String>,
    name: String,
    scopes: Scopes,
    device_id: Option<String>,
    expires_at: Option<UnixMillis>,
}

impl Facts {
    async fn of(core: &Core, who: &Principal, wanted: MintKey) -> Result<Self, HttpError> {
        let name = name(&wanted.name)?;
        let scopes = scopes(&wanted.scopes)?;
        if wanted.device.is_some() && scopes.contains(&Scope::Admin) {
            return Err(HttpError::invalid(
                "a key that is bound to a device is never an operator's: name the device or the scope admin, not both",
            ));
        }
        let expires_at = ends("ttl_seconds", wanted.ttl_seconds, core.now())?;
        let (user_id, device_id) = owner(core, who, wanted.user, wanted.device.as_deref()).await?;
        Ok(Self {
            user_id,
            name,
            scopes,
            device_id,
            expires_at,
        })
    }

    fn key(
        &self,
        core: &Core,
        hash: KeyHash,
        prefix: KeyPrefix,
        preview: String,
    ) -> Result<NewKey, HttpError> {
        let now = core.now();
        Ok(NewKey {
            id: new_id("key_", now).map_err(|_| HttpError::no_id())?,
            user_id: self.user_id.clone(),
            name: self.name.clone(),
            hash,
            prefix,
            preview,
            scopes: self.scopes.clone(),
            device_id: self.device_id.clone(),
            expires_at: self.expires_at,
            created_at: now,
        })
    }
}

/// Draws keys until one has a prefix of its own, and adds it.
async fn draw(
    core: &Core,
    who: &Principal,
    facts: &Facts,
    place: &Place<'_>,
) -> Result<(Token, Key), HttpError> {
    for _ in 0..DRAWS {
        let minted = core
            .authenticator
            .derive_within_budget(mint_key)
            .await?
            .map_err(no_random)?;
        let key = facts.key(core, minted.hash, minted.prefix, minted.preview)?;
        let added = match place {
            Place::Beside => core.store.add_key(who, key).await,
            Place::Of { id, old_ends } => core.store.rotate_key(who, id, key, *old_ends).await,
        };
        match added {
            Ok(key) => return Ok((minted.token, key)),
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(HttpError::internal(
        "no-free-prefix",
        "no free key prefix was found",
    ))
}

fn shown_once(token: &Token, key: Key) -> Response {
    let view = MintedKeyView {
        id: key.id,
        key: token.expose_secret().to_owned(),
        key_prefix: key.prefix,
    };
    (StatusCode::CREATED, NO_STORE, Json(view)).into_response()
}

/// The user and the device of a new key or code. The user of the device is meant where none is named.
pub(super) async fn owner(
    core: &Core,
    who: &Principal,
    user: Option<String>,
    device: Option<&str>,
) -> Result<(Option<String>, Option<String>), HttpError> {
    let user = user_of(who, user)?;
    let Some(device) = device else {
        return Ok((user, None));
    };
    let device = dispatch::find_device(core, who, device).await?;
    Ok((user.or(Some(device.user_id)), Some(device.id)))
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

pub(super) fn no_random(error: MintError) -> HttpError {
    HttpError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        error.id(),
        error.to_string(),
        error.hint(),
    )
}
