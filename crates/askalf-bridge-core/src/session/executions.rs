//! What a device says about its executions.

use std::time::Duration;

use askalf_proto::{
    AgentMessage, BridgeMessage, Cause, ErrorCode, ExecutionAck, ExecutionComplete, ExecutionFailed,
    ExecutionProgress, Feature, OutputStream, ProgressChunk,
};

use super::conversation::Conversation;
use super::refusal;
use crate::api::DispatchEvent;
use crate::stores::{ExecutionEnd, ExecutionStatus, Finish, Principal, StoreError};

/// Pauses between attempts to record a result. A device of an older generation never says it again; so a database that
/// is locked for a moment must not cost it.
const RETRIES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(900)];

/// Largest amount that `forge_executions.cost`, a numeric(10,6), holds.
const MAX_COST: f64 = 9_999.999_999;

impl Conversation {
    /// Takes a message about executions from a device that has registered.
    pub(super) async fn execution(&mut self, message: AgentMessage) {
        match message {
            AgentMessage::Queued(queued) => {
                self.link.hold_if_room(&queued.execution_id);
                let position = queued.position;
                self.publish(&queued.execution_id, &DispatchEvent::Queued { position })
                    .await;
            }
            AgentMessage::Accepted(accepted) => self.accepted(&accepted.execution_id).await,
            AgentMessage::Progress(progress) => self.progress(progress).await,
            AgentMessage::Complete(complete) => {
                let (id, end) = end_of_complete(complete);
                self.finish(&id, end).await;
            }
            AgentMessage::Failed(failed) => {
                let (id, end) = end_of_failed(failed);
                self.finish(&id, end).await;
            }
            AgentMessage::Forwarded(forwarded) => {
                if let Some(device) = &self.device {
                    let event = DispatchEvent::Output {
                        stream: forwarded.kind,
                        data: forwarded.payload.get().to_owned(),
                    };
                    self.core.watchers.publish_to_all(&device.id, &event);
                }
            }
            AgentMessage::Register(_)
            | AgentMessage::Reconnect(_)
            | AgentMessage::Heartbeat(_)
            | AgentMessage::Pong(_)
            | AgentMessage::Capabilities(_)
            | AgentMessage::AuditHead(_)
            | AgentMessage::CredentialStaged(_)
            | AgentMessage::CredentialFailed(_)
            | AgentMessage::CredentialProve(_)
            | AgentMessage::CredentialPromoted(_) => {}
        }
    }

    async fn accepted(&mut self, id: &str) {
        let Some(device) = &self.device else { return };
        match self
            .core
            .store
            .execution_running(&device.who, id, self.core.now())
            .await
        {
            Ok(true) => {
                self.link.hold_if_room(id);
                self.publish(id, &DispatchEvent::Running).await;
            }
            // It ended here while the task was on its way, or was never this device's.
            Ok(false) | Err(StoreError::NotFound(_)) => self.cancel_on_device(id),
            Err(error) => {
                self.link.hold_if_room(id);
                tracing::warn!(execution = id, error = %error, "the start of an execution was not recorded");
            }
        }
    }

    async fn progress(&self, progress: ExecutionProgress) {
        self.link.hold_if_room(&progress.execution_id);
        let (stream, data) = match progress.chunk {
            ProgressChunk::Output { progress_type, data } => {
                let is_error = progress_type == OutputStream::Stderr.as_str();
                (
                    if is_error {
                        OutputStream::Stderr
                    } else {
                        OutputStream::Stdout
                    },
                    data,
                )
            }
            ProgressChunk::Chunk { chunk, .. } => (OutputStream::Stdout, chunk),
            ProgressChunk::Level(_) | ProgressChunk::Nothing => return,
        };
        let stream = stream.as_str().to_owned();
        self.publish(&progress.execution_id, &DispatchEvent::Output { stream, data })
            .await;
    }

