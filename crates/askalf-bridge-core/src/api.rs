//! The HTTP API under `/api/v1`: what requests and answers hold. The server and the command line share these types;
//! field names are those of `--json` listings.
//!
//! | request | answer |
//! |---|---|
//! | `GET /healthz` | 200 `ok`; 503 while no device may come |
//! | `POST /api/v1/keys` [`MintKey`] | 201 [`MintedKeyView`] |
//! | `GET /api/v1/keys?limit=` | [`KeyView`] array |
//! | `POST /api/v1/keys/{id}/revoke` | [`KeyView`] |
//! | `GET /api/v1/devices?limit=` | [`DeviceView`] array |
//! | `POST /api/v1/executions` [`Dispatch`] | 200, NDJSON of [`DispatchEvent`]; with `detach` 202 [`ExecutionView`] |
//! | `GET /api/v1/executions?device=&open=&limit=` | [`ExecutionView`] array, without `output`, and with at most 1024 characters of `input` and `error` |
//! | `GET /api/v1/executions/{id}` | [`ExecutionView`] |
//! | `POST /api/v1/executions/{id}/cancel` | 202 [`ExecutionView`] |
//!
//! Every error is [`ApiError`] with a status of 400, 401, 403, 404, 405, 408, 409, 413, 426, 500 or 503; where a wait is known, 503 has
//! `Retry-After`. `limit` is 100 where it is missing, and at most 1000.

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
    /// Its id.
    pub id: String,
    /// What a person calls it.
    pub name: String,
    /// The first characters of its token, by which it is found in a log.
    pub key_prefix: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// `active` or `revoked`.
    pub status: String,
    /// The user that owns it.
    pub user_id: Option<String>,
    /// Tenant of its user.
    pub tenant_id: String,
    /// The one device that it is bound to, if any.
    pub device_id: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// When it ends; never where there is none.
    pub expires_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// When it was last used.
    pub last_used_at: Option<String>,
    /// How often it was used.
    pub usage_count: u64,
}

/// A device as listings show it. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceView {
    /// `dev_` and a ULID.
    pub id: String,
    /// Its name.
    pub device_name: String,
    /// `online`, `offline` or `busy`; `offline` while no bridge is open.
    pub status: String,
    /// Host name.
    pub hostname: Option<String>,
    /// Operating system.
    pub os: Option<String>,
    /// Kind of device, in the forge's word.
    pub device_type: String,
    /// Most tasks at once.
    pub max_concurrent_tasks: u32,
    /// The user that it belongs to.
    pub user_id: String,
    /// The key that it registered with.
    pub api_key_id: String,
    /// What it says it can do.
    pub platform_capabilities: serde_json::Map<String, serde_json::Value>,
    /// When it was last heard.
    pub last_seen_at: Option<String>,
    /// When it first registered.
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
        /// `stdout` or `stderr`; the message type (`browser:...`) for news of another kind of device.
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
        /// The execution as it is now. Its `output` is here only where none was streamed, cut to 1 MiB.
        execution: Box<ExecutionView>,
    },
}

/// An execution as listings show it. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionView {
    /// `exec_` and a ULID.
    pub id: String,
    /// `pending`, `running`, `completed`, `failed`, `cancelled` or `timeout`.
    pub status: String,
    /// How it came to its end: `exit`, `signal`, `timeout`, `cancelled`, `interrupted`, `expired` or `refused`.
    pub cause: Option<String>,
    /// Exit status, where it exited.
    pub exit_code: Option<i32>,
    /// Number of the signal that ended it.
    pub signal: Option<i32>,
    /// The device that runs it.
    pub device_id: Option<String>,
    /// The user that it belongs to.
    pub owner_id: String,
    /// What runs it.
    pub executor: Option<String>,
    /// What was to be done; in a listing the first 1024 characters.
    pub input: String,
    /// What it wrote, up to the agent's cap; absent in a listing.
    pub output: Option<String>,
    /// What went wrong, for a person.
    pub error: Option<String>,
    /// Cost in US dollars.
    pub cost: f64,
    /// Turns of a model.
    pub turns: u32,
    /// Tokens read by a model.
    pub input_tokens: u64,
    /// Tokens written by a model.
    pub output_tokens: u64,
    /// How long it ran, in milliseconds.
    pub duration_ms: Option<u64>,
    /// When it was added.
    pub created_at: String,
    /// When the device began.
    pub started_at: Option<String>,
    /// When it ended.
    pub completed_at: Option<String>,
}
