//! Executions.

use askalf_bridge_auth::UnixMillis;
use askalf_proto::Cause;
use async_trait::async_trait;

use super::{Principal, StoreError};

/// Executions, each of which ends exactly once.
#[async_trait]
pub trait ExecutionStore: Send + Sync {
    /// Adds an execution as `pending`; its row is committed when this returns.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the id is taken, [`StoreError::NotFound`] where the device is unknown or the principal
    /// is itself a device, [`StoreError::Unavailable`].
    async fn add_execution(&self, who: &Principal, execution: NewExecution) -> Result<Execution, StoreError>;

    /// Marks an execution of this device as `running`, where it is `pending`. Answers whether it is open.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn execution_running(&self, who: &Principal, id: &str, now: UnixMillis)
    -> Result<bool, StoreError>;

    /// Ends an execution, where it is open and the principal may end it: a device its own, an operator its user's.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] where `end` is no end, [`StoreError::Unavailable`].
    async fn finish_execution(
        &self,
        who: &Principal,
        id: &str,
        end: ExecutionEnd,
        now: UnixMillis,
    ) -> Result<Finish, StoreError>;

    /// Puts on record that an execution shall be cancelled, where it is open: its device is told, and told again should it be
    /// gone before it heard. Answers whether it is open. The first request of an operator or the local admin is an
    /// [`Act`](super::Act).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn request_cancel(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<bool, StoreError>;

    /// The executions, newest first, as a listing shows them: without `output`, and with no more than the first
    /// 1024 characters of `input` and `error`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn executions(
        &self,
        who: &Principal,
        filter: ExecutionFilter,
    ) -> Result<Vec<Execution>, StoreError>;

    /// An execution as it was dispatched, to be sent again; `None` where it is not `pending`. Only for the bridge
    /// itself.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn pending_task(&self, id: &str) -> Result<Option<PendingTask>, StoreError>;

    /// The devices that have executions which have not ended, each once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn devices_with_open_executions(&self) -> Result<Vec<String>, StoreError>;

    /// One execution, whole.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unavailable`].
    async fn execution(&self, who: &Principal, id: &str) -> Result<Execution, StoreError>;
}

/// An execution to add.
#[derive(Debug, Clone, PartialEq)]
pub struct NewExecution {
    /// Its id, unique over all devices and times.
    pub id: String,
    /// The device that shall run it.
    pub device_id: String,
    /// What shall run it: a word of the wire, kept in `metadata.executor`.
    pub executor: String,
    /// What to do.
    pub input: String,
    /// What else its device is told.
    pub terms: TaskTerms,
    /// Now.
    pub created_at: UnixMillis,
}

/// What a device is told of a task beside what to do, kept in `metadata` under the names of the wire. Credentials are
/// never kept, only that there were some.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskTerms {
    /// Longest run in milliseconds: `timeoutMs`.
    pub timeout_ms: Option<u64>,
    /// Folder to run in: `workingDirectory`.
    pub working_directory: Option<String>,
    /// Most turns of a model: `maxTurns`.
    pub max_turns: Option<u32>,
    /// Most cost in US dollars: `maxBudget`.
    pub max_budget: Option<f64>,
    /// Credentials went with the task, so it cannot be sent again: `redeliverable` is `false` then.
    pub had_credentials: bool,
}

/// A task that its device may not have got, as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingTask {
    /// What shall run it.
    pub executor: String,
    /// What to do, whole.
    pub input: String,
    /// What else its device is told; `None` where another program, or an older bridge, wrote the row, which does not keep all of it.
    pub terms: Option<TaskTerms>,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionEnd {
    /// One of the four final states.
    pub status: ExecutionStatus,
    /// How it came to its end, kept in `metadata.cause`.
    pub cause: Option<Cause>,
    /// Exit status, kept in `metadata.exitCode`.
    pub exit_code: Option<i32>,
    /// Signal number, kept in `metadata.signal`.
    pub signal: Option<i32>,
    /// What the task wrote.
    pub output: Option<String>,
    /// What went wrong, for a person.
    pub error: Option<String>,
    /// Cost in US dollars.
    pub cost: f64,
    /// Turns of a model: `iterations`.
    pub turns: u32,
    /// Tokens read by a model.
    pub input_tokens: u64,
    /// Tokens written by a model.
    pub output_tokens: u64,
    /// How long it ran, in milliseconds.
    pub duration_ms: Option<u64>,
}

impl ExecutionEnd {
    /// The end of an execution whose device, runner or agent went away under it.
    pub fn interrupted(error: impl Into<String>) -> Self {
        Self::without_result(ExecutionStatus::Failed, Cause::Interrupted, error)
    }

    /// An end that no device reported.
    pub fn without_result(status: ExecutionStatus, cause: Cause, error: impl Into<String>) -> Self {
        Self {
            status,
            cause: Some(cause),
            exit_code: None,
            signal: None,
            output: None,
            error: Some(error.into()),
            cost: 0.0,
            turns: 0,
            input_tokens: 0,
            output_tokens: 0,
            duration_ms: None,
        }
    }
}

/// What became of an attempt to end an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It is committed.
    Recorded,
    /// It had ended before; nothing was changed.
    AlreadyRecorded,
    /// It does not exist or is not the principal's; nothing was changed.
    NotYours,
}

/// Which executions a listing wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecutionFilter {
    /// Only those of this device.
    pub device_id: Option<String>,
    /// Only those that have not ended.
    pub open_only: bool,
    /// At most so many; 0 means 100.
    pub limit: u32,
}

/// An execution.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// Its id.
    pub id: String,
    /// The user that it belongs to: `owner_id`.
    pub owner_id: String,
    /// The device that runs it.
    pub device_id: Option<String>,
    /// What runs it.
    pub executor: Option<String>,
    /// How far it is.
    pub status: ExecutionStatus,
    /// How it came to its end.
    pub cause: Option<Cause>,
    /// Exit status.
    pub exit_code: Option<i32>,
    /// Signal number.
    pub signal: Option<i32>,
    /// What was to be done.
    pub input: String,
    /// What the task wrote.
    pub output: Option<String>,
    /// What went wrong.
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
    /// Whether somebody asked for its cancel: `metadata.cancelRequested`.
    pub cancel_requested: bool,
    /// When it was added.
    pub created_at: UnixMillis,
    /// When the device began.
    pub started_at: Option<UnixMillis>,
    /// When it ended.
    pub completed_at: Option<UnixMillis>,
}

/// How far an execution is: the forge's six words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionStatus {
    /// Accepted by the bridge.
    Pending,
    /// Accepted by the device.
    Running,
    /// Ended with exit status 0.
    Completed,
    /// Ended in another way.
    Failed,
    /// Ended because somebody cancelled it.
    Cancelled,
    /// Ended because it ran too long.
    Timeout,
}

impl ExecutionStatus {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Timeout,
    ];

    /// The status as `forge_executions.status` holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
        }
    }

    /// The status that a word of the table stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether it has not ended.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }
}
