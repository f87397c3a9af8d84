//! Messages from an agent to its bridge.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::bounded;
use crate::execution::{Cause, Executor, HeldExecution, OutputStream};
use crate::negotiation::Features;
use crate::number;

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
    /// `browser:*`, `desktop:*`, `vscode:*`, `mobile:*`, `rpi:*`
    Forwarded(Forwarded),
}

/// The device says what it is. Sent once per socket.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Register {
    /// Name that a person gave the device.
    #[serde(
        default,
        deserialize_with = "bounded::name",
        skip_serializing_if = "Option::is_none"
    )]
    pub device_name: Option<String>,
    /// Host name.
    #[serde(
        default,
        deserialize_with = "bounded::name",
        skip_serializing_if = "Option::is_none"
    )]
    pub hostname: Option<String>,
    /// Operating system.
    #[serde(
        default,
        deserialize_with = "bounded::name",
        skip_serializing_if = "Option::is_none"
    )]
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
    #[serde(
        default,
        deserialize_with = "number::fitting",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_concurrent: Option<u32>,
    /// Version of the agent.
    #[serde(
        default,
        deserialize_with = "bounded::name",
        skip_serializing_if = "Option::is_none"
    )]
    pub version: Option<String>,
    /// Protocol version; 0 for a peer that names none.
    #[serde(
        default,
        deserialize_with = "number::or_zero",
        skip_serializing_if = "is_zero"
    )]
    pub protocol: u32,
    /// Extensions that the agent knows.
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    pub features: Features,
    /// Executions that this process holds ([`Feature::Resume`](crate::Feature::Resume)).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executions: Vec<HeldExecution>,
}

/// Kind of device. An unknown word counts as [`DeviceType::Cli`], as the forge's table has no place for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
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

impl DeviceType {
    const ALL: [Self; 7] = [
        Self::Cli,
        Self::Browser,
        Self::Desktop,
        Self::Vscode,
        Self::Android,
        Self::Ios,
        Self::Rpi,
    ];

    /// The kind as it stands on the wire and in `agent_devices.device_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Browser => "browser",
            Self::Desktop => "desktop",
            Self::Vscode => "vscode",
            Self::Android => "android",
            Self::Ios => "ios",
            Self::Rpi => "rpi",
        }
    }

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
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or(ParseDeviceTypeError)
    }
}

fn device_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DeviceType, D::Error> {
    let word = bounded::name(deserializer)?;
    Ok(word.and_then(|word| word.parse().ok()).unwrap_or_default())
}

/// Hardware facts of a registration; each may be missing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemInfo {
    /// Processor architecture, in Node's spelling (`x64`, `arm64`).
    #[serde(
        default,
        deserialize_with = "bounded::name",
        skip_serializing_if = "Option::is_none"
    )]
    pub arch: Option<String>,
    /// Logical processors.
    #[serde(
        default,
        deserialize_with = "number::fitting",
        skip_serializing_if = "Option::is_none"
    )]
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
    #[serde(
        default,
        deserialize_with = "bounded::name",
        skip_serializing_if = "Option::is_none"
    )]
    pub node_version: Option<String>,
}

/// The device comes back on a new socket under the id it was given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconnect {
    /// The id; a bridge answers `MISSING_DEVICE_ID` where it is missing.
    #[serde(
        default,
        deserialize_with = "bounded::optional_id",
        skip_serializing_if = "Option::is_none"
    )]
    pub device_id: Option<String>,
    /// Protocol version; 0 for a peer that names none.
    #[serde(
        default,
        deserialize_with = "number::or_zero",
        skip_serializing_if = "is_zero"
    )]
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
    #[serde(
        default,
        deserialize_with = "number::fitting",
        skip_serializing_if = "Option::is_none"
    )]
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
    #[serde(
        default,
        deserialize_with = "number::fitting",
        skip_serializing_if = "Option::is_none"
    )]
    pub load_avg1m: Option<f64>,
    /// Load average over five minutes.
    #[serde(
        default,
        deserialize_with = "number::fitting",
        skip_serializing_if = "Option::is_none"
    )]
    pub load_avg5m: Option<f64>,
    /// Seconds since the machine started.
    #[serde(
        default,
        deserialize_with = "number::fitting",
        skip_serializing_if = "Option::is_none"
    )]
    pub uptime: Option<f64>,
    /// Host name (agent 3.x).
    #[serde(
        default,
        deserialize_with = "bounded::name",
        skip_serializing_if = "Option::is_none"
    )]
    pub hostname: Option<String>,
    /// Operating system (agent 3.x).
    #[serde(
        default,
        deserialize_with = "bounded::name",
        skip_serializing_if = "Option::is_none"
    )]
    pub os: Option<String>,
    /// Name of the device (agent 3.x).
    #[serde(
        default,
        deserialize_with = "bounded::name",
        skip_serializing_if = "Option::is_none"
    )]
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
    #[serde(
        default,
        deserialize_with = "bounded::name",
        skip_serializing_if = "Option::is_none"
    )]
    pub hostname: Option<String>,
    /// Operating system.
    #[serde(
        default,
        deserialize_with = "bounded::name",
        skip_serializing_if = "Option::is_none"
    )]
    pub os: Option<String>,
    /// Name of the device.
    #[serde(
        default,
        deserialize_with = "bounded::name",
        skip_serializing_if = "Option::is_none"
    )]
    pub device_name: Option<String>,
}

