//! The HTTP API under `/api/v1`: what requests and answers hold. The server and the command line share these types;
//! field names are those of `--json` listings.
//!
//! | request | answer |
//! |---|---|
//! | `GET /healthz` | 200 `ok`; 503 while no device may come |
//! | `GET /metrics` | 200, the numbers of [`StatusView`] in Prometheus' text format; with an operator's key |
//! | `GET /api/v1/status` | [`StatusView`] |
//! | `POST /api/v1/keys` [`MintKey`] | 201 [`MintedKeyView`] |
//! | `POST /api/v1/keys/import` [`ImportKey`] | 201 [`KeyView`] |
//! | `POST /api/v1/keys/repair` [`RepairKey`] | 200, NDJSON of [`RepairEvent`]; the local admin alone |
//! | `GET /api/v1/keys?limit=` | [`KeyView`] array |
//! | `GET /api/v1/keys/{id}` | [`KeyView`] |
//! | `POST /api/v1/keys/{id}/revoke` | [`KeyView`] |
//! | `POST /api/v1/keys/{id}/rotate` [`RotateKey`] | 201 [`MintedKeyView`] |
//! | `GET /api/v1/attempts?prefix=&limit=` | [`AttemptView`] array; empty but for the local admin |
//! | `GET /api/v1/acts?limit=` | [`ActView`] array |
//! | `POST /api/v1/users` [`AddUser`] | 201 [`UserView`]; the local admin alone |
//! | `GET /api/v1/users?limit=` | [`UserView`] array |
//! | `POST /api/v1/pair-codes` [`MakePairCode`] | 201 [`NewPairCodeView`] |
//! | `GET /api/v1/pair-codes?limit=` | [`PairCodeView`] array |
//! | `POST /api/v1/pair-codes/{id}/withdraw` | 204 |
//! | `POST /api/v1/pair` [`Pair`] | 200 [`Paired`]; without a key, by TLS or from the bridge's machine alone |
//! | `GET /api/v1/devices?limit=` | [`DeviceView`] array |
//! | `GET /api/v1/devices/{device}` | [`DeviceView`]; `device`, here and below, is an id or a unique name |
//! | `DELETE /api/v1/devices/{device}` | [`DeviceView`] as it was |
//! | `POST /api/v1/devices/{device}/disconnect` | 202 [`DeviceView`] |
//! | `POST /api/v1/devices/{device}/rotate` | 202 [`RotationView`]: a new key is on its way over the device's connection |
//! | `GET /api/v1/rotations?limit=` | [`RotationView`] array |
//! | `POST /api/v1/executions` [`Dispatch`] | 200, NDJSON of [`DispatchEvent`]; with `detach` 202 [`ExecutionView`] |
//! | `GET /api/v1/executions?device=&open=&limit=` | [`ExecutionView`] array, without `output`, and with at most 1024 characters of `input` and `error` |
//! | `GET /api/v1/executions/{id}` | [`ExecutionView`] |
//! | `GET /api/v1/executions/{id}/events` | 200, NDJSON of [`DispatchEvent`], from now on |
//! | `POST /api/v1/executions/{id}/cancel` | 202 [`ExecutionView`] |
//!
//! Dashboards of the forge find their paths under `/api/v1/forge`: `GET devices`, `devices/summary` and `devices/{id}`, `DELETE
//! devices/{id}`, `POST devices/{id}/disconnect` and `api-keys/{id}/rotate`, in the shapes that they read.
//!
//! Every error is [`ApiError`] with a status of 400, 401, 403, 404, 405, 408, 409, 413, 426, 429, 500 or 503; where a wait is known, 429 and 503
//! have `Retry-After`. `limit` is 100 where it is missing, and at most 1000.

use std::collections::BTreeMap;

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

/// How the bridge is doing. Counts are from the start of the process; none of them names anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// Version of the bridge.
    pub version: String,
    /// `idle` (not open for devices), `open`, `draining` (no new tasks) or `closing`.
    pub phase: String,
    /// Connections whose key was accepted.
    pub sessions: u64,
    /// Devices that are online.
    pub devices: u64,
    /// Executions that online devices hold.
    pub executions: u64,
    /// Devices with open executions that are away, and may come back with them.
    pub devices_awaited: u64,
    /// Tasks that were accepted.
    pub dispatched: u64,
    /// Tasks that were sent again to a device that came back without them.
    pub redelivered: u64,
    /// Ends of executions that were recorded.
    pub ended: u64,
    /// Results that were acknowledged to their devices.
    pub acknowledged: u64,
    /// Checks of keys that let somebody in.
    pub checks_accepted: u64,
    /// Checks that were refused, by their reason.
    pub checks_refused: BTreeMap<String, u64>,
    /// Keys that no prefix finds, as last counted.
    pub malformed_prefixes: u64,
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
    /// Id or unique name of the device that it is bound to, if any. Its user owns the key where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Seconds from now to its end; it has none where this is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// A key that exists elsewhere, to be let in here. Its token stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportKey {
    /// The hash of its token: 32 hex digits, a dot, 64 hex digits.
    pub key_hash: String,
    /// The first 12 characters of its token.
    pub key_prefix: String,
    /// What a listing may show of its token, at most 20 characters; `...` where nothing is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_preview: Option<String>,
    /// The rest, as for a new key.
    #[serde(flatten)]
    pub key: MintKey,
}

/// A key to put in the place of another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateKey {
    /// Seconds that the old key stays good for: a day (86,400) where this is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_seconds: Option<u64>,
    /// Seconds from now to the new key's end; where this is missing, as long as the old one had from its making.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// A token whose row is to be found, whatever its stored prefix, and mended.
