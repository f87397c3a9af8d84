//! From the dial to the registration, and back.

use askalf_proto::{DecodeError, Feature, HeldState, Reason};

use super::*;
use crate::{NoCredential, NoCredentialKind};

fn missing(kind: NoCredentialKind, generation: u64) -> NoCredential {
    NoCredential {
        kind,
        id: "some-id".to_owned(),
        problem: "some problem".to_owned(),
        hint: "some hint".to_owned(),
        generation,
    }
}

fn odd(rig: &mut Rig, socket: SocketId, error: DecodeError) {
    rig.handle(Event::Odd(socket, Oddity::Undecodable(error)));
}

#[test]
fn an_open_socket_is_not_online_and_never_beats() {
    let (mut rig, socket) = Rig::dialling();
    assert_eq!(rig.state(), (State::Connecting, "dialling"));
    rig.open(socket);
    assert_eq!(rig.state(), (State::Authenticating, "socket-open"));
    assert_eq!(rig.sent(), ["device:register"]);
    rig.pass(secs(14));
    assert!(rig.sent().iter().all(|kind| kind == "device:register"));
    assert_eq!(rig.state().0, State::Registering);
    rig.registered(socket, Features::none());
    assert_eq!(rig.state(), (State::Online, "registered"));
    assert_eq!(rig.machine.condition().reason.text, "Registered as device dev_1");
    assert!(rig.has(|it| matches!(it, Action::SaveDeviceId(id) if id == "dev_1")));
}

#[test]
fn a_silent_bridge_is_asked_three_times_and_then_left() {
    let (mut rig, socket) = Rig::dialling();
    rig.open(socket);
    rig.pass(secs(14));
    assert_eq!(rig.sent().len(), 3);
    rig.pass(secs(1));
    assert_eq!(rig.state(), (State::Backoff, "not-registered"));
    assert!(rig.has(|it| matches!(it, Action::Abort(it) if *it == socket)));
}

#[test]
fn already_registered_is_no_failure() {
    let (mut rig, socket) = Rig::dialling();
    rig.open(socket);
    rig.pass(secs(5));
    rig.error(socket, ErrorCode::AlreadyRegistered, None);
    assert_eq!(rig.state(), (State::Registering, "answered"));
    rig.registered(socket, Features::none());
    assert_eq!(rig.state().0, State::Online);
    rig.error(socket, ErrorCode::AlreadyRegistered, None);
    assert_eq!(rig.state().0, State::Online);
}

#[test]
fn a_missed_answer_is_made_up_for_by_a_new_connection() {
    let (mut rig, socket) = Rig::dialling();
    rig.open(socket);
    rig.pass(secs(5));
    rig.error(socket, ErrorCode::AlreadyRegistered, None);
    rig.sent();
    rig.pass(secs(5));
    assert_eq!(
        rig.sent(),
        Vec::<String>::new(),
        "asking again would only be refused again"
    );
    assert_eq!(rig.state(), (State::Backoff, "not-registered"));
}

#[test]
fn a_process_registers_first_and_reconnects_afterwards() {
    let mut rig = Rig::new();
    rig.handle(Event::Start {
        device_id: Some("dev_kept".to_owned()),
    });
    rig.handle(Event::CredentialReady { generation: 1 });
    let socket = rig.connect().unwrap();
    rig.open(socket);
    assert_eq!(rig.sent(), ["device:register"], "the facts may have changed");
    rig.registered(socket, Features::none());
    rig.close(socket, 1001);
    rig.pass_to(TimerReason::Retry);
    let socket = rig.connect().unwrap();
    rig.open(socket);
    let sent = rig.messages();
    let [AgentMessage::Reconnect(reconnect)] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    assert_eq!(reconnect.device_id.as_deref(), Some("dev_1"));
    assert!(reconnect.features.contains(Feature::ExecutionAck) && reconnect.protocol > 0);
}

