//! What the device says about itself.

use askalf_proto::{CapabilitiesResult, Features, PROTOCOL, Register, SystemInfo};
use serde_json::{Map, Value};

/// Facts that a registration carries. The binary gathers them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceFacts {
    /// Name that a person gave the device.
    pub name: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Operating system, as Node spells it (`linux`, `darwin`, `win32`).
    pub os: Option<String>,
    /// What the device can do.
    pub capabilities: Map<String, Value>,
    /// Hardware facts.
    pub system_info: Option<SystemInfo>,
    /// Version of the agent.
    pub version: String,
}

impl DeviceFacts {
    /// A registration of a device that holds no executions.
    pub(crate) fn registration(&self, max_concurrent: u32) -> Register {
        Register {
            device_name: self.name.clone(),
            hostname: self.hostname.clone(),
            os: self.os.clone(),
            capabilities: self.capabilities.clone(),
            system_info: self.system_info.clone(),
            max_concurrent: Some(max_concurrent),
            version: Some(self.version.clone()),
            protocol: PROTOCOL,
            features: Features::all(),
            ..Register::default()
        }
    }

    /// The answer to a scan.
    pub(crate) fn capabilities_result(&self) -> CapabilitiesResult {
        CapabilitiesResult {
            capabilities: self.capabilities.clone(),
            hostname: self.hostname.clone(),
            os: self.os.clone(),
            device_name: self.name.clone(),
        }
    }
}
