//! On whose behalf the store is asked.

use std::fmt;

use askalf_bridge_auth::AuthenticatedKey;

/// Whoever acts: it decides what a store method may see and change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// The bridge itself: authentication, sweeps at start.
    Bridge,
    /// A person at the bridge's own socket; sees every tenant.
    LocalAdmin {
        /// The peer's user id on the machine.
        uid: u32,
    },
    /// The holder of a key with the scope `admin`; sees its own user's things.
    Operator {
        /// Tenant of the key.
        tenant_id: String,
        /// User of the key.
        user_id: String,
        /// The key.
        key_id: String,
    },
    /// A device: acts only as itself.
    Device {
        /// Tenant of its key.
        tenant_id: String,
        /// User of its key.
        user_id: String,
        /// Its key.
        key_id: String,
        /// The device, once it has registered.
        device_id: Option<String>,
    },
}

impl Principal {
    /// The operator that a checked key stands for.
    pub fn operator(key: &AuthenticatedKey) -> Self {
        Self::Operator {
            tenant_id: key.tenant_id().to_owned(),
            user_id: key.user_id().to_owned(),
            key_id: key.key_id().to_owned(),
        }
    }

    /// The device that a checked key stands for, not registered yet.
    pub fn device(key: &AuthenticatedKey) -> Self {
        Self::Device {
            tenant_id: key.tenant_id().to_owned(),
            user_id: key.user_id().to_owned(),
            key_id: key.key_id().to_owned(),
            device_id: None,
        }
    }

    /// The same device with the id that it registered under. Other principals stay what they are.
    #[must_use]
    pub fn registered_as(self, id: &str) -> Self {
        match self {
            Self::Device {
                tenant_id,
                user_id,
                key_id,
                ..
            } => Self::Device {
                tenant_id,
                user_id,
                key_id,
                device_id: Some(id.to_owned()),
            },
            other => other,
        }
    }

    /// Tenant and user whose things it may see; `None` for those who see all.
    pub fn owner(&self) -> Option<(&str, &str)> {
        match self {
            Self::Bridge | Self::LocalAdmin { .. } => None,
            Self::Operator {
                tenant_id, user_id, ..
            }
            | Self::Device {
                tenant_id, user_id, ..
            } => Some((tenant_id, user_id)),
        }
    }
}

/// For the log and the audit trail: ids, nothing secret.
impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge => formatter.write_str("the bridge"),
            Self::LocalAdmin { uid } => write!(formatter, "uid {uid}"),
            Self::Operator { user_id, key_id, .. } => write!(formatter, "user {user_id} with key {key_id}"),
            Self::Device {
                key_id, device_id, ..
            } => match device_id {
                Some(id) => write!(formatter, "device {id}"),
                None => write!(formatter, "a device with key {key_id}"),
            },
        }
    }
}
