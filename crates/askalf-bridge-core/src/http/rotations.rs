//! `/api/v1/rotations` and `/api/v1/devices/{device}/rotate`: keys that are changed over the devices' connections.

use axum::extract::State;
use axum::{Extension, Json};
use http::StatusCode;

use super::input::{Limit, PathId, UrlQuery};
use super::{HttpError, to_the_end};
use crate::api::RotationView;
use crate::rotation::RotateError;
use crate::stores::Principal;
use crate::{Bridge, dispatch, rotation};

pub(super) async fn list(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    UrlQuery(limit): UrlQuery<Limit>,
) -> Result<Json<Vec<RotationView>>, HttpError> {
    let rotations = bridge.core.store.rotations(&who, limit.rows()).await?;
    Ok(Json(rotations.into_iter().map(RotationView::from).collect()))
}

pub(super) async fn begin(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    PathId(device): PathId,
) -> Result<(StatusCode, Json<RotationView>), HttpError> {
    to_the_end(async move {
        let device = dispatch::find_device(&bridge.core, &who, &device).await?;
        let begun = rotation::begin(&bridge.core, &who, &device.id, &device.name, 1).await?;
        Ok((StatusCode::ACCEPTED, Json(begun.into())))
    })
    .await
}

impl From<RotateError> for HttpError {
    fn from(error: RotateError) -> Self {
        let status = match &error {
            RotateError::BridgeUnavailable | RotateError::Draining | RotateError::DeviceOffline(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            RotateError::NotSupported(_) | RotateError::UnderWay(_) => StatusCode::CONFLICT,
            RotateError::NoRandom | RotateError::NoFreePrefix => StatusCode::INTERNAL_SERVER_ERROR,
            RotateError::Busy(rejection) => return rejection.clone().into(),
            RotateError::Store(error) => return error.clone().into(),
        };
        Self::new(status, error.id(), error.to_string(), error.hint())
    }
}
