//! A rotation of the key, with each message lost and the process cut off after each step.

use askalf_proto::{CredentialCommitted, CredentialRotate, Credentials, Feature, Reason};

use super::*;
use crate::RotationFault;

fn offer(id: &str) -> BridgeMessage {
    BridgeMessage::CredentialRotate(CredentialRotate {
        rotation_id: id.to_owned(),
        key: Credentials::new("sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG"),
        key_prefix: None,
    })
}

fn committed(id: &str) -> BridgeMessage {
    let rotation_id = id.to_owned();
    BridgeMessage::CredentialCommitted(CredentialCommitted { rotation_id })
}

fn fault(lasting: bool) -> RotationFault {
    RotationFault {
        id: "full".to_owned(),
        problem: "the disk is full".to_owned(),
        hint: String::new(),
        lasting,
    }
}

fn refused() -> Proof {
    Proof::Refused {
        problem: "the key was revoked".to_owned(),
    }
}

fn undecided() -> Proof {
    Proof::Undecided {
        problem: "the bridge cannot be reached".to_owned(),
    }
}

impl Rig {
    /// The steps of the rotation that were asked for since the last call, and reads of the credential.
    fn steps(&mut self) -> Vec<String> {
        let mut steps = Vec::new();
        self.actions.retain(|action| {
            steps.push(match action {
                Action::LoadCredential => "load".to_owned(),
                Action::StageCredential(offer) => format!("stage {}", offer.rotation_id),
                Action::ProveCredential(id) => format!("prove {id}"),
                Action::PromoteCredential => "promote".to_owned(),
                Action::DropStagedCredential { keep_file: false } => "drop".to_owned(),
                Action::DropStagedCredential { keep_file: true } => "set aside".to_owned(),
                _ => return true,
            });
            false
        });
        steps
    }

    fn staged(&mut self, id: &str, staged: Result<(), RotationFault>) {
        let rotation_id = id.to_owned();
        self.handle(Event::CredentialStaged { rotation_id, staged });
    }

    fn proved(&mut self, id: &str, proof: Proof) {
        let rotation_id = id.to_owned();
        self.handle(Event::CredentialProved { rotation_id, proof });
    }

    /// The key that an earlier process staged is tried first.
    fn started_with_staged() -> (Self, SocketId) {
        let mut rig = Self::new();
        rig.handle(Event::Start { device_id: None });
        rig.actions.clear();
        rig.handle(Event::StagedCredentialReady { generation: 1 });
        let socket = rig.connect().unwrap();
        rig.open(socket);
        rig.actions.clear();
        (rig, socket)
    }

    /// Online, and its key is being proved for `rot_1`.
    fn proving() -> (Self, SocketId) {
        let (mut rig, socket) = Self::online(Features::all());
        rig.receive(socket, offer("rot_1"));
        rig.staged("rot_1", Ok(()));
        assert_eq!(rig.steps(), ["stage rot_1", "prove rot_1"]);
        assert_eq!(rig.sent(), ["credential:staged"]);
        (rig, socket)
    }

    /// The key is in place and was read: the device comes back with it.
    fn comes_back_with_the_new_key(&mut self) -> SocketId {
        assert_eq!(self.steps(), ["load"]);
        self.handle(Event::CredentialReady { generation: 2 });
        let socket = self.connect().expect("it connects anew");
        self.open(socket);
        self.registered(socket, Features::all());
        self.actions.clear();
        socket
    }

    /// What the device says of rotations to this bridge.
    fn said(&mut self) -> Vec<(String, String)> {
        let said = self.messages().into_iter().filter_map(|message| match message {
            AgentMessage::CredentialPromoted(it) => Some(("promoted".to_owned(), it.rotation_id)),
            AgentMessage::CredentialFailed(it) => Some((it.reason.unwrap_or_default(), it.rotation_id)),
            _ => None,
        });
        said.collect()
    }
}

fn pair(what: &str, id: &str) -> Vec<(String, String)> {
    vec![(what.to_owned(), id.to_owned())]
}

