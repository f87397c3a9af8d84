//! Tasks in, results out.

use askalf_proto::{Cause, DecodeError, ExecutionFailed, OutputStream};

use super::*;
use crate::OutputChunk;

fn failed(rig: &mut Rig) -> ExecutionFailed {
    match rig.messages().as_slice() {
        [AgentMessage::Failed(failed)] => failed.clone(),
        other => panic!("{other:?}"),
    }
}

/// The connection has written the result.
fn written(rig: &mut Rig, socket: SocketId, id: &str) {
    rig.handle(Event::Written(socket, id.to_owned()));
}

#[test]
fn five_dispatches_in_one_tick_run_two_at_a_time() {
    let (mut rig, socket) = Rig::online(Features::all());
    for id in ["a", "b", "c", "d", "e"] {
        rig.dispatch(socket, id);
    }
    assert_eq!(rig.started(), ["a", "b"]);
    let sent: Vec<_> = rig
        .messages()
        .into_iter()
        .map(|message| match message {
            AgentMessage::Accepted(it) => format!("{} accepted", it.execution_id),
            AgentMessage::Queued(it) => format!("{} {}", it.execution_id, it.position),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sent, ["a accepted", "b accepted", "c 1", "d 2", "e 3"]);
    assert_eq!((rig.machine.running(), rig.machine.queued()), (2, 3));
    rig.end("b", success());
    assert_eq!(rig.started(), ["c"]);
}

#[test]
fn a_result_is_sent_once_it_is_on_record_and_forgotten_once_acknowledged() {
    let (mut rig, socket) = Rig::online(Features::all());
    rig.dispatch(socket, "a");
    rig.sent();
    let end = Event::TaskEnded {
        execution_id: "a".to_owned(),
        end: success(),
    };
    rig.machine.handle(end, rig.now);
    let Some(Action::Start(_)) = rig.actions.pop() else {
        panic!()
    };
    let Some(Action::Persist { execution_id, .. }) = rig.machine.next_action() else {
        panic!()
    };
    assert!(
        rig.machine.next_action().is_none(),
        "nothing is sent before it is on record"
    );
    rig.handle(Event::Persisted(execution_id));
    assert_eq!(rig.sent(), ["execution:complete"]);
    written(&mut rig, socket, "a");
    assert_eq!(rig.machine.unacknowledged(), 1, "written is not recorded");
    rig.ack(socket, "a");
    assert_eq!(rig.machine.unacknowledged(), 0);
    assert!(rig.has(|it| matches!(it, Action::Forget(id) if id == "a")));
}

#[test]
fn unacknowledged_results_follow_in_order_on_every_connection() {
    let (mut rig, mut socket) = Rig::online(Features::all());
    rig.dispatch(socket, "a");
    rig.dispatch(socket, "b");
    rig.end("b", success());
    rig.close(socket, 1006);
    rig.sent();
    rig.end("a", success());
    assert_eq!(rig.sent(), Vec::<String>::new(), "nothing is sent while offline");
    for _ in 0..3 {
        socket = rig.come_back(Features::all());
        assert_eq!(rig.sent(), ["device:reconnect", "execution:complete"]);
        assert!(
            !rig.has(|it| matches!(it, Action::SendResult { .. })),
            "one at a time"
        );
        written(&mut rig, socket, "b");
        assert_eq!(rig.sent(), ["execution:complete"]);
        rig.close(socket, 1006);
    }
    socket = rig.come_back(Features::all());
    written(&mut rig, socket, "b");
    rig.ack(socket, "b");
    written(&mut rig, socket, "a");
    rig.ack(socket, "a");
    assert_eq!(rig.machine.unacknowledged(), 0);
}

#[test]
fn an_overdue_acknowledgement_is_asked_for_by_sending_again() {
    let (mut rig, socket) = Rig::online(Features::all());
    rig.dispatch(socket, "a");
    rig.end("a", success());
    written(&mut rig, socket, "a");
    rig.sent();
    rig.pass(secs(29));
    assert_eq!(rig.sent(), Vec::<String>::new());
    rig.pass(secs(1));
    assert!(rig.sent().contains(&"execution:complete".to_owned()));
}

#[test]
fn what_cannot_run_is_refused_with_a_reason() {
    let (mut rig, socket) = Rig::online(Features::all());
    let no_input = TaskDispatch {
        input: None,
        ..task("a")
    };
    let no_executor = TaskDispatch {
        executor: Some(ExecutorKind::Codex),
        ..task("b")
    };
    for (dispatch, error) in [
        (no_input, "the task has no input: there is nothing to run"),
        (no_executor, "this device has no executor 'codex'"),
    ] {
        let id = dispatch.execution_id.clone();
        rig.receive(socket, BridgeMessage::Dispatch(dispatch));
        let failed = failed(&mut rig);
        assert_eq!(
            (failed.cause, failed.error.as_str()),
            (Some(Cause::Refused), error)
        );
        written(&mut rig, socket, &id);
        rig.ack(socket, &id);
        rig.dispatch(socket, &id);
        assert!(rig.started().is_empty(), "once refused, never run");
        rig.sent();
    }
}

#[test]
fn a_dispatch_that_cannot_be_read_is_refused_by_its_id() {
    let (mut rig, socket) = Rig::online(Features::all());
    let frame = r#"{"type":"task:dispatch","payload":{"executionId":"a","input":7}}"#;
    let error = askalf_proto::decode_bridge(frame).unwrap_err();
    rig.handle(Event::Odd(socket, Oddity::Undecodable(error.clone())));
    let refused = failed(&mut rig);
    assert_eq!(
        (refused.execution_id.as_str(), refused.cause),
        ("a", Some(Cause::Refused))
    );
    assert!(
        refused.error.starts_with("the task cannot be read"),
        "{}",
        refused.error
    );
    // It never ends an execution that runs.
    rig.dispatch(socket, "b");
    rig.sent();
    let DecodeError::InvalidPayload { kind, detail, .. } = error else {
        panic!()
    };
    let execution_id = Some("b".to_owned());
    let damaged = DecodeError::InvalidPayload {
        kind,
        detail,
        execution_id,
    };
    rig.handle(Event::Odd(socket, Oddity::Undecodable(damaged)));
    assert_eq!(rig.sent(), ["execution:accepted"]);
    assert_eq!(rig.machine.running(), 1);
}

#[test]
fn a_repeated_dispatch_never_runs_again() {
    let (mut rig, socket) = Rig::online(Features::all());
    for id in ["a", "b", "c"] {
        rig.dispatch(socket, id);
    }
    assert_eq!(rig.started(), ["a", "b"]);
    rig.sent();
    rig.dispatch(socket, "a");
    rig.dispatch(socket, "c");
    assert_eq!(rig.sent(), ["execution:accepted", "execution:queued"]);
    rig.end("a", success());
    written(&mut rig, socket, "a");
    rig.sent();
    rig.dispatch(socket, "a");
    assert_eq!(rig.sent(), ["execution:complete"], "its result is still held");
    written(&mut rig, socket, "a");
    rig.ack(socket, "a");
    rig.dispatch(socket, "a");
    assert_eq!(
        rig.sent(),
        ["execution:failed"],
        "it is told that nothing is held"
    );
    assert_eq!(rig.started(), ["c"]);
}

#[test]
fn cancelling_ends_what_waits_and_tells_what_runs() {
    let (mut rig, socket) = Rig::online(Features::all());
    for id in ["a", "b", "c"] {
        rig.dispatch(socket, id);
    }
    rig.sent();
    rig.cancel(socket, "c");
    let cancelled = failed(&mut rig);
    assert_eq!(
        (cancelled.execution_id.as_str(), cancelled.cause),
        ("c", Some(Cause::Cancelled))
    );
    assert_eq!(rig.started(), ["a", "b"]);
    rig.cancel(socket, "a");
    assert!(rig.has(|it| matches!(it, Action::Cancel(id) if id == "a")));
    rig.cancel(socket, "nobody");
    assert_eq!(rig.sent(), Vec::<String>::new());
    let end = TaskEnd {
        cause: Some(Cause::Cancelled),
        ..TaskEnd::default()
    };
    rig.end("a", end);
    written(&mut rig, socket, "c");
    assert_eq!(failed(&mut rig).cause, Some(Cause::Cancelled));
}

#[test]
fn an_end_that_is_told_twice_counts_once() {
    let (mut rig, socket) = Rig::online(Features::all());
    rig.dispatch(socket, "a");
    rig.sent();
    rig.end("a", success());
    rig.end("a", success());
    assert_eq!(rig.machine.unacknowledged(), 1);
    assert_eq!(rig.sent(), ["execution:complete"]);
}

#[test]
fn a_full_queue_and_a_full_outbox_refuse_new_work_and_lose_no_result() {
    let mut rig = Rig::with(|config| {
        config.max_concurrent = 1;
        config.queue_limit = 1;
        config.outbox_entries = 3;
    });
    rig.start();
    let socket = rig.connect().unwrap();
    rig.open(socket);
    rig.registered(socket, Features::all());
    rig.sent();
    rig.dispatch(socket, "a");
    rig.dispatch(socket, "b");
    rig.sent();
    rig.dispatch(socket, "c");
    assert_eq!(failed(&mut rig).error, "the device's queue is full");
    // One place holds the refusal, two are reserved for a and b.
    rig.end("a", success());
    rig.sent();
    rig.dispatch(socket, "d");
    let refused = rig.messages();
    let [AgentMessage::Failed(refused)] = refused.as_slice() else {
        panic!("{refused:?}")
    };
    assert_eq!(
        refused.error,
        "the device holds too many results that the bridge has not taken yet"
    );
    assert_eq!(
        rig.machine.unacknowledged(),
        2,
        "no refusal takes the place of a result"
    );
    rig.end("b", success());
    assert_eq!(rig.machine.unacknowledged(), 3);
    rig.dispatch(socket, "d");
    assert_eq!(rig.started(), ["a", "b"], "what was refused never runs");
}

#[test]
fn a_choice_left_to_the_device_never_falls_on_the_shell() {
    use ExecutorKind::{Auto, Claude, Codex, Shell};
    let left_open = |id: &str, mode| TaskDispatch {
        executor: None,
        mode,
        ..task(id)
    };
    for (installed, chosen) in [
        (vec![Claude, Codex, Shell], Some(Claude)),
        (vec![Codex, Shell], Some(Codex)),
        (vec![Shell], None),
        (vec![], None),
    ] {
        for mode in [None, Some(Auto)] {
            let (mut rig, socket) = Rig::online(Features::all());
            let facts = DeviceFacts::default();
            let executors = installed.clone();
            rig.handle(Event::Scanned(Some(Box::new(crate::Scan { facts, executors }))));
            rig.receive(socket, BridgeMessage::Dispatch(left_open("a", mode)));
            let ran = rig.actions.iter().find_map(|action| match action {
                Action::Start(job) => Some(job.executor.clone()),
                _ => None,
            });
            assert_eq!(ran, chosen, "of {installed:?}");
            if chosen.is_none() {
                assert_eq!(
                    failed(&mut rig).error,
                    "this device has no executor for a prompt: neither claude nor codex is installed. Name the executor \
                     'shell' where the input is a command"
                );
            }
        }
    }
    let (mut rig, socket) = Rig::online(Features::all());
    let dispatch = TaskDispatch {
        executor: Some(Claude),
        ..task("a")
    };
    rig.receive(socket, BridgeMessage::Dispatch(dispatch));
    assert_eq!(failed(&mut rig).error, "this device has no executor 'claude'");
}

#[test]
fn time_outs_are_within_bounds() {
    for (asked, granted) in [
        (None, secs(600)),
        (Some(0), secs(1)),
        (Some(5_000), secs(5)),
        (Some(u64::MAX), secs(86_400)),
    ] {
        let (mut rig, socket) = Rig::online(Features::all());
        let dispatch = TaskDispatch {
            timeout_ms: asked,
            ..task("a")
        };
        rig.receive(socket, BridgeMessage::Dispatch(dispatch));
        let job = rig.actions.iter().find_map(|action| match action {
            Action::Start(job) => Some(job),
            _ => None,
        });
        assert_eq!(job.unwrap().task.timeout, granted);
    }
}

#[test]
fn output_is_passed_on_while_the_task_runs_and_somebody_listens() {
    let (mut rig, socket) = Rig::online(Features::all());
    let chunk = || OutputChunk {
        execution_id: "a".to_owned(),
        stream: OutputStream::Stderr,
        text: "x".to_owned(),
    };
    rig.handle(Event::Output(chunk()));
    rig.dispatch(socket, "a");
    assert_eq!(rig.sent(), ["execution:accepted"]);
    rig.handle(Event::Output(chunk()));
    assert_eq!(rig.sent(), ["execution:progress"]);
    rig.end("a", success());
    rig.handle(Event::Output(chunk()));
    assert_eq!(rig.sent(), ["execution:complete"], "never after the result");
    rig.dispatch(socket, "b");
    rig.close(socket, 1001);
    rig.sent();
    rig.handle(Event::Output(OutputChunk {
        execution_id: "b".to_owned(),
        ..chunk()
    }));
    assert_eq!(rig.sent(), Vec::<String>::new());
}

#[test]
fn what_starts_between_a_registration_and_its_answer_is_told_afterwards() {
    let (mut rig, socket) = Rig::online(Features::all());
    for id in ["a", "b", "c"] {
        rig.dispatch(socket, id);
    }
    rig.close(socket, 1006);
    rig.pass_to(TimerReason::Retry);
    let socket = rig.connect().unwrap();
    rig.open(socket);
    rig.sent();
    // The registration has named it as one that waits.
    rig.end("a", success());
    assert_eq!(rig.started().last().map(String::as_str), Some("c"));
    rig.registered(socket, Features::all());
    let messages = rig.messages();
    let accepted: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            AgentMessage::Accepted(accepted) => Some(accepted.execution_id.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(accepted, ["c"], "{messages:?}");
}
