//! The key that a device came with.

use askalf_bridge_core::stores::{Kind, Principal, StoreError};

/// The key that a device came with. No other principal can be a device.
pub(crate) struct DeviceKey {
    pub(crate) tenant_id: String,
    pub(crate) user_id: String,
    pub(crate) key_id: String,
}

impl DeviceKey {
    pub(crate) fn of(who: &Principal) -> Result<Self, StoreError> {
        match who.clone() {
            Principal::Device {
                tenant_id,
                user_id,
                key_id,
                ..
            } => Ok(Self {
                tenant_id,
                user_id,
                key_id,
            }),
            _ => Err(StoreError::NotFound(Kind::Device)),
        }
    }

    /// The device before it has registered: reached through the key alone.
    pub(crate) fn principal(&self) -> Principal {
        Principal::Device {
            tenant_id: self.tenant_id.clone(),
            user_id: self.user_id.clone(),
            key_id: self.key_id.clone(),
            device_id: None,
        }
    }
}