#[test]
fn a_rotation_stages_proves_promotes_and_says_so_with_the_new_key() {
    assert!(Features::all().contains(Feature::Rotation));
    let (mut rig, socket) = Rig::proving();
    rig.proved("rot_1", Proof::Committed);
    assert_eq!(rig.steps(), ["promote"]);
    assert_eq!(rig.state().0, State::Online, "the connection goes on meanwhile");
    rig.handle(Event::CredentialPromoted(Ok(())));
    // Not before it has come back: until then the bridge closes nothing of the old key.
    rig.receive(socket, committed("rot_1"));
    assert_eq!(rig.said(), []);
    let socket = rig.comes_back_with_the_new_key();
    rig.receive(socket, committed("rot_1"));
    assert_eq!(rig.said(), pair("promoted", "rot_1"));
    rig.receive(socket, committed("rot_1"));
    assert_eq!(
        rig.said(),
        pair("promoted", "rot_1"),
        "asked again, it says so again"
    );
}

#[test]
fn tasks_run_on_while_the_device_changes_its_key() {
    let (mut rig, socket) = Rig::online(Features::all());
    rig.dispatch(socket, "exec_1");
    assert_eq!(rig.started(), ["exec_1"]);
    rig.receive(socket, offer("rot_1"));
    rig.staged("rot_1", Ok(()));
    rig.proved("rot_1", Proof::Committed);
    rig.handle(Event::CredentialPromoted(Ok(())));
    rig.steps();
    rig.handle(Event::CredentialReady { generation: 2 });
    let socket = rig.connect().unwrap();
    rig.actions.clear();
    rig.open(socket);
    let messages = rig.messages();
    let [AgentMessage::Register(register)] = messages.as_slice() else {
        panic!("it registers")
    };
    assert_eq!(register.executions[0].execution_id, "exec_1");
    assert!(!rig.has(|action| matches!(action, Action::Cancel(_))));
}

#[test]
fn a_key_that_cannot_be_kept_is_refused_and_the_old_one_stays() {
    let (mut rig, socket) = Rig::online(Features::all());
    rig.receive(socket, offer("rot_1"));
    rig.staged("rot_1", Err(fault(false)));
    assert_eq!(rig.said(), pair("the disk is full", "rot_1"));
    assert_eq!(rig.state().0, State::Online);
    rig.steps();
    rig.receive(socket, offer("rot_2"));
    assert_eq!(rig.steps(), ["stage rot_2"], "the next one is taken");
}

#[test]
fn a_proof_without_an_answer_is_tried_again_and_decides_nothing() {
    let (mut rig, _) = Rig::proving();
    for _ in 0..5 {
        rig.proved("rot_1", undecided());
        assert_eq!(rig.steps(), [""; 0]);
        let waited = rig.pass_to(TimerReason::Rotation);
        assert!(waited <= secs(60), "{waited:?}");
        assert_eq!(rig.steps(), ["prove rot_1"]);
    }
    rig.proved("rot_1", Proof::Committed);
    assert_eq!(rig.steps(), ["promote"]);
}

#[test]
fn a_key_that_the_bridge_refuses_is_dropped_and_the_old_one_stays() {
    let (mut rig, _) = Rig::proving();
    rig.proved("rot_1", refused());
    assert_eq!(rig.steps(), ["drop"]);
    assert_eq!(rig.said(), pair("the key was revoked", "rot_1"));
    rig.handle(Event::StagedCredentialDropped);
    assert_eq!(rig.steps(), [""; 0]);
    assert_eq!(rig.state().0, State::Online);
}

#[test]
fn a_newer_offer_takes_the_place_of_an_older_one() {
    let (mut rig, socket) = Rig::online(Features::all());
    rig.receive(socket, offer("rot_1"));
    rig.receive(socket, offer("rot_2"));
    rig.staged("rot_1", Ok(()));
    assert_eq!(rig.steps(), ["stage rot_1", "stage rot_2"]);
    rig.staged("rot_2", Ok(()));
    assert_eq!(rig.steps(), ["prove rot_2"]);
    rig.proved("rot_1", Proof::Committed);
    assert_eq!(rig.steps(), [""; 0], "what came of the older one is void");
    rig.receive(socket, offer("rot_3"));
    rig.proved("rot_2", undecided());
    assert_eq!(rig.steps(), ["stage rot_3"]);
    rig.staged("rot_3", Ok(()));
    rig.receive(socket, offer("rot_4"));
    rig.proved("rot_3", refused());
    rig.handle(Event::StagedCredentialDropped);
    assert_eq!(rig.steps(), ["prove rot_3", "drop", "stage rot_4"]);
}

