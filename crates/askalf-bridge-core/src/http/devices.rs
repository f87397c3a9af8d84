//! `/api/v1/devices`.

use axum::extract::State;
use axum::{Extension, Json};

use super::HttpError;
use super::input::{Limit, UrlQuery};
use crate::Bridge;
use crate::api::DeviceView;
use crate::stores::Principal;

pub(super) async fn list(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    UrlQuery(limit): UrlQuery<Limit>,
) -> Result<Json<Vec<DeviceView>>, HttpError> {
    let devices = bridge.core.store.devices(&who, limit.rows()).await?;
    Ok(Json(devices.into_iter().map(DeviceView::from).collect()))
}