    async fn finish(&mut self, id: &str, end: ExecutionEnd) {
        let Some(device) = &self.device else { return };
        let (status, cause) = (end.status.as_str(), end.cause.map(Cause::as_str));
        let acknowledges = device.features.contains(Feature::ExecutionAck);
        match self.record(&device.who, id, end).await {
            Ok(Finish::Recorded) => {
                tracing::info!(
                    device = device.id,
                    execution = id,
                    status,
                    cause,
                    "an execution ended"
                );
                self.core.counters.ended.one_more();
                self.core.watchers.ended(id);
            }
            Ok(Finish::AlreadyRecorded) => {
                tracing::info!(
                    device = device.id,
                    execution = id,
                    status,
                    "an execution had ended before"
                );
            }
            Ok(Finish::NotYours) => {
                tracing::warn!(
                    device = device.id,
                    execution = id,
                    status,
                    "a result is of no execution of this device"
                );
                self.tell(refusal::error(
                    ErrorCode::ExecutionNotFound,
                    "this device has no such execution; its result is not kept",
                ));
            }
            Err(error @ StoreError::Unavailable(_)) => {
                tracing::error!(execution = id, error = %error, "a result was not recorded");
                return self.unavailable();
            }
            // The store will never take it: the execution must end all the same, and the device forget it.
            Err(error) => {
                tracing::error!(execution = id, error = %error, "a result cannot be recorded");
                let end = ExecutionEnd::interrupted(format!("its result cannot be recorded: {error}"));
                if let Err(error) = self.record(&device.who, id, end).await {
                    tracing::error!(execution = id, error = %error, "an execution was not ended");
                    return self.unavailable();
                }
                self.core.watchers.ended(id);
            }
        }
        self.link.release(id);
        // Acknowledged in all three cases. A result that can never be recorded must not be sent for ever; and the
        // answer to another device's execution tells no more than the answer to one that never was.
        if acknowledges {
            self.core.counters.acknowledged.one_more();
            self.tell(BridgeMessage::ExecutionAck(ExecutionAck {
                execution_id: id.to_owned(),
            }));
        }
    }

    async fn record(&self, who: &Principal, id: &str, end: ExecutionEnd) -> Result<Finish, StoreError> {
        for pause in RETRIES {
            match self
                .core
                .store
                .finish_execution(who, id, end.clone(), self.core.now())
                .await
            {
                Err(StoreError::Unavailable(why)) => {
                    tracing::warn!(execution = id, why, "a result was not recorded yet");
                    tokio::time::sleep(pause).await;
                }
                answer => return answer,
            }
        }
        self.core
            .store
            .finish_execution(who, id, end, self.core.now())
            .await
    }

    async fn publish(&self, execution_id: &str, event: &DispatchEvent) {
        if let Some(device) = &self.device {
            self.core.watchers.publish(&device.id, execution_id, event).await;
        }
    }
}

fn end_of_complete(complete: ExecutionComplete) -> (String, ExecutionEnd) {
    let end = ExecutionEnd {
        status: ExecutionStatus::Completed,
        cause: Some(Cause::Exit),
        exit_code: Some(0),
        signal: None,
        output: Some(complete.output),
        error: None,
        cost: complete.cost.clamp(0.0, MAX_COST),
        turns: complete.turns,
        input_tokens: complete.input_tokens,
        output_tokens: complete.output_tokens,
        duration_ms: Some(complete.duration_ms),
    };
    (complete.execution_id, end)
}

fn end_of_failed(failed: ExecutionFailed) -> (String, ExecutionEnd) {
    let status = match failed.cause {
        Some(Cause::Timeout) => ExecutionStatus::Timeout,
        Some(Cause::Cancelled) => ExecutionStatus::Cancelled,
        Some(Cause::Exit | Cause::Signal | Cause::Interrupted | Cause::Expired | Cause::Refused) | None => {
            ExecutionStatus::Failed
        }
    };
    let end = ExecutionEnd {
        status,
        cause: failed.cause,
        exit_code: failed.exit_code,
        signal: failed.signal,
        output: failed.output,
        error: Some(failed.error).filter(|error| !error.is_empty()),
        cost: 0.0,
        turns: 0,
        input_tokens: 0,
        output_tokens: 0,
        duration_ms: failed.duration_ms,
    };
    (failed.execution_id, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_a_failure_decides_its_status() {
        let status = |cause| {
            let failed = ExecutionFailed {
                execution_id: "exec_1".to_owned(),
                cause,
                ..ExecutionFailed::default()
            };
            end_of_failed(failed).1.status.as_str()
        };
        assert_eq!(status(Some(Cause::Timeout)), "timeout");
        assert_eq!(status(Some(Cause::Cancelled)), "cancelled");
        for cause in [
            Cause::Exit,
            Cause::Signal,
            Cause::Interrupted,
            Cause::Expired,
            Cause::Refused,
        ] {
            assert_eq!(status(Some(cause)), "failed", "{cause}");
        }
        assert_eq!(status(None), "failed");
    }

    #[test]
    fn a_cost_that_the_column_cannot_hold_is_clamped() {
        let complete = |cost| ExecutionComplete {
            execution_id: "exec_1".to_owned(),
            cost,
            ..ExecutionComplete::default()
        };
        assert_eq!(end_of_complete(complete(-1.0)).1.cost, 0.0);
        assert_eq!(end_of_complete(complete(1e300)).1.cost, MAX_COST);
    }
}
