#![doc = include_str!("../README.md")]

mod agent;
mod bounded;
mod bridge;
mod codes;
mod decode;
mod encode;
mod execution;
mod limits;
mod negotiation;
mod number;
mod reports;
mod rotation;
mod text;
mod word;

pub use agent::{
    AgentMessage, AuditHead, CapabilitiesResult, DeviceType, Forwarded, Heartbeat, ParseDeviceTypeError,
    Pong, Reconnect, Register, SystemInfo,
};
pub use bridge::{
    BridgeError, BridgeMessage, CapabilitiesScan, Credentials, ExecutionAck, Ping, Registered, TaskCancel,
    TaskDispatch,
};
pub use codes::{CloseCode, ErrorCode, Reason};
pub use decode::{DecodeError, decode_agent, decode_bridge};
pub use encode::EncodeError;
pub use execution::{Cause, Executor, HeldExecution, HeldState, OutputStream};
pub use limits::{
    AUDIT_HEAD_LEN, MAX_CONTROL_PAYLOAD, MAX_FRAME_IN, MAX_FRAME_OUT, MAX_HELD_EXECUTIONS, MAX_ID, MAX_NAME,
    RESULT_OVERHEAD,
};
pub use negotiation::{Feature, Features, PROTOCOL};
pub use reports::{
    ExecutionAccepted, ExecutionComplete, ExecutionFailed, ExecutionProgress, ExecutionQueued, ProgressChunk,
};
pub use rotation::{
    CredentialCommitted, CredentialFailed, CredentialPromoted, CredentialProve, CredentialRotate,
    CredentialStaged,
};
pub use text::{clip_to_json, json_len, json_prefix, json_suffix, left_out, one_line};

/// Path of the WebSocket endpoint on the bridge.
pub const ENDPOINT_PATH: &str = "/ws/agent-bridge";

/// Subprotocol that a client without control over headers names before its token, and that the bridge selects.
pub const SUBPROTOCOL: &str = "askalf-agent-bridge";