#[test]
fn an_unknown_device_registers_anew_on_the_same_socket() {
    let (mut rig, socket) = Rig::online(Features::none());
    rig.close(socket, 1006);
    rig.pass_to(TimerReason::Retry);
    let socket = rig.connect().unwrap();
    rig.open(socket);
    assert_eq!(rig.sent(), ["device:reconnect"]);
    rig.error(socket, ErrorCode::DeviceNotFound, None);
    assert_eq!(rig.sent(), ["device:register"]);
    assert_eq!(rig.state(), (State::Registering, "device-not-found"));
    assert!(rig.has(|it| matches!(it, Action::ForgetDeviceId)));
    rig.registered(socket, Features::none());
    assert_eq!(rig.state().0, State::Online);
}

#[test]
fn a_bridge_that_never_finds_the_device_is_not_asked_for_ever() {
    let (mut rig, socket) = Rig::dialling();
    rig.open(socket);
    for _ in 0..3 {
        rig.error(socket, ErrorCode::DeviceNotFound, None);
    }
    assert_eq!(rig.sent().len(), 3);
    assert_eq!(rig.state(), (State::Backoff, "not-registered"));
}

#[test]
fn a_bridge_that_registers_and_loses_the_device_in_turns_is_left() {
    let (mut rig, socket) = Rig::dialling();
    rig.open(socket);
    let mut registrations = 0;
    while rig.state().0 != State::Backoff {
        registrations += rig.sent().len();
        assert!(registrations <= 3, "it is asked for ever");
        rig.registered(socket, Features::none());
        rig.error(socket, ErrorCode::DeviceNotFound, None);
    }
    assert_eq!(rig.state(), (State::Backoff, "not-registered"));

    // A session that lasted is no such turn.
    let socket = rig.come_back(Features::none());
    for _ in 0..5 {
        rig.pass(secs(10));
        rig.error(socket, ErrorCode::DeviceNotFound, None);
        rig.registered(socket, Features::none());
    }
    assert_eq!(rig.state().0, State::Online);
}

#[test]
fn losing_the_device_while_online_is_not_online_any_more() {
    let (mut rig, socket) = Rig::online(Features::none());
    rig.error(socket, ErrorCode::DeviceNotFound, None);
    assert_eq!(rig.state().0, State::Registering);
    rig.sent();
    rig.pass(secs(4));
    assert_eq!(rig.sent(), Vec::<String>::new(), "no heartbeat");
}

#[test]
fn a_definite_refusal_waits_for_a_new_key_and_takes_it_within_a_second() {
    let (mut rig, socket) = Rig::dialling();
    rig.open(socket);
    rig.error(socket, ErrorCode::AuthFailed, Some(Reason::Revoked));
    assert_eq!(rig.state(), (State::RepairRequired, "revoked"));
    assert!(rig.has(|it| matches!(it, Action::Close(it, _) if *it == socket)));
    // The close that follows belongs to a connection that is given up.
    rig.close(socket, 4001);
    assert_eq!(rig.state(), (State::RepairRequired, "revoked"));
    rig.actions.clear();
    rig.pass(secs(1));
    assert!(matches!(rig.actions.as_slice(), [Action::PollCredential]));
    rig.handle(Event::CredentialGeneration(2));
    assert!(rig.has(|it| matches!(it, Action::LoadCredential)));
    rig.handle(Event::CredentialReady { generation: 2 });
    assert!(rig.connect().is_some());
    assert_eq!(rig.state(), (State::Connecting, "dialling"));
}

#[test]
fn a_new_key_is_taken_within_a_second_during_a_recheck_too() {
    let (mut rig, socket) = Rig::dialling();
    rig.open(socket);
    rig.error(socket, ErrorCode::AuthFailed, Some(Reason::Revoked));
    for opens in [false, true] {
        rig.pass_to(TimerReason::Retry);
        // The bridge says nothing more.
        let socket = rig.connect().unwrap();
        if opens {
            rig.open(socket);
        }
        rig.actions.clear();
        rig.pass(secs(1));
        assert!(
            rig.has(|it| matches!(it, Action::PollCredential)),
            "opened: {opens}"
        );
        rig.answer_polls();
        rig.handle(Event::Ended(socket, Fault::Silent { silent: secs(1) }));
    }
}

