//! Devices.

use askalf_bridge_auth::UnixMillis;
use askalf_proto::DeviceType;
use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Principal, StoreError};

/// The registry of devices.
#[async_trait]
pub trait DeviceStore: Send + Sync {
    /// Registers the device of a key: one row per key (or the one that the key is bound to), made on the first call and
    /// updated on later ones, `online` after it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] of the device where the key is bound to one that is gone, and of the key where that is gone or
    /// was revoked since its session was let in; [`StoreError::Unavailable`].
    async fn register_device(
        &self,
        who: &Principal,
        facts: DeviceFacts,
        now: UnixMillis,
    ) -> Result<Device, StoreError>;

    /// Takes up the device of a reconnecting key and marks it `online`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] of the device where it does not exist or belongs to another key, and of the key as at a
    /// registration; [`StoreError::Unavailable`].
    async fn reconnect_device(
        &self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<Device, StoreError>;

    /// Notes that a device was heard, and what it can do where that is told.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unavailable`].
    async fn touch_device(
        &self,
        who: &Principal,
        id: &str,
        capabilities: Option<&Map<String, Value>>,
        now: UnixMillis,
    ) -> Result<(), StoreError>;

    /// Marks a device as gone.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn device_offline(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError>;

    /// Marks every device as gone: at the start of a bridge nobody is connected. Answers how many were not.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn all_devices_offline(&self, now: UnixMillis) -> Result<u64, StoreError>;

    /// The devices, by name, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn devices(&self, who: &Principal, limit: u32) -> Result<Vec<Device>, StoreError>;

    /// Removes a device that has no open execution. The keys that are bound to it are revoked; its executions stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Invalid`] where it has open executions, [`StoreError::Unavailable`].
    async fn remove_device(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError>;

    /// The devices whose id or name is `id_or_name`: more than one only where a name is not unique.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn find_devices(&self, who: &Principal, id_or_name: &str) -> Result<Vec<Device>, StoreError>;
}

/// What a device says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceFacts {
    /// Id to use where the row is new.
    pub new_id: String,
    /// Name that a person gave it; the host name where there is none.
    pub name: String,
    /// Host name.
    pub hostname: Option<String>,
    /// Operating system.
    pub os: Option<String>,
    /// What it can do.
    pub capabilities: Map<String, Value>,
    /// Kind of device.
    pub device_type: DeviceType,
    /// Most tasks at once.
    pub max_concurrent: u32,
}

/// A device of the registry.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// `dev_` and a ULID.
    pub id: String,
    /// Tenant of its key.
    pub tenant_id: String,
    /// User of its key.
    pub user_id: String,
    /// The key that it registered with.
    pub api_key_id: String,
    /// Its name.
    pub name: String,
    /// Host name.
    pub hostname: Option<String>,
    /// Operating system.
    pub os: Option<String>,
    /// What it can do.
    pub capabilities: Map<String, Value>,
    /// Kind of device, in the forge's word.
    pub device_type: String,
    /// Whether it is there.
    pub status: DeviceStatus,
    /// Most tasks at once.
    pub max_concurrent: u32,
    /// When it was last heard.
    pub last_seen_at: Option<UnixMillis>,
    /// When it first registered.
    pub created_at: UnixMillis,
}

/// Whether a device is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceStatus {
    /// Connected and registered.
    Online,
    /// Not connected.
    Offline,
    /// Connected, and as loaded as it may be.
    Busy,
}

impl DeviceStatus {
    /// The status as `agent_devices.status` holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Busy => "busy",
        }
    }

    /// The status that a word of the table stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Online, Self::Offline, Self::Busy]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}
