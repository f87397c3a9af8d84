//! A device that is set up otherwise while it runs.

use askalf_proto::Feature;

use super::*;

fn reconfigure(rig: &mut Rig, name: &str, max_concurrent: u32) {
    rig.handle(Event::Reconfigured {
        name: Some(name.to_owned()),
        max_concurrent,
        default_timeout: secs(60),
    });
}

/// The name and number of the one registration that was sent since the last call.
fn registration(rig: &mut Rig) -> (Option<String>, Option<u32>) {
    let sent = rig.messages();
    let [AgentMessage::Register(register)] = sent.as_slice() else {
        panic!("no registration alone: {sent:?}");
    };
    (register.device_name.clone(), register.max_concurrent)
}

fn resume() -> Features {
    Features::from_iter([Feature::Resume, Feature::ExecutionAck])
}

#[test]
fn a_new_name_and_number_are_told_on_a_new_connection_and_the_same_ones_are_not() {
    let (mut rig, socket) = Rig::online(Features::none());
    reconfigure(&mut rig, "desk", 2);
    assert!(rig.actions.is_empty(), "nothing has changed: {:?}", rig.actions);
    reconfigure(&mut rig, "shelf", 3);
    assert!(matches!(rig.actions[0], Action::Close(closed, _) if closed == socket));
    let socket = rig.connect().unwrap();
    rig.open(socket);
    assert_eq!(registration(&mut rig), (Some("shelf".to_owned()), Some(3)));
    rig.registered(socket, Features::none());
    assert_eq!(rig.state(), (State::Online, "registered"));
    assert!(rig.connect().is_none(), "it is told once");
}

#[test]
fn no_running_task_suffers_by_it() {
    let (mut rig, socket) = Rig::online(Features::none());
    rig.dispatch(socket, "e1");
    reconfigure(&mut rig, "shelf", 2);
    assert!(rig.connect().is_none(), "an old forge would end the task");
    rig.end("e1", TaskEnd::default());
    rig.pass(secs(200));
    rig.answer_polls();
    assert!(rig.connect().is_some() || rig.machine.unacknowledged() > 0);

    let (mut rig, socket) = Rig::online(resume());
    rig.dispatch(socket, "e1");
    reconfigure(&mut rig, "shelf", 2);
    let socket = rig.connect().expect("executions outlive a connection there");
    rig.open(socket);
    rig.registered(socket, resume());
    assert_eq!(rig.machine.running(), 1);
}

#[test]
fn another_number_of_tasks_counts_at_once() {
    let (mut rig, socket) = Rig::online(resume());
    for id in ["e1", "e2", "e3", "e4"] {
        rig.dispatch(socket, id);
    }
    assert_eq!((rig.machine.running(), rig.machine.queued()), (2, 2));
    reconfigure(&mut rig, "desk", 3);
    assert_eq!((rig.machine.running(), rig.machine.queued()), (3, 1));
    reconfigure(&mut rig, "desk", 1);
    assert_eq!(rig.machine.running(), 3, "what runs runs on");
}

#[test]
fn the_same_credential_under_another_number_keeps_the_connection() {
    let (mut rig, _) = Rig::online(Features::none());
    rig.handle(Event::CredentialUnchanged { generation: 2 });
    assert!(rig.actions.is_empty(), "{:?}", rig.actions);
    rig.handle(Event::CredentialGeneration(2));
    assert!(rig.actions.is_empty(), "it is known: {:?}", rig.actions);
    rig.handle(Event::CredentialReady { generation: 3 });
    assert!(rig.connect().is_some());
}