#[test]
fn a_refused_key_is_rechecked_slowly_and_stays_refused_meanwhile() {
    let (mut rig, socket) = Rig::dialling();
    rig.open(socket);
    rig.error(socket, ErrorCode::AuthFailed, Some(Reason::Unknown));
    let since = rig.machine.condition().since;
    assert_eq!(rig.pass_to(TimerReason::Retry), secs(600));
    let socket = rig.connect().unwrap();
    assert_eq!(rig.state(), (State::RepairRequired, "unknown"));
    let detail = "connection refused".to_owned();
    rig.handle(Event::Ended(socket, Fault::Unreachable { detail }));
    assert_eq!(rig.state(), (State::RepairRequired, "unknown"));
    assert_eq!(
        rig.pass_to(TimerReason::Retry),
        secs(600),
        "a network fault hastens nothing"
    );
    assert_eq!(rig.machine.condition().since, since);
    // The bridge was restored from its backup.
    let socket = rig.connect().unwrap();
    rig.open(socket);
    rig.registered(socket, Features::none());
    assert_eq!(rig.state().0, State::Online);
    rig.close(socket, 1001);
    assert_eq!(rig.state(), (State::Backoff, "bridge-shutdown"));
}

#[test]
fn an_old_forge_gets_a_second_try_and_then_an_hour() {
    let (mut rig, socket) = Rig::dialling();
    rig.open(socket);
    rig.error(socket, ErrorCode::AuthFailed, None);
    assert_eq!(rig.state(), (State::Backoff, "no_reason"));
    assert_eq!(rig.pass_to(TimerReason::Retry), secs(30));
    let socket = rig.connect().unwrap();
    rig.open(socket);
    rig.error(socket, ErrorCode::AuthFailed, None);
    assert_eq!(rig.state(), (State::RepairRequired, "no_reason"));
    assert_eq!(rig.pass_to(TimerReason::Retry), secs(3600));
    let socket = rig.connect().unwrap();
    rig.open(socket);
    rig.error(socket, ErrorCode::AuthFailed, None);
    assert_eq!(
        rig.state(),
        (State::RepairRequired, "no_reason"),
        "no second try of its own"
    );
}

#[test]
fn a_second_try_that_succeeds_starts_the_count_anew() {
    let (mut rig, socket) = Rig::dialling();
    rig.open(socket);
    rig.error(socket, ErrorCode::AuthFailed, None);
    let socket = rig.come_back(Features::none());
    rig.error(socket, ErrorCode::AuthFailed, None);
    assert_eq!(rig.state(), (State::Backoff, "no_reason"));
}

#[test]
fn faults_of_the_bridge_never_look_like_a_bad_key() {
    for (code, reason) in [
        (ErrorCode::AuthFailed, Some(Reason::Unavailable)),
        (ErrorCode::AuthFailed, Some(Reason::Overloaded)),
        (ErrorCode::InternalError, None),
        (ErrorCode::ServerShutdown, None),
        (ErrorCode::AuthRequired, None),
    ] {
        let (mut rig, socket) = Rig::dialling();
        rig.open(socket);
        rig.receive(socket, error(code.clone(), reason, Some(7_000)));
        assert_eq!(rig.state().0, State::Backoff, "{code}");
    }
}

#[test]
fn a_suspended_user_is_sent_to_the_operator() {
    let (mut rig, socket) = Rig::dialling();
    rig.open(socket);
    rig.error(socket, ErrorCode::UserNotFound, None);
    assert_eq!(rig.state(), (State::RepairRequired, "user_inactive"));
    assert!(rig.machine.condition().reason.hint.contains("ask the operator"));
}

#[test]
fn the_servers_wish_is_honoured_and_clamped() {
    for (asked_ms, waited) in [(20_000, secs(20)), (u64::MAX, secs(300))] {
        let (mut rig, socket) = Rig::dialling();
        rig.open(socket);
        rig.receive(
            socket,
            error(ErrorCode::InternalError, Some(Reason::Overloaded), Some(asked_ms)),
        );
        let drawn = Duration::from_millis(500);
        assert_eq!(rig.pass_to(TimerReason::Retry), waited + drawn);
    }
}

