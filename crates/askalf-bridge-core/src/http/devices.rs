//! `/api/v1/devices`.

use askalf_bridge_auth::KeyStatus;
use askalf_proto::CloseCode;
use axum::extract::State;
use axum::{Extension, Json};
use http::StatusCode;

use super::input::{Limit, PathId, UrlQuery};
use super::{HttpError, to_the_end};
use crate::api::{AuditHeadView, DeviceView};
use crate::bridge::{Core, Phase};
use crate::link::Closing;
use crate::stores::{Device, DeviceStatus, Principal};
use crate::{Bridge, dispatch};

pub(super) async fn list(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    UrlQuery(limit): UrlQuery<Limit>,
) -> Result<Json<Vec<DeviceView>>, HttpError> {
    let devices = bridge.core.store.devices(&who, limit.rows()).await?;
    let devices = devices.into_iter().map(|device| as_seen(&bridge.core, device));
    Ok(Json(devices.map(DeviceView::from).collect()))
}

pub(super) async fn show(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    PathId(device): PathId,
) -> Result<Json<DeviceView>, HttpError> {
    let device = dispatch::find_device(&bridge.core, &who, &device).await?;
    let audit_head = bridge.core.store.audit_head(&who, &device.id).await?;
    Ok(Json(DeviceView {
        audit_head: audit_head.map(AuditHeadView::from),
        ..as_seen(&bridge.core, device).into()
    }))
}

pub(super) async fn remove(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    PathId(device): PathId,
) -> Result<Json<DeviceView>, HttpError> {
    let device = dispatch::find_device(&bridge.core, &who, &device).await?;
    Ok(Json(removed(bridge, who, device).await?.into()))
}

pub(super) async fn disconnect(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    PathId(device): PathId,
) -> Result<(StatusCode, Json<DeviceView>), HttpError> {
    let device = dispatch::find_device(&bridge.core, &who, &device).await?;
    disconnected(&bridge.core, &who, &device.id);
    Ok((StatusCode::ACCEPTED, Json(as_seen(&bridge.core, device).into())))
}

/// What a bridge that was killed left in the rows: with none open nobody is connected.
pub(super) fn as_seen(core: &Core, mut device: Device) -> Device {
    if core.phase() == Phase::Idle {
        device.status = DeviceStatus::Offline;
    }
    device
}

/// Removes a device and ends its session: one whose key acts as this device alone hears that the key is revoked.
pub(super) async fn removed(bridge: Bridge, who: Principal, device: Device) -> Result<Device, HttpError> {
    to_the_end(async move {
        remove_and_close(&bridge.core, &who, &device).await?;
        Ok(device)
    })
    .await
}

async fn remove_and_close(core: &Core, who: &Principal, device: &Device) -> Result<(), HttpError> {
    core.store.remove_device(who, &device.id, core.now()).await?;
    tracing::info!(device = device.id, by = %who, "a device was removed");
    let Some(link) = core.hub.of_device(&device.id) else {
        return Ok(());
    };
    let key_id = link.key_id().to_owned();
    let rows = core.store.keys_now(std::slice::from_ref(&key_id)).await;
    if rows.is_ok_and(|rows| rows.iter().any(|row| row.status == KeyStatus::Revoked)) {
        core.key_revoked(&key_id);
    } else {
        link.close(Closing::WithCode(CloseCode::TRY_AGAIN));
    }
    Ok(())
}

/// Closes the session of a device, which may come back at once: who must not is shut out by revoking its key.
pub(super) fn disconnected(core: &Core, who: &Principal, device_id: &str) {
    if let Some(link) = core.hub.of_device(device_id) {
        tracing::info!(device = device_id, by = %who, "a device is being disconnected");
        link.close(Closing::WithCode(CloseCode::TRY_AGAIN));
    }
}
