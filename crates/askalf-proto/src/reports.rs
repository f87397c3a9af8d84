//! What a device reports about its executions.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::bounded;
use crate::execution::{Cause, Executor, OutputStream};
use crate::number;

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
    #[serde(default, deserialize_with = "Executor::optional", skip_serializing_if = "Option::is_none")]
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

/// Every spelling, as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProgressWire {
    #[serde(deserialize_with = "bounded::id")]
    execution_id: String,
    #[serde(default, deserialize_with = "bounded::name")]
    progress_type: Option<String>,
    #[serde(default, deserialize_with = "text_or_json")]
    data: Option<String>,
    #[serde(default, deserialize_with = "number::fitting")]
    bytes: Option<u64>,
    #[serde(default)]
    chunk: Option<String>,
    #[serde(default, deserialize_with = "number::fitting")]
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

/// The one spelling that is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProgressOut<'a> {
    execution_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<f64>,
}

impl Serialize for ExecutionProgress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (progress_type, data, progress) = match &self.chunk {
            ProgressChunk::Output { progress_type, data } => {
                (Some(progress_type.as_str()), Some(data.as_str()), None)
            }
            ProgressChunk::Chunk { chunk, .. } => {
                (Some(OutputStream::Stdout.as_str()), Some(chunk.as_str()), None)
            }
            ProgressChunk::Level(level) => (None, None, Some(*level)),
            ProgressChunk::Nothing => (None, None, None),
        };
        ProgressOut {
            execution_id: &self.execution_id,
            progress_type,
            data,
            progress,
        }
        .serialize(serializer)
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
    #[serde(default, deserialize_with = "Executor::optional", skip_serializing_if = "Option::is_none")]
    pub executor: Option<Executor>,
    /// Exit status, where the task exited.
    #[serde(default, deserialize_with = "number::fitting", skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Number of the signal that ended the task.
    #[serde(default, deserialize_with = "number::fitting", skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// How it came to its end; one that we do not know counts as none.
    #[serde(default, deserialize_with = "Cause::lenient", skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What the task wrote until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// How long it ran, in milliseconds.
    #[serde(default, deserialize_with = "number::fitting", skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
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