#[test]
fn backoff_grows_over_opened_sockets_and_is_reset_by_a_settled_session_only() {
    let (mut rig, mut socket) = Rig::dialling();
    let mut waits = Vec::new();
    for _ in 0..4 {
        rig.open(socket);
        rig.close(socket, 1011);
        waits.push(rig.pass_to(TimerReason::Retry).as_millis());
        socket = rig.connect().unwrap();
    }
    assert_eq!(waits, [500, 1000, 2000, 4000]);
    // Registered, but not for long: capped, not reset.
    rig.open(socket);
    rig.registered(socket, Features::none());
    rig.pass(secs(9));
    rig.close(socket, 1011);
    assert_eq!(rig.pass_to(TimerReason::Retry), secs(4));
    let socket = rig.connect().unwrap();
    rig.open(socket);
    rig.registered(socket, Features::none());
    rig.pass(secs(10));
    rig.close(socket, 1011);
    assert_eq!(rig.pass_to(TimerReason::Retry), Duration::from_millis(500));
}

#[test]
fn a_second_replacement_within_a_minute_means_another_machine() {
    let (mut rig, socket) = Rig::online(Features::none());
    rig.close(socket, 4003);
    assert_eq!(rig.state(), (State::Backoff, "replaced"));
    let socket = rig.come_back(Features::none());
    rig.pass(secs(30));
    rig.close(socket, 4003);
    assert_eq!(rig.state(), (State::Backoff, "key-used-elsewhere"));
    assert_eq!(rig.pass_to(TimerReason::Retry), secs(120));
    let socket = rig.connect().unwrap();
    rig.open(socket);
    rig.registered(socket, Features::none());
    rig.close(socket, 4003);
    assert_eq!(
        rig.state(),
        (State::Backoff, "replaced"),
        "two minutes later is not within one"
    );
}

#[test]
fn wrong_addresses_are_tried_slowly() {
    let (mut rig, socket) = Rig::dialling();
    let fault = Fault::HttpStatus {
        status: 404,
        server: None,
        retry_after: None,
    };
    rig.handle(Event::Ended(socket, fault));
    assert_eq!(rig.state(), (State::Backoff, "wrong-url"));
    assert_eq!(rig.pass_to(TimerReason::Retry), secs(120));
}

#[test]
fn a_driver_that_says_nothing_of_its_dial_is_not_waited_for() {
    let (mut rig, socket) = Rig::dialling();
    assert_eq!(rig.pass_to(TimerReason::DialOverdue), secs(30));
    assert!(rig.has(|it| matches!(it, Action::Abort(it) if *it == socket)));
    assert_eq!(rig.state(), (State::Backoff, "no-answer"));
}

#[test]
fn it_beats_in_the_interval_of_the_bridge_within_bounds() {
    for (asked, interval) in [
        (None, 30),
        (Some(10_000), 10),
        (Some(1), 5),
        (Some(86_400_000), 60),
    ] {
        let (mut rig, socket) = Rig::dialling();
        rig.open(socket);
        rig.sent();
        let registered = Registered {
            device_id: "dev_1".to_owned(),
            heartbeat_interval_ms: asked,
            ..Registered::default()
        };
        rig.receive(socket, BridgeMessage::Registered(registered));
        assert_eq!(rig.pass_to(TimerReason::Heartbeat), secs(interval));
        assert_eq!(rig.sent(), ["device:heartbeat"]);
        assert!(rig.has(|it| matches!(it, Action::Ping(_, 1))));
    }
}

#[test]
fn two_unanswered_heartbeats_end_the_session() {
    let (mut rig, socket) = Rig::online(Features::none());
    rig.pass(secs(30));
    rig.handle(Event::Ponged(socket, 1));
    assert_eq!(rig.machine.round_trip(), Some(secs(0)));
    rig.pass(secs(59));
    assert_eq!(rig.state().0, State::Online);
    rig.pass(secs(1));
    assert_eq!(rig.state(), (State::Backoff, "heartbeat-lost"));
    assert!(rig.has(|it| matches!(it, Action::Abort(it) if *it == socket)));
    assert_eq!(rig.machine.round_trip(), None);
}

