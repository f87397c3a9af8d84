//! Tasks for devices: from a request to a committed row, to the device, and back as a stream of news.

use askalf_proto::{BridgeMessage, Cause, EncodeError, Executor, MAX_ID, MAX_NAME, TaskCancel, TaskDispatch};

use crate::api::Dispatch;
use crate::bridge::{Core, Phase};
use crate::ids::new_id;
use crate::link::Link;
use crate::stores::{
    Device, Execution, ExecutionEnd, ExecutionStatus, Finish, NewExecution, Principal, StoreError, TaskTerms,
};
use crate::watchers::Watch;
use crate::{orphans, redelivery};

/// Longest folder name that a task may ask for, in bytes: the longest path that Linux takes.
const MAX_PATH: usize = 4096;

/// Name of the forge's agent in whose name an operator's tasks run.
const AGENT: &str = "askalf-dispatch";

/// Why a task was not dispatched, or an execution not cancelled. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DispatchError {
    /// No bridge is open behind this router, so no device can be connected.
    #[error("no bridge is running that a device could be connected to")]
    BridgeUnavailable,
    /// The bridge is going down, and takes no new tasks.
    #[error("the bridge is going down and takes no new tasks")]
    Draining,
    /// No device of that id or name.
    #[error("there is no device '{0}'")]
    DeviceUnknown(String),
    /// Several devices of that name.
    #[error("{count} devices are named '{name}'")]
    DeviceAmbiguous {
        /// The name.
        name: String,
        /// How many.
        count: usize,
    },
    /// The device is not connected.
    #[error("the device '{0}' is not connected")]
    DeviceOffline(String),
    /// The request does not make sense.
    #[error("{0}")]
    Invalid(&'static str),
    /// The task does not fit into one frame.
    #[error("the input is too large: {0}")]
    InputTooLarge(EncodeError),
    /// The execution has ended.
    #[error("the execution has already ended: {0}")]
    AlreadyEnded(&'static str),
    /// The system's random source failed.
    #[error("no id could be made: the system's random source failed")]
    NoId,
    /// The store failed, or does not know what was named.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DispatchError {
    /// Stable name of the error.
    pub(crate) fn id(&self) -> &'static str {
        match self {
            Self::BridgeUnavailable => "bridge-unavailable",
            Self::Draining => "bridge-draining",
            Self::DeviceUnknown(_) => "device-unknown",
            Self::DeviceAmbiguous { .. } => "device-ambiguous",
            Self::DeviceOffline(_) => "device-offline",
            Self::Invalid(_) => "invalid-request",
            Self::InputTooLarge(_) => "input-too-large",
            Self::AlreadyEnded(_) => "already-ended",
            Self::NoId => "random-source-failed",
            Self::Store(error) => error.id(),
        }
    }

    /// What to do next.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::BridgeUnavailable => "start it with 'askalf-bridge serve', then try again",
            Self::Draining => "try again in a moment, when it or the next one is up",
            Self::DeviceUnknown(_) => "list the devices with 'askalf-bridge devices list'",
            Self::DeviceAmbiguous { .. } => "use the id; 'askalf-bridge devices list' shows it",
            Self::DeviceOffline(_) => "start its agent with 'askalf-agent daemon', or try again later",
            Self::Invalid(_) => "correct the request and send it again",
            Self::InputTooLarge(_) => "put the data where the device can fetch it, and send the way to it",
            Self::AlreadyEnded(_) => "look at it with 'askalf-bridge executions show'",
            Self::NoId => "try again; if it stays, check that the bridge may use the getrandom call",
            Self::Store(error) => error.hint(),
        }
    }
}

/// A task that has its row and is on its way, or has already failed on it: the row knows.
pub(crate) struct Dispatched {
    pub(crate) execution: Execution,
    pub(crate) watch: Watch,
}

/// Gives a task to a device. The row is committed when this returns; no row is made for a device that is not there.
pub(crate) async fn dispatch(
    core: &Core,
    who: &Principal,
    task: Dispatch,
) -> Result<Dispatched, DispatchError> {
    match core.phase() {
        Phase::Open => {}
        Phase::Draining | Phase::Closing => return Err(DispatchError::Draining),
        Phase::Idle => return Err(DispatchError::BridgeUnavailable),
    }
    check(&task)?;
    let device = find_device(core, who, &task.device).await?;
    let link = core.router.locate(&device.id).await;
    let link = link.ok_or_else(|| DispatchError::DeviceOffline(device.name.clone()))?;
    let now = core.now();
    let id = new_id("exec_", now).map_err(|_| DispatchError::NoId)?;
    let executor = Executor::from_wire(task.executor.as_deref().unwrap_or("shell"));
    let row = NewExecution {
        id: id.clone(),
        device_id: device.id.clone(),
        executor: executor.as_str().to_owned(),
        input: task.input.clone(),
        terms: TaskTerms {
            timeout_ms: task.timeout_ms,
            working_directory: task.working_directory,
            ..TaskTerms::default()
        },
        created_at: now,
    };
    let message = on_the_wire(id.clone(), executor, task.input, row.terms.clone());
    let frame = BridgeMessage::Dispatch(message)
        .encode()
        .map_err(DispatchError::InputTooLarge)?;

    let watch = core.watchers.watch(&id, &device.id);
    // Held before the row appears: a registration that is being settled would take the row for one that was lost.
    link.hold(&id);
    match core.store.add_execution(who, row).await {
        Ok(execution) => {
            core.counters.dispatched.one_more();
            tracing::info!(device = device.id, execution = id, by = %who, "an execution was added");
            send(core, &link, &device, frame, &execution.id).await;
            Ok(Dispatched { execution, watch })
        }
        Err(error) => {
            link.release(&id);
            Err(error.into())
        }
    }
}

