//! Drain and stop.

use askalf_proto::Cause;

use super::*;

fn finished(rig: &Rig) -> bool {
    rig.has(|it| matches!(it, Action::Finish))
}

fn said_goodbye(rig: &Rig, socket: SocketId) -> bool {
    rig.has(|it| matches!(it, Action::Close(it, code) if *it == socket && code.code == 1000))
}

fn cancelled() -> TaskEnd {
    TaskEnd {
        cause: Some(Cause::Cancelled),
        ..TaskEnd::default()
    }
}

#[test]
fn a_stop_ends_what_runs_reports_it_and_says_goodbye() {
    let (mut rig, socket) = Rig::online(Features::all());
    for id in ["a", "b", "c"] {
        rig.dispatch(socket, id);
    }
    rig.sent();
    rig.handle(Event::Command(Command::Stop));
    assert_eq!(rig.state(), (State::Draining, "stopping"));
    for id in ["a", "b"] {
        assert!(rig.has(|it| matches!(it, Action::Cancel(cancelled) if cancelled == id)));
    }
    let sent = rig.messages();
    let [AgentMessage::Failed(waited)] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    assert_eq!(
        (waited.execution_id.as_str(), waited.cause),
        ("c", Some(Cause::Interrupted))
    );
    rig.handle(Event::Written(socket, "c".to_owned()));
    rig.end("a", cancelled());
    let sent = rig.messages();
    let [AgentMessage::Failed(ran)] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    assert_eq!(
        (ran.cause, ran.error.as_str()),
        (Some(Cause::Interrupted), "the agent was stopped")
    );
    rig.handle(Event::Written(socket, "a".to_owned()));
    // It was done before it could be told: its end is its own.
    rig.end("b", success());
    assert_eq!(rig.sent(), ["execution:complete"]);
    rig.handle(Event::Written(socket, "b".to_owned()));
    assert!(!finished(&rig), "the results are not acknowledged yet");
    for id in ["a", "b", "c"] {
        rig.ack(socket, id);
    }
    assert!(said_goodbye(&rig, socket) && finished(&rig));
    assert_eq!(rig.state(), (State::Stopped, "stopped"));
    assert_eq!(rig.machine.next_timer(), None);
}

#[test]
fn a_task_that_the_bridge_cancelled_before_the_stop_stays_cancelled() {
    let (mut rig, socket) = Rig::online(Features::all());
    rig.dispatch(socket, "a");
    rig.cancel(socket, "a");
    rig.handle(Event::Command(Command::Stop));
    rig.sent();
    rig.end("a", cancelled());
    let sent = rig.messages();
    let [AgentMessage::Failed(ran)] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    assert_eq!(ran.cause, Some(Cause::Cancelled));
}

#[test]
fn an_idle_stop_is_immediate_in_any_phase() {
    let (mut rig, socket) = Rig::online(Features::all());
    rig.handle(Event::Command(Command::Stop));
    assert!(said_goodbye(&rig, socket) && finished(&rig));

    let (mut rig, _) = Rig::dialling();
    rig.handle(Event::Command(Command::Stop));
    assert!(finished(&rig));

    let (mut rig, socket) = Rig::dialling();
    rig.open(socket);
    rig.close(socket, 1001);
    rig.handle(Event::Command(Command::Stop));
    assert!(finished(&rig));

    let mut rig = Rig::new();
    rig.handle(Event::Start { device_id: None });
    rig.handle(Event::Command(Command::Stop));
    assert!(finished(&rig));
}

#[test]
fn a_stop_without_a_connection_waits_for_tasks_but_not_for_delivery() {
    let (mut rig, socket) = Rig::online(Features::all());
    rig.dispatch(socket, "a");
    rig.handle(Event::Command(Command::Stop));
    rig.close(socket, 1006);
    assert!(!finished(&rig));
    rig.pass(secs(5));
    assert_eq!(rig.connect(), None, "it does not come back");
    rig.end("a", cancelled());
    assert!(finished(&rig));
}

#[test]
fn a_stop_is_bounded_and_a_second_one_does_not_wait() {
    let (mut rig, socket) = Rig::online(Features::all());
    rig.dispatch(socket, "a");
    rig.handle(Event::Command(Command::Stop));
    assert_eq!(rig.pass_to(TimerReason::StopOverdue), secs(10));
    assert!(said_goodbye(&rig, socket) && finished(&rig));

    let (mut rig, socket) = Rig::online(Features::all());
    rig.dispatch(socket, "a");
    rig.handle(Event::Command(Command::Stop));
    rig.handle(Event::Command(Command::Stop));
    assert!(finished(&rig));
}

#[test]
fn a_drain_finishes_what_there_is_and_takes_nothing_new() {
    let (mut rig, socket) = Rig::online(Features::all());
    for id in ["a", "b", "c"] {
        rig.dispatch(socket, id);
    }
    rig.sent();
    rig.handle(Event::Command(Command::Drain));
    assert_eq!(rig.state(), (State::Draining, "draining"));
    rig.dispatch(socket, "d");
    let sent = rig.messages();
    let [AgentMessage::Failed(refused)] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    assert_eq!(refused.cause, Some(Cause::Refused));
    // A lost connection is made up for: the results must arrive.
    rig.close(socket, 1006);
    assert_eq!(rig.state(), (State::Draining, "draining"));
    for id in ["a", "b", "c"] {
        rig.end(id, success());
    }
    assert_eq!(rig.started(), ["a", "b", "c"]);
    let socket = rig.come_back(Features::all());
    assert_eq!(rig.state(), (State::Draining, "draining"));
    for id in ["d", "a", "b"] {
        rig.handle(Event::Written(socket, id.to_owned()));
        rig.ack(socket, id);
    }
    assert!(!finished(&rig));
    rig.ack(socket, "c");
    assert!(said_goodbye(&rig, socket) && finished(&rig));
}

#[test]
fn after_the_end_nothing_does_anything() {
    let (mut rig, socket) = Rig::online(Features::all());
    rig.handle(Event::Command(Command::Stop));
    rig.actions.clear();
    rig.dispatch(socket, "a");
    rig.handle(Event::CredentialReady { generation: 9 });
    rig.pass(secs(10_000));
    assert!(rig.actions.is_empty());
    assert_eq!(rig.state().0, State::Stopped);
}