/// The task waits for a free place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionQueued {
    /// The execution.
    #[serde(deserialize_with = "bounded::id")]
    pub execution_id: String,
    /// Place in the queue, from 1.
    #[serde(default, deserialize_with = "number::or_zero")]
    pub position: u32,
}

/// The device took the task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionAccepted {
    /// The execution.
    #[serde(deserialize_with = "bounded::id")]
    pub execution_id: String,
    /// What runs it.
    #[serde(
        default,
        deserialize_with = "Executor::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub executor: Option<Executor>,
}

/// A piece of news from a running task.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionProgress {
    /// The execution.
    pub execution_id: String,
    /// What is new.
    pub chunk: ProgressChunk,
}

/// What an `execution:progress` carries; each generation has a spelling of its own.
#[derive(Debug, Clone, PartialEq)]
pub enum ProgressChunk {
    /// Output: `progressType` and `data`. The only spelling that we write.
    Output {
        /// `stdout`, `stderr`, or a word of another peer.
        progress_type: String,
        /// The text.
        data: String,
    },
    /// Output without a stream: `chunk` and `bytes` (agent 2.0).
    Chunk {
        /// Bytes so far, if told.
        bytes: Option<u64>,
        /// The text.
        chunk: String,
    },
    /// A number that says how far it is: `progress`.
    Level(f64),
    /// News of a spelling that we do not know.
    Nothing,
}

impl ExecutionProgress {
    /// A piece of output.
    pub fn output(execution_id: impl Into<String>, stream: OutputStream, data: impl Into<String>) -> Self {
        Self {
            execution_id: execution_id.into(),
            chunk: ProgressChunk::Output {
                progress_type: stream.as_str().to_owned(),
                data: data.into(),
            },
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProgressWire {
    #[serde(deserialize_with = "bounded::id")]
    execution_id: String,
    #[serde(
        default,
        deserialize_with = "bounded::name",
        skip_serializing_if = "Option::is_none"
    )]
    progress_type: Option<String>,
    #[serde(
        default,
        deserialize_with = "text_or_json",
        skip_serializing_if = "Option::is_none"
    )]
    data: Option<String>,
    #[serde(
        default,
        deserialize_with = "number::fitting",
        skip_serializing_if = "Option::is_none"
    )]
    bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chunk: Option<String>,
    #[serde(
        default,
        deserialize_with = "number::fitting",
        skip_serializing_if = "Option::is_none"
    )]
    progress: Option<f64>,
}

impl<'de> Deserialize<'de> for ExecutionProgress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = ProgressWire::deserialize(deserializer)?;
        let chunk = match (wire.data, wire.chunk, wire.progress) {
            (Some(data), _, _) => ProgressChunk::Output {
                progress_type: wire
                    .progress_type
                    .unwrap_or_else(|| OutputStream::Stdout.as_str().to_owned()),
                data,
            },
            (None, Some(chunk), _) => ProgressChunk::Chunk {
                bytes: wire.bytes,
                chunk,
            },
            (None, None, Some(level)) => ProgressChunk::Level(level),
            (None, None, None) => ProgressChunk::Nothing,
        };
        Ok(Self {
            execution_id: wire.execution_id,
            chunk,
        })
    }
}

