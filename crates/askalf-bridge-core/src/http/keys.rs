//! `/api/v1/keys`.

use axum::extract::State;
use axum::{Extension, Json};

use super::input::{Limit, PathId, UrlQuery};
use super::{HttpError, to_the_end};
use crate::Bridge;
use crate::api::KeyView;
use crate::stores::Principal;

pub(super) async fn list(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    UrlQuery(limit): UrlQuery<Limit>,
) -> Result<Json<Vec<KeyView>>, HttpError> {
    let keys = bridge.core.store.keys(&who, limit.rows()).await?;
    Ok(Json(keys.into_iter().map(KeyView::from).collect()))
}

pub(super) async fn show(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    PathId(id): PathId,
) -> Result<Json<KeyView>, HttpError> {
    Ok(Json(bridge.core.store.key(&who, &id).await?.into()))
}

pub(super) async fn revoke(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    PathId(id): PathId,
) -> Result<Json<KeyView>, HttpError> {
    to_the_end(async move {
        let key = bridge.core.store.revoke_key(&who, &id, bridge.core.now()).await?;
        tracing::info!(key = id, by = %who, "a key was revoked");
        bridge.core.key_revoked(&id);
        Ok(Json(key.into()))
    })
    .await
}
