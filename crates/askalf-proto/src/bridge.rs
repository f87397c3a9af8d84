//! Messages from a bridge to an agent.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::bounded;
use crate::codes::{ErrorCode, Reason};
use crate::execution::Executor;
use crate::negotiation::Features;
use crate::number;
use crate::rotation::{CredentialCommitted, CredentialRotate};

/// A message from a bridge to an agent.
#[derive(Debug, Clone)]
pub enum BridgeMessage {
    /// `device:registered`
    Registered(Registered),
    /// `device:error`
    Error(BridgeError),
    /// `device:ping`
    Ping(Ping),
    /// `capabilities:scan`
    CapabilitiesScan(CapabilitiesScan),
    /// `task:dispatch`
    Dispatch(TaskDispatch),
    /// `task:cancel`
    Cancel(TaskCancel),
    /// `execution:ack` ([`Feature::ExecutionAck`](crate::Feature::ExecutionAck))
    ExecutionAck(ExecutionAck),
    /// `credential:rotate` ([`Feature::Rotation`](crate::Feature::Rotation))
    CredentialRotate(CredentialRotate),
    /// `credential:committed` ([`Feature::Rotation`](crate::Feature::Rotation))
    CredentialCommitted(CredentialCommitted),
}

/// The device is accepted: from here on, and not before, it is online.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// The device's id: `dev_` and a ULID.
    #[serde(deserialize_with = "bounded::id")]
    pub device_id: String,
    /// The user that owns the key.
    #[serde(default, deserialize_with = "bounded::optional_id", skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Protocol version of the bridge; 0 for a forge that names none.
    #[serde(default, deserialize_with = "number::or_zero", skip_serializing_if = "number::is_zero")]
    pub protocol: u32,
    /// Extensions that the bridge knows.
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    pub features: Features,
    /// How often the device should beat, in milliseconds, where the bridge says.
    #[serde(default, deserialize_with = "number::fitting", skip_serializing_if = "Option::is_none")]
    pub heartbeat_interval_ms: Option<u64>,
}

/// The bridge refuses something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BridgeError {
    /// What is refused.
    pub code: ErrorCode,
    /// For a person.
    #[serde(default)]
    pub message: String,
    /// Why, where the bridge tells.
    #[serde(default, deserialize_with = "Reason::lenient", skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// When to try again, in milliseconds from now.
    #[serde(default, deserialize_with = "number::fitting", skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// The bridge asks for a `device:pong`. Its payload may be anything and is not read.
#[derive(Debug, Clone)]
pub struct Ping {
    /// The payload as it came.
    pub payload: Box<RawValue>,
}

/// The bridge asks what the device can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapabilitiesScan {
    /// The device.
    #[serde(default, deserialize_with = "bounded::optional_id", skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
}

/// A task for the device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskDispatch {
    /// The execution, unique over all devices and times.
    #[serde(deserialize_with = "bounded::id")]
    pub execution_id: String,
    /// The forge's agent in whose name it runs.
    #[serde(default, deserialize_with = "bounded::optional_id", skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// That agent's name.
    #[serde(default, deserialize_with = "bounded::name", skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<String>,
    /// What to do. Without it the device refuses the task, and says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Most turns of a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    /// Most cost, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_budget: Option<f64>,
    /// What should run it, in the older word: `auto`, `claude` or `shell`.
    #[serde(default, deserialize_with = "Executor::optional", skip_serializing_if = "Option::is_none")]
    pub mode: Option<Executor>,
    /// What should run it, in the newer word: `claude`, `codex` or `shell`.
    #[serde(default, deserialize_with = "Executor::optional", skip_serializing_if = "Option::is_none")]
    pub executor: Option<Executor>,
    /// Longest run, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Folder to run in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// OAuth material for the Claude command line: secret, never logged, never stored unsealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

impl TaskDispatch {
    /// The executor that is asked for: `executor` where it is given, else `mode`, else [`Executor::Auto`].
    pub fn requested_executor(&self) -> Executor {
        self.executor
            .clone()
            .or_else(|| self.mode.clone())
            .unwrap_or(Executor::Auto)
    }
}

/// Secret material that travels in a `task:dispatch` or a `credential:rotate`. It prints as redacted and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(Zeroizing<String>);

impl Credentials {
    /// Takes hold of the material.
    pub fn new(material: impl Into<String>) -> Self {
        Self(Zeroizing::new(material.into()))
    }

    /// The material itself. Hand it to the program that needs it and to nothing else.
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credentials(redacted)")
    }
}

impl<'de> Deserialize<'de> for Credentials {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Only for the wire: nothing that stores a dispatch may keep its credentials.
impl Serialize for Credentials {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose_secret())
    }
}

/// The device should end an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskCancel {
    /// The execution.
    #[serde(deserialize_with = "bounded::id")]
    pub execution_id: String,
}

/// The bridge has recorded how an execution ended; the device may forget it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionAck {
    /// The execution.
    #[serde(deserialize_with = "bounded::id")]
    pub execution_id: String,
}