impl Serialize for ExecutionProgress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut wire = ProgressWire {
            execution_id: self.execution_id.clone(),
            progress_type: None,
            data: None,
            bytes: None,
            chunk: None,
            progress: None,
        };
        match &self.chunk {
            ProgressChunk::Output { progress_type, data } => {
                wire.progress_type = Some(progress_type.clone());
                wire.data = Some(data.clone());
            }
            ProgressChunk::Chunk { chunk, .. } => {
                wire.progress_type = Some(OutputStream::Stdout.as_str().to_owned());
                wire.data = Some(chunk.clone());
            }
            ProgressChunk::Level(level) => wire.progress = Some(*level),
            ProgressChunk::Nothing => {}
        }
        wire.serialize(serializer)
    }
}

/// The task exited with status 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "CompleteWire")]
pub struct ExecutionComplete {
    /// The execution.
    pub execution_id: String,
    /// What the task wrote.
    pub output: String,
    /// Cost in US dollars.
    pub cost: f64,
    /// Turns of a model.
    pub turns: u32,
    /// Tokens read by a model: `inputTokens`, or `tokensIn` from agent 2.x.
    pub input_tokens: u64,
    /// Tokens written by a model: `outputTokens`, or `tokensOut` from agent 2.x.
    pub output_tokens: u64,
    /// What ran it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor: Option<Executor>,
    /// How long it ran, in milliseconds.
    pub duration_ms: u64,
}

/// Both spellings of the token counts: some agents send the two together.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CompleteWire {
    #[serde(deserialize_with = "bounded::id")]
    execution_id: String,
    #[serde(default, deserialize_with = "text_or_empty")]
    output: String,
    #[serde(default, deserialize_with = "number::or_zero")]
    cost: f64,
    #[serde(default, deserialize_with = "number::or_zero")]
    turns: u32,
    #[serde(default, deserialize_with = "number::fitting")]
    input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "number::fitting")]
    tokens_in: Option<u64>,
    #[serde(default, deserialize_with = "number::fitting")]
    output_tokens: Option<u64>,
    #[serde(default, deserialize_with = "number::fitting")]
    tokens_out: Option<u64>,
    #[serde(default, deserialize_with = "Executor::optional")]
    executor: Option<Executor>,
    #[serde(default, deserialize_with = "number::or_zero")]
    duration_ms: u64,
}

impl From<CompleteWire> for ExecutionComplete {
    fn from(wire: CompleteWire) -> Self {
        Self {
            execution_id: wire.execution_id,
            output: wire.output,
            cost: wire.cost,
            turns: wire.turns,
            input_tokens: wire.input_tokens.or(wire.tokens_in).unwrap_or_default(),
            output_tokens: wire.output_tokens.or(wire.tokens_out).unwrap_or_default(),
            executor: wire.executor,
            duration_ms: wire.duration_ms,
        }
    }
}

/// The task ended in any other way. All but `executionId`, `error` and `executor` are ours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionFailed {
    /// The execution.
    #[serde(deserialize_with = "bounded::id")]
    pub execution_id: String,
    /// What went wrong, for a person.
    #[serde(default, deserialize_with = "text_or_empty")]
    pub error: String,
    /// What ran it.
    #[serde(
        default,
        deserialize_with = "Executor::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub executor: Option<Executor>,
    /// Exit status, where the task exited.
    #[serde(
        default,
        deserialize_with = "number::fitting",
        skip_serializing_if = "Option::is_none"
    )]
    pub exit_code: Option<i32>,
    /// Number of the signal that ended the task.
    #[serde(
        default,
        deserialize_with = "number::fitting",
        skip_serializing_if = "Option::is_none"
    )]
    pub signal: Option<i32>,
    /// How it came to its end; one that we do not know counts as none.
    #[serde(
        default,
        deserialize_with = "Cause::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub cause: Option<Cause>,
    /// What the task wrote until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// How long it ran, in milliseconds.
    #[serde(
        default,
        deserialize_with = "number::fitting",
        skip_serializing_if = "Option::is_none"
    )]
    pub duration_ms: Option<u64>,
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

impl fmt::Display for DeviceType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// `null` and a missing field are no capabilities.
fn object_or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Text, or any other JSON value as its text: executors of older agents put objects there.
fn text_or_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

fn text_or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(text_or_json(deserializer)?.unwrap_or_default())
}
