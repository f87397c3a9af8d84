//! The HTTP API under `/api/v1`: what requests and answers hold. The server and the command line share these types;
//! field names are those of `--json` listings.
//!
//! | request | answer |
//! |---|---|
//! | `GET /healthz` | 200 `ok` |
//! | `POST /api/v1/keys` [`MintKey`] | 201 [`MintedKeyView`] |
//! | `GET /api/v1/keys?limit=` | [`KeyView`] array |
//! | `POST /api/v1/keys/{id}/revoke` | [`KeyView`] |
//! | `GET /api/v1/devices?limit=` | [`DeviceView`] array |
//! | `POST /api/v1/executions` [`Dispatch`] | 200, NDJSON of [`DispatchEvent`]; with `detach` 202 [`ExecutionView`] |
//! | `GET /api/v1/executions?device=&open=&limit=` | [`ExecutionView`] array |
//! | `GET /api/v1/executions/{id}` | [`ExecutionView`] |
//! | `POST /api/v1/executions/{id}/cancel` | 202 [`ExecutionView`] |
//!
//! Every error is [`ApiError`] with a status of 400, 401, 403, 404, 409, 413, 429 or 503.

use serde::{Deserialize, Serialize};

/// Body of every refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// Stable name of the error: `not-found`, `device-offline`, `device-unknown`, `device-ambiguous`, `store-unavailable`, ...
    pub id: String,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

/// A key to mint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintKey {
    /// What a person calls it.
    pub name: String,
    /// The user that owns it, where several exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What it may do; `device` where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// A key that was just minted. The token is in no other answer.
#[derive(Clone, Serialize, Deserialize)]
pub struct MintedKeyView {
    /// Its id.
    pub id: String,
    /// The token: shown once.
    pub key: String,
    /// The first characters of the token.
    pub key_prefix: String,
}

/// A key as listings show it. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    #[allow(missing_docs)]
    pub id: String,
    pub name: String,
    pub key_prefix: String,
    pub scopes: Vec<String>,
    pub status: String,
    pub user_id: Option<String>,
    pub tenant_id: String,
    pub device_id: Option<String>,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub revoked_at: Option<String>,
    pub last_used_at: Option<String>,
    pub usage_count: u64,
}

/// A device as listings show it. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceView {
    pub id: String,
    pub device_name: String,
    pub status: String,
    pub hostname: Option<String>,
    pub os: Option<String>,
    pub device_type: String,
    pub max_concurrent_tasks: u32,
    pub user_id: String,
    pub api_key_id: String,
    pub platform_capabilities: serde_json::Map<String, serde_json::Value>,
    pub last_seen_at: Option<String>,
    pub created_at: String,
}

/// A task for a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dispatch {
    /// Id or unique name of the device.
    pub device: String,
    /// What to do.
    pub input: String,
    /// What runs it; `shell` where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<String>,
    /// Longest run in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Folder to run in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Whether to answer at once and not to stream.
    #[serde(default)]
    pub detach: bool,
}

/// One line of the stream that a dispatch answers with. The first is `accepted`, the last `ended`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum DispatchEvent {
    /// The row is committed.
    Accepted {
        /// The execution.
        id: String,
        /// The device.
        device_id: String,
    },
    /// The device took it.
    Running,
    /// The device queued it.
    Queued {
        /// Place in the queue, from 1.
        position: u32,
    },
    /// A piece of output.
    Output {
        /// `stdout` or `stderr`.
        stream: String,
        /// The text.
        data: String,
    },
    /// This reader was too slow: pieces of output are missing here. The execution's `output` holds them, up to its cap.
    Skipped {
        /// How many events.
        events: u64,
    },
    /// Nothing happened; the connection is alive.
    Idle,
    /// It has ended and is recorded.
    Ended {
        /// The execution as it is now.
        execution: Box<ExecutionView>,
    },
}

/// An execution as listings show it. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionView {
    pub id: String,
    pub status: String,
    pub cause: Option<String>,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub device_id: Option<String>,
    pub owner_id: String,
    pub executor: Option<String>,
    pub input: String,
    pub output: Option<String>,
    pub error: Option<String>,
    pub cost: f64,
    pub turns: u32,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub duration_ms: Option<u64>,
    pub created_at: String,
    pub started_at: Option<String>,
    pub completed_at: Option<String>,
}
