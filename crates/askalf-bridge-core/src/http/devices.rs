//! `/api/v1/devices`.

use axum::extract::State;
use axum::{Extension, Json};

use super::HttpError;
use super::input::{Limit, UrlQuery};
use crate::Bridge;
use crate::api::DeviceView;
use crate::bridge::Phase;
use crate::stores::{DeviceStatus, Principal};

pub(super) async fn list(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    UrlQuery(limit): UrlQuery<Limit>,
) -> Result<Json<Vec<DeviceView>>, HttpError> {
    let mut devices = bridge.core.store.devices(&who, limit.rows()).await?;
    // What a bridge that was killed left in the rows: with none open nobody is connected.
    if bridge.core.phase() == Phase::Idle {
        devices
            .iter_mut()
            .for_each(|device| device.status = DeviceStatus::Offline);
    }
    Ok(Json(devices.into_iter().map(DeviceView::from).collect()))
}