#[test]
fn while_a_committed_key_is_put_in_place_no_other_is_taken() {
    let (mut rig, socket) = Rig::proving();
    rig.proved("rot_1", Proof::Committed);
    rig.receive(socket, offer("rot_2"));
    assert_eq!(rig.steps(), ["promote"]);
    assert_eq!(
        rig.said(),
        pair("the device is completing an earlier rotation", "rot_2")
    );
}

#[test]
fn a_key_that_cannot_be_put_in_place_yet_is_tried_again() {
    let (mut rig, _) = Rig::proving();
    rig.proved("rot_1", Proof::Committed);
    rig.steps();
    rig.handle(Event::CredentialPromoted(Err(fault(false))));
    rig.pass_to(TimerReason::Rotation);
    assert_eq!(rig.steps(), ["promote"]);
    rig.handle(Event::CredentialPromoted(Ok(())));
    rig.comes_back_with_the_new_key();
}

#[test]
fn a_staged_key_that_is_gone_ends_the_rotation() {
    let (mut rig, socket) = Rig::proving();
    rig.proved("rot_1", Proof::Committed);
    rig.handle(Event::CredentialPromoted(Err(fault(true))));
    rig.steps();
    rig.receive(socket, offer("rot_2"));
    assert_eq!(rig.steps(), ["stage rot_2"]);
}

#[test]
fn a_connection_that_is_lost_with_a_staged_key_comes_back_with_it() {
    let (mut rig, socket) = Rig::proving();
    rig.close(socket, 1006);
    assert_eq!(rig.steps(), ["load"]);
    rig.handle(Event::StagedCredentialReady { generation: 1 });
    let socket = rig.connect().expect("it does not wait");
    rig.open(socket);
    rig.registered(socket, Features::all());
    assert_eq!(rig.steps(), ["promote"], "registered under it, it is proved");
    // What the other connection says comes too late, whatever it is.
    rig.proved("rot_1", refused());
    assert_eq!(rig.steps(), [""; 0]);
    rig.handle(Event::CredentialPromoted(Ok(())));
    let socket = rig.comes_back_with_the_new_key();
    rig.receive(socket, committed("rot_1"));
    assert_eq!(rig.said(), pair("promoted", "rot_1"));
}

#[test]
fn a_bridge_that_is_away_with_a_staged_key_is_not_dialled_in_a_loop() {
    let (mut rig, socket) = Rig::proving();
    rig.close(socket, 1006);
    assert_eq!(rig.steps(), ["load"]);
    rig.handle(Event::StagedCredentialReady { generation: 1 });
    let mut dials = 0;
    let start = rig.now;
    while rig.now.since(start) < secs(600) {
        if let Some(socket) = rig.connect() {
            dials += 1;
            rig.close(socket, 1006);
        }
        assert!(!rig.steps().contains(&"load".to_owned()), "it was read already");
        let timer = rig.machine.next_timer().unwrap();
        rig.now = timer.at;
        rig.machine.handle_timeout(rig.now);
        rig.answer_polls();
    }
    assert!((5..60).contains(&dials), "{dials} dials in ten minutes");
}

#[test]
fn a_connection_that_is_lost_while_the_key_is_written_is_made_with_it() {
    let (mut rig, socket) = Rig::online(Features::all());
    rig.receive(socket, offer("rot_1"));
    rig.close(socket, 1006);
    assert_eq!(rig.steps(), ["stage rot_1"], "nothing is staged yet");
    rig.staged("rot_1", Ok(()));
    assert_eq!(rig.steps(), ["prove rot_1", "load"]);
    assert_eq!(rig.sent(), [""; 0], "there is nobody to say it to");
}

