//! Tasks that their device may not have got: they are sent again when it comes back, to a device that remembers what it has
//! taken.

use std::time::Duration;

use askalf_bridge_auth::UnixMillis;
use askalf_proto::{BridgeMessage, Cause, Executor};
use tokio::time::timeout;

use crate::bridge::Core;
use crate::dispatch::on_the_wire;
use crate::link::Link;
use crate::orphans;
use crate::stores::{Execution, ExecutionEnd, ExecutionStatus, Principal, StoreError};

/// What became of a task that was to be sent again.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Redelivery {
    /// It is on its way, or is no longer `pending`: nothing is to be done about it.
    Done,
    /// The session has ended or has no room: later.
    Later,
    /// It is not to be sent again, but ends like this.
    Never(Box<ExecutionEnd>),
}

/// Sends a `pending` execution that the device of `link` does not hold again; waits for room for at most `patience`.
pub(crate) async fn redeliver(
    core: &Core,
    link: &Link,
    execution: &Execution,
    patience: Duration,
) -> Result<Redelivery, StoreError> {
    let id = &execution.id;
    // Before its row is read: of two that would send it, one does.
    if !link.claim(id) {
        return Ok(Redelivery::Done);
    }
    let outcome = send_again(core, link, execution, patience).await;
    if !matches!(outcome, Ok(Redelivery::Done)) {
        link.release(id);
    }
    outcome
}

async fn send_again(
    core: &Core,
    link: &Link,
    execution: &Execution,
    patience: Duration,
) -> Result<Redelivery, StoreError> {
    let id = &execution.id;
    let Some(task) = core.store.pending_task(id).await? else {
        link.release(id);
        return Ok(Redelivery::Done);
    };
    let never = |cause, why: String| {
        let end = ExecutionEnd::without_result(ExecutionStatus::Failed, cause, why);
        Ok(Redelivery::Never(Box::new(end)))
    };
    let terms = match task.terms {
        None => {
            let why = "interrupted: its device came back without it";
            return never(Cause::Interrupted, why.to_owned());
        }
        Some(terms) if terms.had_credentials => {
            let why = "interrupted: its device came back without it, and the credentials that went with it are not kept to send \
                 it again";
            return never(Cause::Interrupted, why.to_owned());
        }
        Some(terms) => terms,
    };
    let most = core.options.redelivery_limit;
    if age(execution.created_at, core.now()) > most {
        let why = format!("expired: its device did not get it within {} s", most.as_secs());
        return never(Cause::Expired, why);
    }
    let message = on_the_wire(id.clone(), Executor::from_wire(&task.executor), task.input, terms);
    let frame = match BridgeMessage::Dispatch(message).encode() {
        Ok(frame) => frame,
        Err(error) => {
            let why = format!("interrupted: it cannot be sent again: {error}");
            return never(Cause::Interrupted, why);
        }
    };
    match timeout(patience, link.send_in_turn(frame)).await {
        Ok(Ok(())) => {
            core.counters.redelivered.one_more();
            tracing::info!(
                session = link.number(),
                execution = id,
                "a task was sent again: its device came back without it"
            );
            Ok(Redelivery::Done)
        }
        Ok(Err(_)) | Err(_) => Ok(Redelivery::Later),
    }
}

/// A clock that was set back makes nothing old.
fn age(since: UnixMillis, now: UnixMillis) -> Duration {
    let millis = now.0.saturating_sub(since.0);
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// Takes care of a task whose session ended before it was sent. Its device may be back already, and may have been asked
/// what it holds before there was a row.
pub(crate) async fn after_failed_send(core: &Core, device_id: &str, execution_id: &str) {
    let back = core.hub.of_device(device_id).filter(|link| link.redelivers());
    let sent = match back {
        Some(link) => send_now(core, &link, execution_id).await,
        None => Ok(false),
    };
    if let Err(error) = &sent {
        tracing::error!(execution = execution_id, error = %error, "a task was not sent again; trying again later");
    }
    if !matches!(sent, Ok(true)) {
        orphans::arm(core, device_id);
    }
}

async fn send_now(core: &Core, link: &Link, execution_id: &str) -> Result<bool, StoreError> {
    let execution = core.store.execution(&Principal::Bridge, execution_id).await?;
    let outcome = redeliver(core, link, &execution, Duration::ZERO).await?;
    Ok(outcome == Redelivery::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_older_than_its_clock_says() {
        assert_eq!(
            age(UnixMillis(1000), UnixMillis(3500)),
            Duration::from_millis(2500)
        );
        assert_eq!(age(UnixMillis(3500), UnixMillis(1000)), Duration::ZERO);
        assert_eq!(
            age(UnixMillis(i64::MIN), UnixMillis(i64::MAX)).as_millis(),
            i64::MAX as u128
        );
    }
}
