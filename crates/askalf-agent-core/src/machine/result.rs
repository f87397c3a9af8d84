//! From the end of a task to the frame that reports it.

use std::sync::Arc;
use std::time::Duration;

use askalf_proto::{
    AgentMessage, Cause, ExecutionComplete, ExecutionFailed, Executor as ExecutorKind, MAX_FRAME_OUT,
    RESULT_OVERHEAD, clip_to_json,
};

use crate::TaskEnd;

/// Longest error text in a result, in bytes of JSON. It has its place within [`RESULT_OVERHEAD`].
const MAX_ERROR: usize = 8 * 1024;

/// The frame for an execution that ran.
pub(crate) fn of_end(execution_id: &str, executor: ExecutorKind, end: TaskEnd) -> Arc<str> {
    let output = clip_to_json(&end.output, MAX_FRAME_OUT - RESULT_OVERHEAD).into_owned();
    let duration_ms = millis(end.duration);
    let message = if end.succeeded() {
        AgentMessage::Complete(ExecutionComplete {
            execution_id: execution_id.to_owned(),
            output,
            cost: end.cost,
            turns: end.turns,
            input_tokens: end.input_tokens,
            output_tokens: end.output_tokens,
            executor: Some(executor),
            duration_ms,
        })
    } else {
        let error = end.error.clone().unwrap_or_else(|| describe(&end));
        AgentMessage::Failed(ExecutionFailed {
            execution_id: execution_id.to_owned(),
            error: clip_to_json(&error, MAX_ERROR).into_owned(),
            executor: Some(executor),
            exit_code: end.exit_code,
            signal: end.signal,
            cause: end.cause,
            output: Some(output),
            duration_ms: Some(duration_ms),
        })
    };
    encode(&message, execution_id)
}

/// The frame for an execution that never ran.
pub(crate) fn of_not_run(execution_id: &str, cause: Cause, error: &str) -> Arc<str> {
    let message = AgentMessage::Failed(ExecutionFailed {
        execution_id: execution_id.to_owned(),
        error: clip_to_json(error, MAX_ERROR).into_owned(),
        cause: Some(cause),
        ..ExecutionFailed::default()
    });
    encode(&message, execution_id)
}

/// The frame for an execution that the end of the agent's process cut off.
pub(crate) fn of_cut_off(execution_id: &str, executor: ExecutorKind) -> Arc<str> {
    let message = AgentMessage::Failed(ExecutionFailed {
        execution_id: execution_id.to_owned(),
        error: "the agent's process ended while it held this task".to_owned(),
        executor: Some(executor),
        cause: Some(Cause::Interrupted),
        ..ExecutionFailed::default()
    });
    encode(&message, execution_id)
}

/// Nothing above exceeds a frame; should it ever, the end is still reported, without what the task wrote.
fn encode(message: &AgentMessage, execution_id: &str) -> Arc<str> {
    let frame = message.encode().or_else(|error| {
        AgentMessage::Failed(ExecutionFailed {
            execution_id: execution_id.to_owned(),
            error: format!("the result cannot be sent: {error}"),
            cause: Some(Cause::Interrupted),
            ..ExecutionFailed::default()
        })
        .encode()
    });
    Arc::from(frame.unwrap_or_default())
}

fn describe(end: &TaskEnd) -> String {
    match end.cause {
        Some(Cause::Exit) => match end.exit_code {
            Some(code) => format!("the task exited with status {code}"),
            None => "the task exited".to_owned(),
        },
        Some(Cause::Signal) => match end.signal {
            Some(signal) => format!("signal {signal} ended the task"),
            None => "a signal ended the task".to_owned(),
        },
        Some(Cause::Timeout) => "the task ran longer than it may".to_owned(),
        Some(Cause::Cancelled) => "the task was cancelled".to_owned(),
        Some(Cause::Interrupted) => "the task was interrupted".to_owned(),
        Some(Cause::Expired) => "the task waited too long".to_owned(),
        Some(Cause::Refused) => "the device refused the task".to_owned(),
        None => "the task failed".to_owned(),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use askalf_proto::decode_agent;

    use super::*;

    fn decoded(frame: &str) -> AgentMessage {
        decode_agent(frame).unwrap()
    }

    #[test]
    fn exit_zero_is_the_only_success() {
        let end = |cause, exit_code| TaskEnd {
            cause,
            exit_code,
            duration: Duration::from_millis(12),
            ..TaskEnd::default()
        };
        let shell = ExecutorKind::Shell;
        let frame = of_end("e", shell.clone(), end(Some(Cause::Exit), Some(0)));
        let AgentMessage::Complete(done) = decoded(&frame) else {
            panic!("{frame}")
        };
        assert_eq!(done.duration_ms, 12);
        for (cause, exit_code, error) in [
            (Some(Cause::Exit), Some(3), "the task exited with status 3"),
            (Some(Cause::Timeout), None, "the task ran longer than it may"),
            (None, Some(0), "the task failed"),
        ] {
            let frame = of_end("e", shell.clone(), end(cause, exit_code));
            let AgentMessage::Failed(failed) = decoded(&frame) else {
                panic!("{frame}")
            };
            assert_eq!((failed.error.as_str(), failed.cause), (error, cause));
        }
    }

    #[test]
    fn the_largest_result_fits_a_frame() {
        let end = TaskEnd {
            cause: Some(Cause::Exit),
            exit_code: Some(1),
            output: "\u{1}\"ü".repeat(700_000),
            error: Some("\u{1}".repeat(100_000)),
            ..TaskEnd::default()
        };
        let executor = ExecutorKind::Other("x".repeat(128));
        let frame = of_end(&"e".repeat(128), executor, end);
        assert!(frame.len() <= MAX_FRAME_OUT);
        let AgentMessage::Failed(failed) = decoded(&frame) else {
            panic!("not a failure")
        };
        assert_eq!(
            failed.exit_code,
            Some(1),
            "it is the result itself, not its stand-in"
        );
    }
}
