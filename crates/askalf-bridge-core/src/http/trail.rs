//! `/api/v1/attempts` and `/api/v1/acts`.

use axum::extract::State;
use axum::{Extension, Json};
use serde::Deserialize;

use super::HttpError;
use super::input::{Limit, UrlQuery, bounded};
use crate::Bridge;
use crate::api::{ActView, AttemptView};
use crate::stores::Principal;

#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    prefix: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn attempts(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    UrlQuery(filter): UrlQuery<Filter>,
) -> Result<Json<Vec<AttemptView>>, HttpError> {
    let attempts = bridge
        .core
        .store
        .attempts(&who, filter.prefix.as_deref(), bounded(filter.limit))
        .await?;
    Ok(Json(attempts.into_iter().map(AttemptView::from).collect()))
}

pub(super) async fn acts(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    UrlQuery(limit): UrlQuery<Limit>,
) -> Result<Json<Vec<ActView>>, HttpError> {
    let acts = bridge.core.store.acts(&who, limit.rows()).await?;
    Ok(Json(acts.into_iter().map(ActView::from).collect()))
}
