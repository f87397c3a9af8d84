//! From a message to a text frame.

use serde::Serialize;

use crate::agent::AgentMessage;
use crate::bridge::BridgeMessage;
use crate::limits::MAX_FRAME_OUT;

/// Why a message cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The frame would be larger than [`MAX_FRAME_OUT`].
    #[error("{kind}: {bytes} bytes are more than the {MAX_FRAME_OUT} that one frame may have")]
    TooLarge {
        /// The message type.
        kind: String,
        /// The size that the frame would have.
        bytes: usize,
    },
    /// A value in it cannot be written as JSON.
    #[error("{kind} cannot be written as JSON")]
    NotJson {
        /// The message type.
        kind: String,
    },
}

impl EncodeError {
    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "frame-too-large",
            Self::NotJson { .. } => "not-json",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "shorten the text that it carries",
            Self::NotJson { .. } => "check the values that it carries",
        }
    }
}

impl AgentMessage {
    /// The message type.
    pub fn kind(&self) -> &str {
        match self {
            Self::Register(_) => "device:register",
            Self::Reconnect(_) => "device:reconnect",
            Self::Heartbeat(_) => "device:heartbeat",
            Self::Pong(_) => "device:pong",
            Self::Capabilities(_) => "capabilities:result",
            Self::Queued(_) => "execution:queued",
            Self::Accepted(_) => "execution:accepted",
            Self::Progress(_) => "execution:progress",
            Self::Complete(_) => "execution:complete",
            Self::Failed(_) => "execution:failed",
            Self::CredentialStaged(_) => "credential:staged",
            Self::CredentialFailed(_) => "credential:failed",
            Self::CredentialProve(_) => "credential:prove",
            Self::CredentialPromoted(_) => "credential:promoted",
            Self::Forwarded(message) => &message.kind,
            Self::AuditHead(_) => "audit:head",
        }
    }

    /// The frame to send, in the spelling that the forge reads.
    ///
    /// # Errors
    /// [`EncodeError::TooLarge`] where the frame would exceed [`MAX_FRAME_OUT`]; [`EncodeError::NotJson`] where a value in it has no
    /// JSON form, which none of the types of this crate has.
    pub fn encode(&self) -> Result<String, EncodeError> {
        match self {
            Self::Register(payload) => frame(self.kind(), payload),
            Self::Reconnect(payload) => frame(self.kind(), payload),
            Self::Heartbeat(payload) => frame(self.kind(), payload),
            Self::Pong(payload) => frame(self.kind(), payload),
            Self::Capabilities(payload) => frame(self.kind(), payload),
            Self::Queued(payload) => frame(self.kind(), payload),
            Self::Accepted(payload) => frame(self.kind(), payload),
            Self::Progress(payload) => frame(self.kind(), payload),
            Self::Complete(payload) => frame(self.kind(), payload),
            Self::Failed(payload) => frame(self.kind(), payload),
            Self::CredentialStaged(payload) => frame(self.kind(), payload),
            Self::CredentialFailed(payload) => frame(self.kind(), payload),
            Self::CredentialProve(payload) => frame(self.kind(), payload),
            Self::CredentialPromoted(payload) => frame(self.kind(), payload),
            Self::Forwarded(message) => frame(self.kind(), &message.payload),
            Self::AuditHead(payload) => frame(self.kind(), payload),
        }
    }
}

impl BridgeMessage {
    /// The message type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Registered(_) => "device:registered",
            Self::Error(_) => "device:error",
            Self::Ping(_) => "device:ping",
            Self::CapabilitiesScan(_) => "capabilities:scan",
            Self::Dispatch(_) => "task:dispatch",
            Self::Cancel(_) => "task:cancel",
            Self::ExecutionAck(_) => "execution:ack",
            Self::CredentialRotate(_) => "credential:rotate",
            Self::CredentialCommitted(_) => "credential:committed",
        }
    }

    /// The frame to send.
    ///
    /// # Errors
    /// [`EncodeError::TooLarge`] where the frame would exceed [`MAX_FRAME_OUT`]; [`EncodeError::NotJson`] where a value in it has no
    /// JSON form, which none of the types of this crate has.
    pub fn encode(&self) -> Result<String, EncodeError> {
        match self {
            Self::Registered(payload) => frame(self.kind(), payload),
            Self::Error(payload) => frame(self.kind(), payload),
            Self::Ping(message) => frame(self.kind(), &message.payload),
            Self::CapabilitiesScan(payload) => frame(self.kind(), payload),
            Self::Dispatch(payload) => frame(self.kind(), payload),
            Self::Cancel(payload) => frame(self.kind(), payload),
            Self::ExecutionAck(payload) => frame(self.kind(), payload),
            Self::CredentialRotate(payload) => frame(self.kind(), payload),
            Self::CredentialCommitted(payload) => frame(self.kind(), payload),
        }
    }
}

#[derive(Serialize)]
struct Frame<'a, P: Serialize> {
    r#type: &'a str,
    payload: &'a P,
}

fn frame<P: Serialize>(kind: &str, payload: &P) -> Result<String, EncodeError> {
    let text = serde_json::to_string(&Frame {
        r#type: kind,
        payload,
    })
    .map_err(|_| EncodeError::NotJson {
        kind: kind.to_owned(),
    })?;
    if text.len() > MAX_FRAME_OUT {
        return Err(EncodeError::TooLarge {
            kind: kind.to_owned(),
            bytes: text.len(),
        });
    }
    Ok(text)
}