#[derive(Clone, Serialize, Deserialize)]
pub struct RepairKey {
    /// The token.
    pub key: String,
}

/// One line of the stream that a repair answers with. The last is not `checking`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RepairEvent {
    /// It goes on.
    Checking {
        /// How many rows were checked so far.
        rows: u64,
    },
    /// The row was found and its prefix mended.
    Mended {
        /// The key.
        key: KeyView,
        /// The prefix that was stored before.
        prefix_before: String,
    },
    /// The row was found and its prefix is right.
    Right {
        /// The key.
        key: KeyView,
    },
    /// No row has this token.
    NotFound {
        /// How many rows were checked.
        rows: u64,
    },
    /// The search ended early.
    Failed {
        /// Why.
        error: ApiError,
    },
}

/// A check of a key that was refused. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    /// When.
    pub at: String,
    /// Where from; behind a proxy, the proxy.
    pub address: Option<String>,
    /// The first characters of the token and `...`; `none` where there was none, `malformed` where it could be none.
    pub key_preview: String,
    /// The key that it matched, where it matched one.
    pub key_id: Option<String>,
    /// `missing`, `malformed`, `unknown`, `revoked`, `expired`, `user_inactive`, `scope_missing`, ...
    pub reason: String,
    /// How many of the same kind within the same moment.
    pub count: u32,
}

/// Something that somebody did. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActView {
    /// When.
    pub at: String,
    /// Who.
    pub by: String,
    /// Tenant of what it was done to.
    pub tenant_id: Option<String>,
    /// What: `key.mint`, `key.revoke`, `execution.dispatch`, ...
    pub what: String,
    /// The id of what it was done to.
    pub subject: String,
}

/// A rotation of a device's key over the device's connection. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationView {
    /// `rot_` and a ULID.
    pub id: String,
    /// The device.
    pub device_id: String,
    /// `staged` and `committed` are pending, `confirmed` is done; `failed` (the device said why) and `dropped` (the bridge gave
    /// it up) left the old key in place.
    pub state: String,
    /// Why it failed or was dropped.
    pub reason: Option<String>,
    /// The key before.
    pub old_key_id: String,
    /// The key after.
    pub new_key_id: String,
    /// 1, and one more for each time that the key was lost on its way and another was made.
    pub attempt: u32,
    /// Who began it.
    pub by: String,
    /// When the new key was made and sent.
    pub staged_at: String,
    /// When the device had it on its disk.
    pub stored_at: Option<String>,
    /// When the device had proved it: it is the device's key since.
    pub committed_at: Option<String>,
    /// When it was confirmed, failed or dropped.
    pub ended_at: Option<String>,
}

/// A user to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddUser {
    /// Its id.
    pub id: String,
    /// Its e-mail address.
    pub email: String,
    /// Its tenant, which is made where there is none of that id; may be missing where only one exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// A user as listings show it. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// Its id.
    pub id: String,
    /// Its tenant.
    pub tenant_id: String,
    /// Its e-mail address.
    pub email: String,
    /// What people call it.
    pub display_name: Option<String>,
    /// `active`, `suspended` or `deleted`; `unknown` for a word that is none of these, which lets nobody in.
    pub status: String,
    /// When it was added.
    pub created_at: Option<String>,
}

/// A pairing code to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakePairCode {
    /// Name of the key that it gives.
    pub name: String,
    /// The user whose key it gives, where several exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Id or unique name of the device that it pairs anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Seconds that it is good for, 60 to 86,400: 600 where this is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// A pairing code that was just made. The code is in no other answer.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewPairCodeView {
    /// The code, shown once.
    pub code: String,
    /// The rest.
    #[serde(flatten)]
    pub view: PairCodeView,
}

/// A pairing code as listings show it. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairCodeView {
    /// Its id.
    pub id: String,
    /// Name of the key that it gives.
    pub name: String,
    /// The user whose key it gives.
    pub user_id: String,
    /// Tenant of that user.
    pub tenant_id: String,
    /// The device that it pairs anew.
    pub device_id: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// From when on it is worth nothing.
    pub expires_at: String,
}

/// A pairing code to exchange. Like the messages of the socket, and unlike the rest of the API, it has names in camel case: the
/// agent sends it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// The code, however it was typed.
    pub code: String,
    /// 32 hex digits, drawn once and sent with each repetition.
    pub nonce: String,
    /// What the device calls itself: for the log.
    pub device_name: String,
    /// The id that the device had, where it had one: for the log. Which device a code pairs anew is said by the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
}

/// What a pairing code was exchanged for.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Paired {
    /// The token of the new key.
    pub key: String,
    /// The device that the key is bound to, where it pairs one anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Name of the key.
    pub name: String,
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
    /// The newest head of its audit log; absent in a listing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_head: Option<AuditHeadView>,
}

/// The newest head that a device told of its audit log, and what contradicted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHeadView {
    /// Number of the log's line.
    pub seq: u64,
    /// What the log is chained by at that line: 64 hex digits.
    pub head: String,
    /// The key under which it was told.
    pub key_id: String,
    /// When it came.
    pub received_at: String,
    /// How often the device told a head that contradicts the one kept: its log was cut, written anew or restored.
    pub conflicts: u64,
    /// When it last did.
    pub last_conflict_at: Option<String>,
    /// The number that it told then.
    pub last_conflict_seq: Option<u64>,
    /// The digits that it told then.
    pub last_conflict_head: Option<String>,
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
