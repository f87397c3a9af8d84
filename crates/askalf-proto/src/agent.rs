//! Messages from an agent to its bridge.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::bounded;
use crate::execution::HeldExecution;
use crate::negotiation::Features;
use crate::number;
use crate::reports::{
    ExecutionAccepted, ExecutionComplete, ExecutionFailed, ExecutionProgress, ExecutionQueued,
};
use crate::rotation::{CredentialFailed, CredentialPromoted, CredentialProve, CredentialStaged};
use crate::word::words;

/// A message from an agent to its bridge.
#[derive(Debug, Clone)]
pub enum AgentMessage {
    /// `device:register`
    Register(Register),
    /// `device:reconnect`
    Reconnect(Reconnect),
    /// `device:heartbeat`
    Heartbeat(Heartbeat),
    /// `device:pong`
    Pong(Pong),
    /// `capabilities:result`
    Capabilities(CapabilitiesResult),
    /// `execution:queued`
    Queued(ExecutionQueued),
    /// `execution:accepted`
    Accepted(ExecutionAccepted),
    /// `execution:progress`
    Progress(ExecutionProgress),
    /// `execution:complete`
    Complete(ExecutionComplete),
    /// `execution:failed`
    Failed(ExecutionFailed),
    /// `credential:staged` ([`Feature::Rotation`](crate::Feature::Rotation))
    CredentialStaged(CredentialStaged),
    /// `credential:failed`
    CredentialFailed(CredentialFailed),
    /// `credential:prove`
    CredentialProve(CredentialProve),
    /// `credential:promoted`
    CredentialPromoted(CredentialPromoted),
    /// `browser:*`, `desktop:*`, `vscode:*`, `mobile:*`, `rpi:*`
    Forwarded(Forwarded),
    /// `audit:head` ([`Feature::AuditAnchor`](crate::Feature::AuditAnchor))
    AuditHead(AuditHead),
}

/// The device says what it is. Sent once per socket.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Register {
    /// Name that a person gave the device.
    #[serde(default, deserialize_with = "bounded::name", skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// Host name.
    #[serde(default, deserialize_with = "bounded::name", skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Operating system.
    #[serde(default, deserialize_with = "bounded::name", skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// What the device can do: booleans, or mixed values since agent 2.4.
    #[serde(default, deserialize_with = "object_or_empty")]
    pub capabilities: Map<String, Value>,
    /// Kind of device.
    #[serde(default, deserialize_with = "device_type")]
    pub device_type: DeviceType,
    /// Hardware facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_info: Option<SystemInfo>,
    /// Most tasks at once.
    #[serde(default, deserialize_with = "number::fitting", skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// Version of the agent.
    #[serde(default, deserialize_with = "bounded::name", skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Protocol version; 0 for a peer that names none.
    #[serde(default, deserialize_with = "number::or_zero", skip_serializing_if = "number::is_zero")]
    pub protocol: u32,
    /// Extensions that the agent knows.
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    pub features: Features,
    /// Executions that this process holds ([`Feature::Resume`](crate::Feature::Resume)).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executions: Vec<HeldExecution>,
}

/// Kind of device. An unknown word counts as [`DeviceType::Cli`], as the forge's table has no place for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceType {
    /// The command-line agent.
    #[default]
    Cli,
    /// A browser extension.
    Browser,
    /// A desktop program.
    Desktop,
    /// An editor extension.
    Vscode,
    /// An Android app.
    Android,
    /// An iOS app.
    Ios,
    /// A Raspberry Pi.
    Rpi,
}

words! { DeviceType, from_wire:
    Cli = "cli",
    Browser = "browser",
    Desktop = "desktop",
    Vscode = "vscode",
    Android = "android",
    Ios = "ios",
    Rpi = "rpi",
}

impl DeviceType {
    /// The forge's category of this kind: `agent_devices.device_category`.
    pub fn category(self) -> &'static str {
        match self {
            Self::Cli | Self::Desktop | Self::Vscode => "compute",
            Self::Browser => "browser",
            Self::Android | Self::Ios => "mobile",
            Self::Rpi => "iot",
        }
    }
}

/// The word names no kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of device")]
pub struct ParseDeviceTypeError;

impl FromStr for DeviceType {
    type Err = ParseDeviceTypeError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::from_wire(word).ok_or(ParseDeviceTypeError)
    }
}

fn device_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DeviceType, D::Error> {
    let word = bounded::name(deserializer)?;
    Ok(word
        .as_deref()
        .and_then(DeviceType::from_wire)
        .unwrap_or_default())
}

