//! The head of the audit log on its way to the bridge.

use askalf_proto::{AuditHead, Feature};

use super::*;

fn head(seq: u64) -> Event {
    Event::AuditHead(AuditHead {
        seq,
        head: "a".repeat(64),
    })
}

/// The numbers that were told since this was last asked.
fn told(rig: &mut Rig) -> Vec<u64> {
    let told = rig.actions.iter().filter_map(|action| match action {
        Action::Send(_, message) => match &**message {
            AgentMessage::AuditHead(head) => Some(head.seq),
            _ => None,
        },
        _ => None,
    });
    let told = told.collect();
    rig.actions.clear();
    told
}

fn rig_that_announces(features: Features) -> (Rig, SocketId) {
    let mut rig = Rig::with(|config| config.features = Features::all());
    rig.start();
    rig.handle(head(1));
    let socket = rig.connect().unwrap();
    rig.open(socket);
    assert_eq!(told(&mut rig), [0; 0], "not before the device is registered");
    rig.registered(socket, features);
    (rig, socket)
}

/// Lets time pass on a connection whose bridge shows life.
fn pass_alive(rig: &mut Rig, socket: SocketId, seconds: u64) {
    for _ in 0..seconds {
        rig.pass(secs(1));
        rig.handle(Event::Heard(socket));
    }
}

#[test]
fn a_head_is_told_after_the_registration_and_then_at_most_once_a_minute() {
    let (mut rig, socket) = rig_that_announces(Features::all());
    assert_eq!(told(&mut rig), [1]);
    rig.handle(head(2));
    pass_alive(&mut rig, socket, 30);
    rig.handle(head(3));
    pass_alive(&mut rig, socket, 29);
    assert_eq!(told(&mut rig), [0; 0]);
    pass_alive(&mut rig, socket, 1);
    assert_eq!(told(&mut rig), [3], "the newest alone");

    rig.handle(head(3));
    pass_alive(&mut rig, socket, 120);
    assert_eq!(told(&mut rig), [0; 0], "one that is told is not told again");
    rig.handle(head(4));
    assert_eq!(told(&mut rig), [4], "at once, where the last one is long ago");
    rig.come_back(Features::all());
    assert_eq!(
        told(&mut rig),
        [4],
        "and on another connection, whose bridge may have been restored"
    );
}

#[test]
fn a_bridge_that_does_not_know_the_message_gets_none() {
    let resume = Features::from_iter([Feature::ExecutionAck, Feature::Resume]);
    let (mut rig, socket) = rig_that_announces(resume);
    rig.handle(head(2));
    pass_alive(&mut rig, socket, 180);
    assert_eq!(told(&mut rig), [0; 0]);
}
