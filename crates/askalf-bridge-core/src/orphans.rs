//! Executions whose device went away: they stay open for a while, for the device may come back with them, and then end
//! `interrupted`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use askalf_bridge_auth::UnixMillis;
use askalf_proto::{BridgeMessage, Cause, TaskCancel};
use tokio::time::Instant;

use crate::bridge::Core;
use crate::grace::Grace;
use crate::redelivery::{Redelivery, redeliver};
use crate::stores::{ExecutionEnd, ExecutionFilter, ExecutionStatus, Finish, Principal, StoreError};

/// How many open executions of a device are read at once: far more than a session can hold, so that those which it holds
/// never fill the page.
const PAGE: u32 = 10_000;

/// When to try again after the store failed.
const RETRY: Duration = Duration::from_secs(5);

/// Gives every device with open executions its time to come back. Answers how many devices that are.
///
/// Executions without a device are not this bridge's: the forge's table holds others too.
pub(crate) async fn give_grace(core: &Core) -> Result<usize, StoreError> {
    let devices = core.store.devices_with_open_executions().await?;
    for device_id in &devices {
        arm(core, device_id);
    }
    Ok(devices.len())
}

/// Starts the grace of a device, for the executions that it has now.
pub(crate) fn arm(core: &Core, device_id: &str) {
    let at = Instant::now() + core.options.interrupted_grace;
    core.grace.arm(device_id, at, core.now());
}

/// Ends the open executions of each device whose grace is over, for as long as the bridge lives.
pub(crate) async fn end_when_due(grace: Arc<Grace>, core: Weak<Core>) {
    loop {
        let (device_id, since) = grace.due().await;
        let Some(core) = core.upgrade() else { return };
        let seconds = core.options.interrupted_grace.as_secs();
        let why = format!("interrupted: its device was gone for more than {seconds} s");
        // One device that does not read must not keep the others waiting.
        match settle_unheld(&core, &device_id, Some(since), &why, Duration::ZERO).await {
            Ok(Unheld { ended, left }) => {
                if ended > 0 {
                    tracing::warn!(device = device_id, ended, "executions were interrupted");
                }
                // Those that were added since have a grace of their own.
                if left > 0 && !grace.is_armed(&device_id) {
                    arm(&core, &device_id);
                }
            }
            Err(error) => {
                tracing::error!(device = device_id, error = %error, "executions could not be ended; trying again");
                grace.arm(&device_id, Instant::now() + RETRY, since);
            }
        }
    }
}

/// What became of the open executions of a device that its session does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unheld {
    /// So many were ended.
    pub(crate) ended: usize,
    /// So many are still open, being too new, or waiting to be sent again.
    pub(crate) left: usize,
}

/// Settles the open executions of a device that its session, if it has one, does not hold: those that it may never have got
/// are sent again, where it is a device that remembers what it took; the others end `interrupted`, where `since` is given,
/// those that were there by then. `patience` is how long the device may take to read what is sent.
pub(crate) async fn settle_unheld(
    core: &Core,
    device_id: &str,
    since: Option<UnixMillis>,
    why: &str,
    patience: Duration,
) -> Result<Unheld, StoreError> {
    let (mut ended, mut redelivered) = (0, 0);
    loop {
        let filter = ExecutionFilter {
            device_id: Some(device_id.to_owned()),
            open_only: true,
            limit: PAGE,
        };
        let open = core.store.executions(&Principal::Bridge, filter).await?;
        let done_before = ended + redelivered;
        let mut left = 0;
        // In the order in which they were asked for.
        for execution in open.into_iter().rev() {
            // Asked after the listing: whoever dispatches holds the execution before its row appears.
            let link = core.hub.of_device(device_id);
            if link.as_ref().is_some_and(|link| link.holds(&execution.id)) {
                continue;
            }
            let mut end = execution.cancel_requested.then(|| {
                let why = "cancelled; its device did not say how it ended";
                ExecutionEnd::without_result(ExecutionStatus::Cancelled, Cause::Cancelled, why)
            });
            if end.is_none()
                && execution.status == ExecutionStatus::Pending
                && let Some(link) = link.as_ref().filter(|link| link.redelivers())
            {
                match redeliver(core, link, &execution, patience).await? {
                    Redelivery::Done => redelivered += 1,
                    Redelivery::Later => left += 1,
                    Redelivery::Never(never) => end = Some(*never),
                }
                if end.is_none() {
                    continue;
                }
            }
            // A clock that was set back must not make an execution too new for as long as it had been ahead.
            if since.is_some_and(|since| execution.created_at > since && execution.created_at <= core.now()) {
                left += 1;
                continue;
            }
            let end = end.unwrap_or_else(|| ExecutionEnd::interrupted(why));
            if finish(core, &execution.id, end).await? == Finish::Recorded {
                ended += 1;
                if let Some(link) = link {
                    // It may run there all the same, without a word: nobody waits for it any more.
                    let _ = link.send(&BridgeMessage::Cancel(TaskCancel {
                        execution_id: execution.id,
                    }));
                }
            }
        }
        // A page may be cut short, so only one without anything to end is the last.
        if ended + redelivered == done_before {
            return Ok(Unheld { ended, left });
        }
    }
}

/// Ends an execution in the name of the bridge, and lets its readers go.
pub(crate) async fn finish(core: &Core, execution_id: &str, end: ExecutionEnd) -> Result<Finish, StoreError> {
    let finish = core
        .store
        .finish_execution(&Principal::Bridge, execution_id, end, core.now())
        .await?;
    if finish == Finish::Recorded {
        core.counters.ended.one_more();
    }
    core.watchers.ended(execution_id);
    Ok(finish)
}