#[test]
fn anything_that_is_heard_keeps_the_session() {
    let (mut rig, socket) = Rig::online(Features::none());
    for _ in 0..10 {
        rig.pass(secs(59));
        rig.handle(Event::Heard(socket));
    }
    assert_eq!(rig.state().0, State::Online);
}

#[test]
fn nothing_the_bridge_babbles_is_fatal() {
    let (mut rig, socket) = Rig::online(Features::none());
    for code in [
        ErrorCode::UnknownType,
        ErrorCode::InvalidJson,
        ErrorCode::Other("NEWS".to_owned()),
    ] {
        rig.error(socket, code, None);
    }
    odd(
        &mut rig,
        socket,
        DecodeError::UnknownType { kind: "x".to_owned() },
    );
    odd(
        &mut rig,
        socket,
        DecodeError::NotAMessage {
            detail: "null".to_owned(),
        },
    );
    rig.handle(Event::Odd(socket, Oddity::Binary { bytes: 3 }));
    assert_eq!(rig.state().0, State::Online);
    assert_eq!(rig.sent(), Vec::<String>::new());
}

#[test]
fn pings_and_scans_are_answered() {
    let (mut rig, socket) = Rig::online(Features::none());
    rig.receive(
        socket,
        BridgeMessage::CapabilitiesScan(askalf_proto::CapabilitiesScan::default()),
    );
    assert!(rig.has(|it| matches!(it, Action::Scan)));
    assert_eq!(rig.sent(), Vec::<String>::new(), "first somebody has to look");
    rig.handle(Event::Scanned(None));
    assert_eq!(rig.sent(), ["capabilities:result"]);
    let ping = askalf_proto::decode_bridge(r#"{"type":"device:ping","payload":7}"#).unwrap();
    rig.receive(socket, ping);
    assert!(rig.has(|it| matches!(it, Action::SendPong(it) if *it == socket)));
}

#[test]
fn one_look_at_a_time_serves_all_who_ask_and_is_answered_on_the_connection_of_the_moment() {
    let scan = || BridgeMessage::CapabilitiesScan(askalf_proto::CapabilitiesScan::default());
    let (mut rig, old) = Rig::online(Features::none());
    rig.receive(old, scan());
    rig.close(old, 1001);
    let socket = rig.come_back(Features::none());
    rig.sent();
    rig.receive(socket, scan());
    let looks = rig.actions.iter().filter(|it| matches!(it, Action::Scan)).count();
    assert_eq!(looks, 1);

    let found = serde_json::json!({"git": true});
    let facts = DeviceFacts {
        capabilities: found.as_object().unwrap().clone(),
        ..DeviceFacts::default()
    };
    let executors = vec![ExecutorKind::Claude, ExecutorKind::Shell];
    rig.handle(Event::Scanned(Some(Box::new(crate::Scan { facts, executors }))));
    let AgentMessage::Capabilities(result) = &rig.messages()[0] else {
        panic!("not the answer")
    };
    assert_eq!(result.capabilities["git"], true);

    rig.actions.clear();
    rig.receive(socket, scan());
    assert!(
        rig.has(|it| matches!(it, Action::Scan)),
        "the next one is looked for anew"
    );
    rig.close(socket, 1001);
    rig.handle(Event::Scanned(None));
    assert_eq!(rig.sent(), Vec::<String>::new(), "nobody is there to be answered");
}

#[test]
fn an_internal_error_spares_a_registered_session_but_its_wish_is_kept() {
    let (mut rig, socket) = Rig::online(Features::none());
    rig.receive(socket, error(ErrorCode::InternalError, None, Some(9_000)));
    assert_eq!(rig.state().0, State::Online);
    rig.close(socket, 1013);
    assert!(rig.pass_to(TimerReason::Retry) >= secs(9));
}

#[test]
fn each_missing_credential_has_its_state_and_none_dials() {
    for (kind, state) in [
        (NoCredentialKind::Absent, State::Unpaired),
        (NoCredentialKind::Unreadable, State::RepairRequired),
        (NoCredentialKind::LocalFault, State::LocalFault),
    ] {
        let mut rig = Rig::new();
        rig.handle(Event::Start { device_id: None });
        rig.handle(Event::CredentialMissing(missing(kind, 1)));
        assert_eq!(rig.state(), (state, "some-id"));
        assert_eq!(rig.machine.condition().reason.hint, "some hint");
        for _ in 0..1000 {
            rig.pass_to(TimerReason::CredentialPoll);
        }
        assert_eq!(rig.connect(), None);
        rig.handle(Event::Command(Command::CredentialChanged));
        rig.handle(Event::CredentialReady { generation: 2 });
        assert!(rig.connect().is_some());
    }
}

#[test]
fn a_new_credential_replaces_the_session_and_owes_nothing_to_the_old_one() {
    let (mut rig, socket) = Rig::online(Features::none());
    rig.pass(secs(30));
    assert!(rig.has(|it| matches!(it, Action::PollCredential)));
    rig.handle(Event::CredentialGeneration(2));
    rig.handle(Event::CredentialReady { generation: 2 });
    assert!(rig.has(|it| matches!(it, Action::Close(it, _) if *it == socket)));
    let socket = rig.connect().unwrap();
    rig.sent();
    rig.open(socket);
    assert_eq!(rig.sent(), ["device:register"], "it may be another device");
}

#[test]
fn an_unchanged_credential_leaves_the_session_alone() {
    let (mut rig, _) = Rig::online(Features::none());
    rig.handle(Event::Command(Command::CredentialChanged));
    rig.handle(Event::CredentialReady { generation: 1 });
    assert_eq!(rig.state().0, State::Online);
    assert_eq!(rig.connect(), None);
}

#[test]
fn a_credential_that_goes_missing_counts_from_the_next_dial() {
    let (mut rig, socket) = Rig::online(Features::none());
    rig.handle(Event::CredentialMissing(missing(NoCredentialKind::Unreadable, 2)));
    assert_eq!(rig.state().0, State::Online);
    rig.close(socket, 1001);
    rig.pass(secs(1));
    assert_eq!(rig.connect(), None);
    assert_eq!(rig.state(), (State::RepairRequired, "some-id"));
}

#[test]
fn after_a_loss_the_credential_is_looked_at_before_the_next_dial() {
    let (mut rig, socket) = Rig::online(Features::none());
    rig.close(socket, 1006);
    assert_eq!(rig.pass_to(TimerReason::CredentialPoll), secs(0));
    assert_eq!(rig.connect(), None);
}

#[test]
fn news_of_a_connection_that_was_given_up_are_void() {
    let (mut rig, old) = Rig::online(Features::none());
    rig.close(old, 1001);
    rig.pass_to(TimerReason::Retry);
    let new = rig.connect().unwrap();
    rig.open(new);
    rig.registered(old, Features::none());
    rig.error(old, ErrorCode::AuthFailed, Some(Reason::Revoked));
    rig.open(old);
    rig.close(old, 1001);
    assert_eq!(rig.state().0, State::Authenticating);
    rig.registered(new, Features::none());
    rig.sent();
    rig.error(old, ErrorCode::AuthFailed, Some(Reason::Revoked));
    rig.error(old, ErrorCode::DeviceNotFound, None);
    rig.dispatch(old, "a");
    rig.close(old, 4003);
    assert_eq!(rig.state().0, State::Online);
    assert_eq!(rig.sent(), Vec::<String>::new());
}

#[test]
fn a_registration_names_what_the_device_holds() {
    let (mut rig, socket) = Rig::online(Features::all());
    for id in ["a", "b", "c", "d"] {
        rig.dispatch(socket, id);
    }
    rig.end("a", success());
    rig.close(socket, 1006);
    rig.sent();
    rig.pass_to(TimerReason::Retry);
    let socket = rig.connect().unwrap();
    rig.open(socket);
    let sent = rig.messages();
    let [AgentMessage::Reconnect(reconnect)] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    let held = reconnect
        .executions
        .iter()
        .map(|held| (held.execution_id.as_str(), held.state));
    assert_eq!(
        held.collect::<Vec<_>>(),
        [
            ("b", HeldState::Running),
            ("c", HeldState::Running),
            ("d", HeldState::Queued),
            ("a", HeldState::Ended),
        ]
    );
}