#[test]
fn a_start_with_a_staged_key_promotes_it_once_registered() {
    let (mut rig, socket) = Rig::started_with_staged();
    rig.registered(socket, Features::all());
    assert_eq!(rig.steps(), ["promote"]);
    rig.receive(socket, committed("rot_1"));
    assert_eq!(rig.said(), [], "it is not in place yet");
    rig.handle(Event::CredentialPromoted(Ok(())));
    let socket = rig.comes_back_with_the_new_key();
    rig.receive(socket, committed("rot_1"));
    assert_eq!(rig.said(), pair("promoted", "rot_1"));
}

#[test]
fn a_start_drops_a_staged_key_that_is_refused_for_certain_and_uses_the_present_one() {
    for reason in [
        Reason::Unknown,
        Reason::Revoked,
        Reason::Expired,
        Reason::ScopeMissing,
    ] {
        let (mut rig, socket) = Rig::started_with_staged();
        rig.error(socket, ErrorCode::AuthFailed, Some(reason));
        assert_eq!(rig.steps(), ["drop"], "{reason}");
        assert_eq!(rig.state(), (State::Connecting, "staged-key-refused"));
        rig.handle(Event::StagedCredentialDropped);
        assert_eq!(rig.steps(), ["load"]);
        rig.handle(Event::CredentialReady { generation: 1 });
        let socket = rig.connect().expect("it goes on with the present key");
        rig.open(socket);
        rig.registered(socket, Features::all());
        assert_eq!(rig.state().0, State::Online);
    }
}

#[test]
fn a_bridge_that_cannot_check_decides_nothing_about_a_staged_key() {
    for reason in [Reason::Unavailable, Reason::Overloaded] {
        let (mut rig, socket) = Rig::started_with_staged();
        rig.error(socket, ErrorCode::InternalError, Some(reason));
        assert_eq!(rig.steps(), [""; 0]);
        assert_eq!(rig.state().0, State::Backoff);
        rig.pass_to(TimerReason::Retry);
        assert!(rig.connect().is_some());
    }
    // Nor does a user that is suspended: the present key has the same.
    let (mut rig, socket) = Rig::started_with_staged();
    rig.error(socket, ErrorCode::UserNotFound, Some(Reason::UserInactive));
    assert_eq!(rig.steps(), [""; 0]);
    assert_eq!(rig.state(), (State::RepairRequired, "user_inactive"));
}

#[test]
fn a_forge_that_refuses_without_a_reason_leaves_the_staged_file() {
    let (mut rig, socket) = Rig::started_with_staged();
    rig.error(socket, ErrorCode::AuthFailed, None);
    assert_eq!(rig.steps(), ["set aside"]);
    rig.handle(Event::StagedCredentialDropped);
    assert_eq!(rig.steps(), ["load"]);
    rig.handle(Event::CredentialReady { generation: 1 });
    let socket = rig.connect().unwrap();
    rig.open(socket);
    rig.error(socket, ErrorCode::AuthFailed, None);
    assert_eq!(
        rig.state().0,
        State::Backoff,
        "the present key has its second try"
    );
}

#[test]
fn a_refusal_while_the_staged_key_is_dropped_already_waits_for_that() {
    let (mut rig, socket) = Rig::proving();
    rig.close(socket, 1006);
    rig.handle(Event::StagedCredentialReady { generation: 1 });
    let socket = rig.connect().unwrap();
    rig.open(socket);
    rig.steps();
    rig.proved("rot_1", refused());
    assert_eq!(rig.steps(), ["drop"]);
    rig.error(socket, ErrorCode::AuthFailed, Some(Reason::Revoked));
    assert_eq!(rig.state().0, State::Connecting, "no person is called");
    rig.handle(Event::StagedCredentialDropped);
    assert_eq!(rig.steps(), ["load"]);
}

#[test]
fn a_reason_that_is_too_long_for_the_wire_is_cut() {
    let (mut rig, socket) = Rig::online(Features::all());
    rig.receive(socket, offer("rot_1"));
    let problem = format!("a{}", "ü".repeat(200));
    rig.staged(
        "rot_1",
        Err(RotationFault {
            problem,
            ..fault(false)
        }),
    );
    let said = rig.said();
    assert_eq!(said[0].0.len(), 255, "{said:?}");
}
