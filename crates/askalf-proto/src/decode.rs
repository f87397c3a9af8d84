//! From a text frame to a message.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::agent::{AgentMessage, Forwarded};
use crate::bridge::{BridgeMessage, Ping};
use crate::codes::ErrorCode;
use crate::limits::{MAX_CONTROL_PAYLOAD, MAX_FRAME_IN, MAX_HELD_EXECUTIONS, MAX_NAME};
use crate::text::one_line;

/// Why a frame is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame is larger than [`MAX_FRAME_IN`]; it was not read.
    #[error("a frame of {bytes} bytes is larger than the {MAX_FRAME_IN} allowed")]
    FrameTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The frame is not a JSON object with a string `type`.
    #[error("not a message: {detail}")]
    NotAMessage {
        /// What the parser found.
        detail: String,
    },
    /// The type is not one of this wire.
    #[error("unknown message type {kind}")]
    UnknownType {
        /// The type, on one line.
        kind: String,
    },
    /// The payload of a small message is larger than [`MAX_CONTROL_PAYLOAD`], or lists more than it may.
    #[error("the payload of {kind} is larger than allowed")]
    PayloadTooLarge {
        /// The type.
        kind: String,
    },
    /// The payload does not fit the type.
    #[error("the payload of {kind} is not valid: {detail}")]
    InvalidPayload {
        /// The type.
        kind: String,
        /// What does not fit.
        detail: String,
        /// The execution that the message names, where that much can be read: the peer may be waiting for an
        /// answer about it.
        execution_id: Option<String>,
    },
}

impl DecodeError {
    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::FrameTooLarge { .. } => "frame-too-large",
            Self::NotAMessage { .. } => "not-a-message",
            Self::UnknownType { .. } => "unknown-type",
            Self::PayloadTooLarge { .. } => "payload-too-large",
            Self::InvalidPayload { .. } => "invalid-payload",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::FrameTooLarge { .. } | Self::PayloadTooLarge { .. } => "send it in smaller parts",
            Self::NotAMessage { .. } => {
                "send one JSON object {\"type\": ..., \"payload\": {...}} per text frame"
            }
            Self::UnknownType { .. } => "leave it out, or upgrade the peer that does not know it",
            Self::InvalidPayload { .. } => "compare the payload with docs/protocol.md",
        }
    }

    /// The code with which a bridge answers such a frame.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::UnknownType { .. } => ErrorCode::UnknownType,
            Self::FrameTooLarge { .. }
            | Self::NotAMessage { .. }
            | Self::PayloadTooLarge { .. }
            | Self::InvalidPayload { .. } => ErrorCode::InvalidJson,
        }
    }
}

/// Reads a frame that came from an agent.
///
/// # Errors
/// [`DecodeError`] says what is wrong with it; none of them needs the connection to end.
pub fn decode_agent(frame: &str) -> Result<AgentMessage, DecodeError> {
    let envelope = Envelope::parse(frame)?;
    Ok(match envelope.kind.as_ref() {
        "device:register" => {
            let register: crate::Register = envelope.small()?;
            envelope.bounded_list(register.executions.len())?;
            AgentMessage::Register(register)
        }
        "device:reconnect" => {
            let reconnect: crate::Reconnect = envelope.small()?;
            envelope.bounded_list(reconnect.executions.len())?;
            AgentMessage::Reconnect(reconnect)
        }
        "device:heartbeat" => AgentMessage::Heartbeat(envelope.small()?),
        "device:pong" => AgentMessage::Pong(envelope.small()?),
        "capabilities:result" => AgentMessage::Capabilities(envelope.small()?),
        "execution:queued" => AgentMessage::Queued(envelope.small()?),
        "execution:accepted" => AgentMessage::Accepted(envelope.small()?),
        "execution:progress" => AgentMessage::Progress(envelope.payload()?),
        "execution:complete" => AgentMessage::Complete(envelope.payload()?),
        "execution:failed" => AgentMessage::Failed(envelope.payload()?),
        "audit:head" => AgentMessage::AuditHead(envelope.small()?),
        "credential:staged" => AgentMessage::CredentialStaged(envelope.small()?),
        "credential:failed" => AgentMessage::CredentialFailed(envelope.small()?),
        "credential:prove" => AgentMessage::CredentialProve(envelope.small()?),
        "credential:promoted" => AgentMessage::CredentialPromoted(envelope.small()?),
        kind if Forwarded::is_forwarded(kind) && kind.len() <= MAX_NAME => {
            AgentMessage::Forwarded(Forwarded {
                kind: kind.to_owned(),
                payload: envelope.raw(),
            })
        }
        _ => return Err(envelope.unknown()),
    })
}

