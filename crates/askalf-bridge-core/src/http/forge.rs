//! `/api/v1/forge`: what dashboards of the forge ask, in the shapes that they read. Ids only; what is not there is 404.

use axum::extract::State;
use axum::{Extension, Json};
use serde_json::{Map, Value, json};

use super::devices::{as_seen, disconnected, removed};
use super::input::PathId;
use super::{HttpError, NO_STORE, new_keys};
use crate::Bridge;
use crate::api::{DeviceView, RotateKey};
use crate::bridge::Core;
use crate::stores::{Device, DeviceStatus, Kind, Principal, StoreError};

/// As many as a store lists: the forge's own paths know no limit.
const MAX_DEVICES: u32 = 10_000;

pub(super) async fn devices(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
) -> Result<Json<Value>, HttpError> {
    let devices: Vec<_> = all(&bridge.core, &who)
        .await?
        .into_iter()
        .map(DeviceView::from)
        .collect();
    Ok(Json(json!({ "devices": devices })))
}

pub(super) async fn summary(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
) -> Result<Json<Value>, HttpError> {
    let devices = all(&bridge.core, &who).await?;
    let count = |status| devices.iter().filter(|device| device.status == status).count();
    let mut by_type = Map::new();
    for device in &devices {
        let known = by_type.get(&device.device_type).and_then(Value::as_u64);
        by_type.insert(device.device_type.clone(), (known.unwrap_or(0) + 1).into());
    }
    Ok(Json(json!({
        "total": devices.len(),
        "online": count(DeviceStatus::Online),
        "busy": count(DeviceStatus::Busy),
        "offline": count(DeviceStatus::Offline),
        "byType": by_type,
    })))
}

pub(super) async fn device(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    PathId(id): PathId,
) -> Result<Json<Value>, HttpError> {
    let device = DeviceView::from(by_id(&bridge.core, &who, &id).await?);
    Ok(Json(json!({ "device": device })))
}

pub(super) async fn remove(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    PathId(id): PathId,
) -> Result<Json<Value>, HttpError> {
    let device = by_id(&bridge.core, &who, &id).await?;
    removed(bridge, who, device).await?;
    Ok(Json(json!({ "deleted": true })))
}

pub(super) async fn disconnect(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    PathId(id): PathId,
) -> Result<Json<Value>, HttpError> {
    let device = by_id(&bridge.core, &who, &id).await?;
    disconnected(&bridge.core, &who, &device.id);
    Ok(Json(json!({ "disconnected": true })))
}

pub(super) async fn rotate(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    PathId(id): PathId,
) -> Result<impl axum::response::IntoResponse, HttpError> {
    let (token, key) = new_keys::rotated(&bridge, &who, &id, &RotateKey::default()).await?;
    let body =
        json!({ "id": key.id, "key": token.expose_secret(), "key_prefix": key.prefix, "name": key.name });
    Ok((NO_STORE, Json(body)))
}

async fn all(core: &Core, who: &Principal) -> Result<Vec<Device>, HttpError> {
    let devices = core.store.devices(who, MAX_DEVICES).await?;
    Ok(devices.into_iter().map(|device| as_seen(core, device)).collect())
}

async fn by_id(core: &Core, who: &Principal, id: &str) -> Result<Device, HttpError> {
    let found = core.store.find_devices(who, id).await?;
    let device = found.into_iter().find(|device| device.id == id);
    let device = device.ok_or(StoreError::NotFound(Kind::Device))?;
    Ok(as_seen(core, device))
}