fn check(task: &Dispatch) -> Result<(), DispatchError> {
    let invalid = |what| Err(DispatchError::Invalid(what));
    if task.device.is_empty() || task.device.len() > MAX_NAME {
        return invalid("'device' must be the id or the name of a device");
    }
    if task
        .executor
        .as_ref()
        .is_some_and(|name| name.is_empty() || name.len() > MAX_ID)
    {
        return invalid("'executor' must be a name such as 'shell'");
    }
    if task.input.trim().is_empty() {
        return invalid("'input' says nothing to do");
    }
    if task.timeout_ms == Some(0) {
        return invalid("'timeout_ms' must be above 0");
    }
    if task
        .working_directory
        .as_ref()
        .is_some_and(|path| path.is_empty() || path.len() > MAX_PATH)
    {
        return invalid("'working_directory' must be a path of at most 4096 bytes");
    }
    Ok(())
}

/// The one device of that id or name; among several of a name, the only one that is connected.
pub(crate) async fn find_device(
    core: &Core,
    who: &Principal,
    id_or_name: &str,
) -> Result<Device, DispatchError> {
    let mut found = core.store.find_devices(who, id_or_name).await?;
    // An id is never ambiguous, though a device may be named like the id of another.
    if let Some(index) = found.iter().position(|device| device.id == id_or_name) {
        return Ok(found.swap_remove(index));
    }
    if found.len() > 1 {
        let mut connected = Vec::new();
        for (index, device) in found.iter().enumerate() {
            if core.router.locate(&device.id).await.is_some() {
                connected.push(index);
            }
        }
        if let [only] = connected[..] {
            return Ok(found.swap_remove(only));
        }
    }
    match found.len() {
        0 => Err(DispatchError::DeviceUnknown(id_or_name.to_owned())),
        1 => Ok(found.swap_remove(0)),
        count => Err(DispatchError::DeviceAmbiguous {
            name: id_or_name.to_owned(),
            count,
        }),
    }
}

/// In both words of the wire: agents of the older generation read `mode`, the newer ones `executor`.
pub(crate) fn on_the_wire(id: String, executor: Executor, input: String, terms: TaskTerms) -> TaskDispatch {
    let (mode, executor) = match executor {
        Executor::Auto => (Some(Executor::Auto), None),
        Executor::Shell | Executor::Claude => (Some(executor.clone()), Some(executor)),
        Executor::Codex | Executor::Other(_) => (None, Some(executor)),
    };
    TaskDispatch {
        execution_id: id,
        agent_id: Some(AGENT.to_owned()),
        agent_name: Some(AGENT.to_owned()),
        input: Some(input),
        max_turns: terms.max_turns,
        max_budget: terms.max_budget,
        mode,
        executor,
        timeout_ms: terms.timeout_ms,
        working_directory: terms.working_directory,
        credentials: None,
    }
}

/// Sends the task over the session that was found before the row was made. Where that has ended meanwhile the device
/// never got the task: it gets it when it comes back, if it is one that may; else the row ends too, and whoever asked sees
/// it end.
async fn send(core: &Core, link: &Link, device: &Device, frame: String, id: &str) {
    if link.send_frame(frame).is_ok() {
        return;
    }
    if link.redelivers() {
        return redelivery::after_failed_send(core, &device.id, id).await;
    }
    let end = ExecutionEnd::interrupted("interrupted: the device went away before it got the task");
    if let Err(error) = orphans::finish(core, id, end).await {
        tracing::error!(execution = id, error = %error, "an execution could not be ended; trying again later");
        orphans::arm(core, &device.id);
    }
}

/// Cancels an execution. Where its device is connected the device is told, and ends it; else it ends here, at once. So does
/// one that would be sent again if the device were gone before it heard of the cancel.
pub(crate) async fn cancel(core: &Core, who: &Principal, id: &str) -> Result<Execution, DispatchError> {
    let execution = core.store.execution(who, id).await?;
    if !execution.status.is_open() {
        return Err(DispatchError::AlreadyEnded(execution.status.as_str()));
    }
    let link = match &execution.device_id {
        Some(device_id) => core.router.locate(device_id).await,
        None => None,
    };
    let message = BridgeMessage::Cancel(TaskCancel {
        execution_id: id.to_owned(),
    });
    let ends_here =
        execution.status == ExecutionStatus::Pending && link.as_ref().is_some_and(|link| link.redelivers());
    let mut error = "cancelled while its device was not connected";
    if ends_here {
        error = "cancelled before its device had begun";
    } else if let Some(link) = &link {
        // On record first: a device that is gone before it hears of it is told again.
        if let Err(error) = core.store.request_cancel(who, id, core.now()).await {
            tracing::warn!(execution = id, error = %error, "a cancel was not put on record; its device is told all the same");
        }
        if link.send(&message).is_ok() {
            tracing::info!(execution = id, by = %who, "an execution is being cancelled");
            return Ok(execution);
        }
    }
    let end = ExecutionEnd::without_result(ExecutionStatus::Cancelled, Cause::Cancelled, error);
    let finish = core.store.finish_execution(who, id, end, core.now()).await?;
    core.watchers.ended(id);
    if let Some(link) = link {
        // The device may have begun in this moment.
        let _ = link.send(&message);
    }
    let execution = core.store.execution(who, id).await?;
    match finish {
        Finish::Recorded => Ok(execution),
        Finish::AlreadyRecorded | Finish::NotYours => {
            Err(DispatchError::AlreadyEnded(execution.status.as_str()))
        }
    }
}
