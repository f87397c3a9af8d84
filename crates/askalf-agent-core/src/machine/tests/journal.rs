//! What the journal holds, what follows where it fails, and results that a bridge does not take.

use askalf_proto::{Cause, ExecutionFailed, Feature};

use super::*;
use crate::journal::{Accepted, EndedId, Held, HeldResult, JournalError, Record};

fn held() -> Held {
    let result = |id: &str| HeldResult {
        execution_id: id.to_owned(),
        frame: format!(r#"{{"type":"execution:failed","payload":{{"executionId":"{id}","error":"kept"}}}}"#)
            .into(),
    };
    Held {
        accepted: vec![Accepted {
            execution_id: "c".to_owned(),
            executor: "claude".to_owned(),
        }],
        results: vec![result("a"), result("b")],
        ended: ["z", "a", "b"].map(EndedId::of).to_vec(),
        ..Held::default()
    }
}

/// Started after a process that left this, and dialling.
fn restored(held: Held) -> (Rig, SocketId) {
    let mut rig = Rig::new();
    rig.handle(Event::Restored(Box::new(held)));
    rig.actions.clear();
    rig.start();
    let socket = rig.connect().unwrap();
    rig.open(socket);
    (rig, socket)
}

fn written(rig: &mut Rig, socket: SocketId, id: &str) {
    rig.handle(Event::Written(socket, id.to_owned()));
}

/// The one report that was sent since the last call.
fn failed(rig: &mut Rig) -> ExecutionFailed {
    match rig.messages().as_slice() {
        [AgentMessage::Failed(failed)] => failed.clone(),
        other => panic!("{other:?}"),
    }
}

fn full() -> Event {
    let path = "/state/executions.db".into();
    let error = JournalError::Full { path };
    Event::JournalFailed(StateReason::new(error.id(), error.to_string(), error.hint()))
}

#[test]
fn what_an_earlier_process_left_is_named_and_sent_in_order_and_never_run() {
    let (mut rig, socket) = restored(held());
    let sent = rig.messages();
    let [AgentMessage::Register(register)] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    let named: Vec<_> = register.executions.iter().map(|it| &*it.execution_id).collect();
    assert_eq!(named, ["a", "b", "c"]);
    assert!(register.features.contains(Feature::Redelivery));
    rig.registered(socket, Features::all());
    for id in ["a", "b"] {
        let kept = failed(&mut rig);
        assert_eq!((&*kept.execution_id, &*kept.error), (id, "kept"));
        written(&mut rig, socket, id);
    }
    let cut_off = failed(&mut rig);
    assert_eq!(
        (
            &*cut_off.execution_id,
            cut_off.cause,
            cut_off.executor,
            &*cut_off.error
        ),
        (
            "c",
            Some(Cause::Interrupted),
            Some(ExecutorKind::Claude),
            "the agent's process ended while it held this task"
        )
    );
    written(&mut rig, socket, "c");
    for id in ["a", "b", "c", "z"] {
        rig.dispatch(socket, id);
    }
    assert_eq!(rig.started(), Vec::<String>::new());
}

#[test]
fn a_device_that_lost_its_journal_promises_no_memory() {
    let (mut rig, _) = restored(Held {
        moved_aside: Some("/state/executions.db.unreadable".into()),
        ..Held::default()
    });
    let sent = rig.messages();
    let [AgentMessage::Register(register)] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    assert!(!register.features.contains(Feature::Redelivery));
    assert!(register.features.contains(Feature::Resume));
}

#[test]
fn nothing_is_dialled_before_it_is_known_what_is_held() {
    let mut rig = Rig::new();
    rig.handle(full());
    assert_eq!(rig.state(), (State::LocalFault, "journal-full"));
    assert!(rig.actions.is_empty());
    rig.handle(Event::JournalWorks);
    rig.start();
    assert_eq!(rig.state().0, State::Connecting);
}

#[test]
fn a_journal_that_fails_refuses_new_work_and_keeps_every_result() {
    let (mut rig, socket) = Rig::online(Features::all());
    rig.dispatch(socket, "a");
    rig.sent();
    // The next acceptance fails on its way to the disk.
    rig.machine.handle(
        Event::Received(socket, Box::new(BridgeMessage::Dispatch(task("b")))),
        rig.now,
    );
    let Some(Action::Journal {
        execution_id,
        executor,
    }) = rig.machine.next_action()
    else {
        panic!()
    };
    assert_eq!((&*execution_id, executor), ("b", ExecutorKind::Shell));
    rig.handle(full());
    rig.handle(Event::NotJournalled(execution_id));
    let refused = failed(&mut rig);
    assert_eq!(
        (&*refused.execution_id, refused.cause),
        ("b", Some(Cause::Refused))
    );
    assert_eq!(
        refused.error,
        "the device takes no new tasks: there is no room for the execution journal /state/executions.db"
    );
    assert_eq!(rig.state(), (State::LocalFault, "journal-full"));
    assert!(rig.machine.condition().reason.hint.contains("make room"));
    rig.dispatch(socket, "c");
    assert_eq!(failed(&mut rig).cause, Some(Cause::Refused));
    assert_eq!(rig.started(), ["a"]);

    // What ends meanwhile waits for its record, for as long as it takes.
    let end = Event::TaskEnded {
        execution_id: "a".to_owned(),
        end: success(),
    };
    rig.machine.handle(end, rig.now);
    assert!(matches!(rig.machine.next_action(), Some(Action::Persist { .. })));
    assert!(rig.machine.next_action().is_none());
    assert_eq!(rig.machine.unacknowledged(), 1);
    rig.handle(Event::JournalWorks);
    assert_eq!(rig.state(), (State::Online, "registered"));
    rig.handle(Event::Persisted("a".to_owned()));
    assert_eq!(rig.sent(), ["execution:complete"]);
    rig.dispatch(socket, "d");
    assert_eq!(rig.started(), ["d"]);
}

#[test]
fn an_agent_that_stops_on_a_full_disk_still_tries_to_deliver() {
    let (mut rig, socket) = Rig::online(Features::all());
    rig.dispatch(socket, "a");
    rig.sent();
    rig.handle(full());
    rig.machine.handle(
        Event::TaskEnded {
            execution_id: "a".to_owned(),
            end: success(),
        },
        rig.now,
    );
    assert!(matches!(rig.machine.next_action(), Some(Action::Persist { .. })));
    assert!(rig.machine.next_action().is_none());
    rig.handle(Event::Command(Command::Stop));
    assert_eq!(rig.sent(), ["execution:complete"]);
    written(&mut rig, socket, "a");
    rig.ack(socket, "a");
    assert!(rig.has(|it| matches!(it, Action::Finish)));
}

#[test]
fn a_cancelled_task_is_not_refused_as_well() {
    let (mut rig, socket) = Rig::online(Features::all());
    let dispatch = Event::Received(socket, Box::new(BridgeMessage::Dispatch(task("a"))));
    rig.machine.handle(dispatch, rig.now);
    assert!(matches!(rig.machine.next_action(), Some(Action::Journal { .. })));
    rig.cancel(socket, "a");
    assert_eq!(failed(&mut rig).cause, Some(Cause::Cancelled));
    rig.handle(full());
    rig.handle(Event::NotJournalled("a".to_owned()));
    assert_eq!(rig.sent(), Vec::<String>::new());
}

#[test]
fn a_fresh_journal_is_given_everything_that_is_held() {
    let (mut rig, socket) = restored(held());
    rig.registered(socket, Features::all());
    rig.ack(socket, "a");
    for id in ["d", "e", "f"] {
        rig.dispatch(socket, id);
    }
    let shown: Vec<_> = rig
        .machine
        .records()
        .into_iter()
        .map(|record| match record {
            Record::Remembered(ended) => {
                let known = ["z", "a", "b", "c"]
                    .into_iter()
                    .find(|id| EndedId::of(id) == ended);
                format!("{} ended", known.unwrap())
            }
            Record::Accepted {
                execution_id,
                executor,
            } => format!("{execution_id} {executor}"),
            Record::Ended { execution_id, .. } => format!("{execution_id} result"),
            Record::Quarantined { .. } | Record::Delivered { .. } => panic!(),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "z ended", "a ended", "b ended", "c ended", "d shell", "e shell", "f shell", "b result",
            "c result"
        ]
    );
}

#[test]
fn a_bridge_that_asks_again_for_what_was_delivered_is_told_its_end() {
    for (features, answers) in [
        (Features::all(), 1),
        (Features::from_iter([Feature::ExecutionAck]), 0),
    ] {
        let (mut rig, socket) = Rig::online(features);
        rig.dispatch(socket, "a");
        rig.end("a", success());
        written(&mut rig, socket, "a");
        rig.ack(socket, "a");
        rig.sent();
        rig.dispatch(socket, "a");
        let sent = rig.messages();
        assert_eq!(sent.len(), answers, "{sent:?}");
        for message in sent {
            let AgentMessage::Failed(failed) = message else {
                panic!("{message:?}")
            };
            assert_eq!(failed.cause, Some(Cause::Interrupted));
        }
        assert_eq!(rig.machine.unacknowledged(), 0);
        assert_eq!(rig.started(), ["a"]);
    }
}

/// The numbers of the pings that were sent since the last call.
fn pings(rig: &mut Rig) -> Vec<u64> {
    let mut pings = Vec::new();
    rig.actions.retain(|action| match action {
        Action::Ping(_, number) => {
            pings.push(*number);
            false
        }
        _ => true,
    });
    pings
}

fn forgot(rig: &Rig, id: &str) -> bool {
    rig.has(|it| matches!(it, Action::Forget(forgotten) if forgotten == id))
}

#[test]
fn an_old_forge_has_a_result_once_it_answers_the_ping_behind_it_and_lives_on() {
    let (mut rig, socket) = Rig::online(Features::none());
    rig.dispatch(socket, "a");
    rig.end("a", success());
    written(&mut rig, SocketId(99), "a");
    assert_eq!(
        pings(&mut rig),
        Vec::<u64>::new(),
        "another socket proves nothing"
    );
    written(&mut rig, socket, "a");
    let sent = pings(&mut rig);
    assert_eq!(sent.len(), 1);
    rig.handle(Event::Ponged(socket, sent[0] + 1));
    assert_eq!(rig.machine.unacknowledged(), 1, "nobody asked that");
    rig.handle(Event::Ponged(socket, sent[0]));
    assert_eq!(rig.machine.unacknowledged(), 0);
    rig.pass(secs(59));
    assert!(!forgot(&rig, "a"));
    rig.handle(Event::Heard(socket));
    rig.pass(secs(1));
    assert!(forgot(&rig, "a"));
}

#[test]
fn an_old_forge_that_dies_soon_after_a_result_gets_it_again() {
    let (mut rig, mut socket) = Rig::online(Features::none());
    rig.dispatch(socket, "a");
    rig.end("a", success());
    for _ in 0..3 {
        written(&mut rig, socket, "a");
        let number = pings(&mut rig)[0];
        rig.handle(Event::Ponged(socket, number));
        rig.pass(secs(20));
        rig.close(socket, 1006);
        rig.sent();
        socket = rig.come_back(Features::none());
        assert_eq!(rig.sent(), ["device:reconnect", "execution:complete"]);
    }
    assert!(!forgot(&rig, "a"));
    // A day later it has had its chances.
    rig.close(socket, 1006);
    rig.pass_to(TimerReason::Retry);
    let socket = rig.connect().unwrap();
    rig.now = rig.now + secs(24 * 60 * 60);
    rig.open(socket);
    rig.registered(socket, Features::none());
    assert_eq!(rig.sent(), ["device:reconnect"]);
    assert!(forgot(&rig, "a"));
}

#[test]
fn a_stop_takes_leave_of_an_old_forge_at_once() {
    let (mut rig, socket) = Rig::online(Features::none());
    rig.dispatch(socket, "a");
    rig.end("a", success());
    written(&mut rig, socket, "a");
    rig.handle(Event::Command(Command::Stop));
    assert!(!rig.has(|it| matches!(it, Action::Finish)));
    let number = pings(&mut rig)[0];
    rig.handle(Event::Ponged(socket, number));
    assert!(forgot(&rig, "a") && rig.has(|it| matches!(it, Action::Finish)));
}

#[test]
fn a_result_that_closes_the_connection_again_and_again_holds_up_nobody() {
    let (mut rig, mut socket) = Rig::online(Features::all());
    for id in ["a", "b"] {
        rig.dispatch(socket, id);
    }
    for id in ["a", "b"] {
        rig.end(id, success());
        written(&mut rig, socket, id);
    }
    // Both were under way: nobody knows which one it was.
    rig.close(socket, 1009);
    assert_eq!(rig.state(), (State::Backoff, "frame-refused"));
    let quarantined = |rig: &Rig| rig.has(|it| matches!(it, Action::Quarantine { .. }));
    for code in [1002, 1007, 1009] {
        assert!(!quarantined(&rig));
        rig.sent();
        socket = rig.come_back(Features::all());
        assert_eq!(rig.sent(), ["device:reconnect", "execution:complete"]);
        written(&mut rig, socket, "a");
        assert_eq!(rig.sent(), Vec::<String>::new(), "one after the other now");
        rig.close(socket, code);
    }
    assert!(quarantined(&rig));
    rig.sent();
    socket = rig.come_back(Features::all());
    let sent = rig.messages();
    let [AgentMessage::Reconnect(_), AgentMessage::Failed(short)] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    assert_eq!(
        (&*short.execution_id, short.cause),
        ("a", Some(Cause::Interrupted))
    );
    assert_eq!(
        short.error,
        "the bridge could not take the result of this task; the device keeps it in quarantine"
    );
    rig.ack(socket, "a");
    assert_eq!(rig.sent(), ["execution:complete"], "and the other one follows");
    rig.ack(socket, "b");
    assert_eq!(rig.machine.unacknowledged(), 0);
}

#[test]
fn a_connection_that_closes_for_another_reason_counts_against_no_result() {
    let (mut rig, mut socket) = Rig::online(Features::all());
    rig.dispatch(socket, "a");
    rig.end("a", success());
    for _ in 0..8 {
        written(&mut rig, socket, "a");
        rig.close(socket, 1006);
        rig.sent();
        socket = rig.come_back(Features::all());
        assert_eq!(rig.sent(), ["device:reconnect", "execution:complete"]);
    }
    assert!(!rig.has(|it| matches!(it, Action::Quarantine { .. })));
}