/// Reads a frame that came from a bridge.
///
/// # Errors
/// [`DecodeError`] says what is wrong with it; none of them needs the connection to end.
pub fn decode_bridge(frame: &str) -> Result<BridgeMessage, DecodeError> {
    let envelope = Envelope::parse(frame)?;
    Ok(match envelope.kind.as_ref() {
        "device:registered" => BridgeMessage::Registered(envelope.small()?),
        "device:error" => BridgeMessage::Error(envelope.small()?),
        "device:ping" => BridgeMessage::Ping(Ping {
            payload: envelope.small_raw()?,
        }),
        "capabilities:scan" => BridgeMessage::CapabilitiesScan(envelope.small()?),
        "task:dispatch" => BridgeMessage::Dispatch(envelope.payload()?),
        "task:cancel" => BridgeMessage::Cancel(envelope.small()?),
        "execution:ack" => BridgeMessage::ExecutionAck(envelope.small()?),
        "credential:rotate" => BridgeMessage::CredentialRotate(envelope.small()?),
        "credential:committed" => BridgeMessage::CredentialCommitted(envelope.small()?),
        _ => return Err(envelope.unknown()),
    })
}

/// A message whose payload is not read yet: it borrows the frame.
#[derive(Deserialize)]
struct Envelope<'frame> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'frame, str>,
    #[serde(borrow, default)]
    payload: Option<&'frame RawValue>,
}

impl<'frame> Envelope<'frame> {
    fn parse(frame: &'frame str) -> Result<Self, DecodeError> {
        if frame.len() > MAX_FRAME_IN {
            return Err(DecodeError::FrameTooLarge { bytes: frame.len() });
        }
        // A derived reader would take an array for a struct.
        if !frame.trim_ascii_start().starts_with('{') {
            return Err(DecodeError::NotAMessage {
                detail: "the frame is not a JSON object".to_owned(),
            });
        }
        serde_json::from_str(frame).map_err(|error| DecodeError::NotAMessage {
            detail: describe(&error),
        })
    }

    /// The payload as text; a missing one and `null` count as an empty object.
    fn text(&self) -> &'frame str {
        match self.payload.map(RawValue::get) {
            None | Some("null") => "{}",
            Some(text) => text,
        }
    }

    fn payload<T: Deserialize<'frame>>(&self) -> Result<T, DecodeError> {
        let text = self.text();
        let invalid = |detail| DecodeError::InvalidPayload {
            kind: one_line(&self.kind),
            detail,
            execution_id: execution_id(text),
        };
        if !text.starts_with('{') {
            return Err(invalid("it is not an object".to_owned()));
        }
        serde_json::from_str(text).map_err(|error| invalid(describe(&error)))
    }

    /// The payload of a message that has no business being large.
    fn small<T: Deserialize<'frame>>(&self) -> Result<T, DecodeError> {
        self.check_small()?;
        self.payload()
    }

    fn small_raw(&self) -> Result<Box<RawValue>, DecodeError> {
        self.check_small()?;
        Ok(self.raw())
    }

    fn raw(&self) -> Box<RawValue> {
        self.payload.unwrap_or(RawValue::NULL).to_owned()
    }

    fn check_small(&self) -> Result<(), DecodeError> {
        self.within(self.text().len() <= MAX_CONTROL_PAYLOAD)
    }

    fn bounded_list(&self, length: usize) -> Result<(), DecodeError> {
        self.within(length <= MAX_HELD_EXECUTIONS)
    }

    fn within(&self, fits: bool) -> Result<(), DecodeError> {
        if fits {
            Ok(())
        } else {
            Err(DecodeError::PayloadTooLarge {
                kind: one_line(&self.kind),
            })
        }
    }

    fn unknown(&self) -> DecodeError {
        DecodeError::UnknownType {
            kind: one_line(&self.kind),
        }
    }
}

/// The execution that a payload names, read by itself when the rest of it does not fit.
fn execution_id(payload: &str) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        #[serde(deserialize_with = "crate::bounded::id")]
        execution_id: String,
    }
    serde_json::from_str::<Named>(payload)
        .ok()
        .map(|named| named.execution_id)
}

/// What the parser says, on one line. What it says of a value that does not fit is left out: it quotes that value,
/// which may be secret.
fn describe(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => "a field is missing, too long or of another type".to_owned(),
        _ => one_line(&error.to_string()),
    }
}