/// Hardware facts of a registration; each may be missing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemInfo {
    /// Processor architecture, in Node's spelling (`x64`, `arm64`).
    #[serde(default, deserialize_with = "bounded::name", skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Logical processors.
    #[serde(default, deserialize_with = "number::fitting", skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<u32>,
    /// Memory in MiB.
    #[serde(
        default,
        rename = "totalMemoryMB",
        deserialize_with = "number::fitting",
        skip_serializing_if = "Option::is_none"
    )]
    pub total_memory_mb: Option<u64>,
    /// Version of Node, from agents that run on it.
    #[serde(default, deserialize_with = "bounded::name", skip_serializing_if = "Option::is_none")]
    pub node_version: Option<String>,
}

/// The device comes back on a new socket under the id it was given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconnect {
    /// The id; a bridge answers `MISSING_DEVICE_ID` where it is missing.
    #[serde(default, deserialize_with = "bounded::optional_id", skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Protocol version; 0 for a peer that names none.
    #[serde(default, deserialize_with = "number::or_zero", skip_serializing_if = "number::is_zero")]
    pub protocol: u32,
    /// Extensions that the agent knows.
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    pub features: Features,
    /// Executions that this process holds ([`Feature::Resume`](crate::Feature::Resume)).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executions: Vec<HeldExecution>,
}

/// The device is alive. Sent every 30 s.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// Executions that run at the moment.
    #[serde(default, deserialize_with = "number::or_zero")]
    pub active_executions: u32,
    /// Load facts: an object, or the number 0 from the oldest agents.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub load: Value,
    /// Executions that wait.
    #[serde(default, deserialize_with = "number::fitting", skip_serializing_if = "Option::is_none")]
    pub queued_tasks: Option<u32>,
    /// Free memory in MiB.
    #[serde(
        default,
        rename = "freeMemoryMB",
        deserialize_with = "number::fitting",
        skip_serializing_if = "Option::is_none"
    )]
    pub free_memory_mb: Option<u64>,
    /// Memory in MiB.
    #[serde(
        default,
        rename = "totalMemoryMB",
        deserialize_with = "number::fitting",
        skip_serializing_if = "Option::is_none"
    )]
    pub total_memory_mb: Option<u64>,
    /// Load average over one minute.
    #[serde(default, deserialize_with = "number::fitting", skip_serializing_if = "Option::is_none")]
    pub load_avg1m: Option<f64>,
    /// Load average over five minutes.
    #[serde(default, deserialize_with = "number::fitting", skip_serializing_if = "Option::is_none")]
    pub load_avg5m: Option<f64>,
    /// Seconds since the machine started.
    #[serde(default, deserialize_with = "number::fitting", skip_serializing_if = "Option::is_none")]
    pub uptime: Option<f64>,
    /// Host name (agent 3.x).
    #[serde(default, deserialize_with = "bounded::name", skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Operating system (agent 3.x).
    #[serde(default, deserialize_with = "bounded::name", skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// Name of the device (agent 3.x).
    #[serde(default, deserialize_with = "bounded::name", skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// Capabilities (agent 3.x).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Map<String, Value>>,
}

/// Answer to `device:ping`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Pong {
    /// The device's clock, in milliseconds since the Unix epoch.
    #[serde(default, deserialize_with = "number::or_zero")]
    pub ts: f64,
}

/// Answer to `capabilities:scan`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapabilitiesResult {
    /// What the device can do.
    #[serde(default, deserialize_with = "object_or_empty")]
    pub capabilities: Map<String, Value>,
    /// Host name.
    #[serde(default, deserialize_with = "bounded::name", skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Operating system.
    #[serde(default, deserialize_with = "bounded::name", skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// Name of the device.
    #[serde(default, deserialize_with = "bounded::name", skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
}

/// The newest line of the device's audit log. Kept by the bridge, it shows a log whose end was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// Number of the line; it only grows.
    pub seq: u64,
    /// What the log is chained by at that line: [`AUDIT_HEAD_LEN`](crate::AUDIT_HEAD_LEN) lower-case hex digits.
    #[serde(deserialize_with = "bounded::hex_digest")]
    pub head: String,
}

/// A message of another kind of device (`browser:*`, `desktop:*`, `vscode:*`, `mobile:*`, `rpi:*`): the bridge passes
/// it on as progress of that device's running executions.
#[derive(Debug, Clone)]
pub struct Forwarded {
    /// The whole type.
    pub kind: String,
    /// The payload as it came.
    pub payload: Box<RawValue>,
}

impl Forwarded {
    /// Whether a message type is one that the bridge passes on.
    pub fn is_forwarded(kind: &str) -> bool {
        ["browser:", "desktop:", "vscode:", "mobile:", "rpi:"]
            .iter()
            .any(|prefix| kind.starts_with(prefix))
    }
}

/// `null` and a missing field are no capabilities.
fn object_or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
