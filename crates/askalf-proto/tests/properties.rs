//! What holds for every frame and every text.

use askalf_proto::{
    AgentMessage, BridgeError, BridgeMessage, Cause, Credentials, ErrorCode, ExecutionComplete,
    ExecutionFailed, ExecutionProgress, Executor, Features, HeldExecution, HeldState, OutputStream, Reason,
    Reconnect, Register, Registered, TaskDispatch, clip_to_json, decode_agent, decode_bridge, json_len,
    one_line,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(frame in any::<String>()) {
        let _ = decode_agent(&frame);
        let _ = decode_bridge(&frame);
    }

    /// Frames of our types whose payload is anything at all, with the fields that the types know.
    #[test]
    fn any_payload_is_read_without_a_panic(kind in kind(), payload in payload(), cut in any::<prop::sample::Index>()) {
        let frame = json!({"type": kind, "payload": payload}).to_string();
        for read in [&frame, truncated(&frame, cut)] {
            if let Ok(message) = decode_agent(read) {
                // What was read can be written, and reads the same again.
                let written = message.encode().unwrap();
                prop_assert_eq!(decode_agent(&written).unwrap().encode().unwrap(), written);
            }
            if let Ok(message) = decode_bridge(read) {
                let written = message.encode().unwrap();
                prop_assert_eq!(decode_bridge(&written).unwrap().encode().unwrap(), written);
            }
        }
    }

    #[test]
    fn what_an_agent_writes_reads_the_same(
        register in register(),
        reconnect in reconnect(),
        complete in complete(),
        failed in failed(),
        text in any::<String>(),
    ) {
        let again = |message: AgentMessage| decode_agent(&message.encode().unwrap()).unwrap();
        let AgentMessage::Register(read) = again(AgentMessage::Register(register.clone())) else { panic!() };
        prop_assert_eq!(read, register);
        let AgentMessage::Reconnect(read) = again(AgentMessage::Reconnect(reconnect.clone())) else { panic!() };
        prop_assert_eq!(read, reconnect);
        let AgentMessage::Complete(read) = again(AgentMessage::Complete(complete.clone())) else { panic!() };
        prop_assert_eq!(read, complete);
        let AgentMessage::Failed(read) = again(AgentMessage::Failed(failed.clone())) else { panic!() };
        prop_assert_eq!(read, failed);
        let progress = ExecutionProgress::output("e1", OutputStream::Stderr, text);
        let AgentMessage::Progress(read) = again(AgentMessage::Progress(progress.clone())) else { panic!() };
        prop_assert_eq!(read, progress);
    }

    #[test]
    fn what_a_bridge_writes_reads_the_same(
        registered in registered(),
        error in bridge_error(),
        dispatch in dispatch(),
    ) {
        let again = |message: BridgeMessage| decode_bridge(&message.encode().unwrap()).unwrap();
        let BridgeMessage::Registered(read) = again(BridgeMessage::Registered(registered.clone())) else { panic!() };
        prop_assert_eq!(read, registered);
        let BridgeMessage::Error(read) = again(BridgeMessage::Error(error.clone())) else { panic!() };
        prop_assert_eq!(read, error);
        let BridgeMessage::Dispatch(read) = again(BridgeMessage::Dispatch(dispatch.clone())) else { panic!() };
        prop_assert_eq!(read, dispatch);
    }

    #[test]
    fn credentials_do_not_print(secret in "[a-zA-Z0-9]{12,40}") {
        let dispatch = TaskDispatch {
            execution_id: "e1".to_owned(),
            credentials: Some(Credentials::new(secret.clone())),
            ..TaskDispatch::default()
        };
        let frame = BridgeMessage::Dispatch(dispatch.clone()).encode().unwrap();
        prop_assert!(frame.contains(&secret), "the wire carries them");
        let read = decode_bridge(&frame).unwrap();
        let printed = format!("{dispatch:?} {dispatch:#?} {read:?}");
        prop_assert!(!printed.contains(&secret));
        prop_assert!(printed.contains("credentials: Some(Credentials(redacted))"));
    }

    #[test]
    fn json_len_is_what_the_encoder_takes(text in any::<String>()) {
        prop_assert_eq!(json_len(&text) + 2, serde_json::to_string(&text).unwrap().len());
    }

    #[test]
    fn clipped_text_keeps_its_bounds(text in clippable(), max in 0_usize..400) {
        let clipped = clip_to_json(&text, max);
        prop_assert!(json_len(&clipped) <= max, "{} > {max}", json_len(&clipped));
        if json_len(&text) <= max {
            prop_assert_eq!(&*clipped, &*text);
        } else if max >= 64 {
            let (head, rest) = clipped.split_once("\n[").unwrap();
            let (notice, tail) = rest.rsplit_once(" bytes left out]\n").unwrap();
            prop_assert!(text.starts_with(head));
            prop_assert!(text.ends_with(tail));
            prop_assert_eq!(notice.parse::<usize>().unwrap(), text.len() - head.len() - tail.len());
        } else {
            prop_assert!(text.starts_with(&*clipped));
        }
    }

    #[test]
    fn one_line_is_one_short_line(text in any::<String>()) {
        let line = one_line(&text);
        prop_assert!(line.chars().count() <= 200);
        prop_assert!(!line.chars().any(char::is_control));
    }
}

fn kind() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "device:register",
            "device:reconnect",
            "device:heartbeat",
            "device:pong",
            "capabilities:result",
            "execution:queued",
            "execution:accepted",
            "execution:progress",
            "execution:complete",
            "execution:failed",
            "browser:event",
            "device:registered",
            "device:error",
            "device:ping",
            "capabilities:scan",
            "task:dispatch",
            "task:cancel",
            "execution:ack",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

/// JSON whose objects use the field names of the wire, with values of any type.
fn payload() -> impl Strategy<Value = Value> {
    let field = prop_oneof![
        4 => prop::sample::select(vec![
            "executionId", "deviceId", "deviceName", "capabilities", "load", "activeExecutions", "output", "error",
            "inputTokens", "tokensIn", "turns", "cost", "executor", "mode", "progressType", "data", "chunk", "bytes",
            "progress", "code", "reason", "retryAfterMs", "features", "protocol", "executions", "state", "systemInfo",
            "ts", "input", "timeoutMs", "exitCode", "signal", "cause", "position", "maxConcurrent", "credentials",
        ])
        .prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        tidy_float().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from("e1")),
    ];
    leaf.prop_recursive(3, 40, 12, move |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 0..6).prop_map(Value::from),
            3 => vec((field.clone(), inner), 0..12).prop_map(|fields| fields.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

fn truncated(frame: &str, cut: prop::sample::Index) -> &str {
    let mut end = cut.index(frame.len());
    while !frame.is_char_boundary(end) {
        end -= 1;
    }
    &frame[..end]
}

/// Floats that JSON carries exactly.
fn tidy_float() -> impl Strategy<Value = f64> {
    (0_u32..1_000_000).prop_map(|eighths| f64::from(eighths) / 8.0)
}

fn id() -> impl Strategy<Value = String> {
    "[a-z]{2,4}_[0-9A-Z]{1,26}"
}

fn name() -> impl Strategy<Value = Option<String>> {
    option::of("\\PC{1,60}")
}

fn executor() -> impl Strategy<Value = Option<Executor>> {
    option::of("[a-z]{1,20}|shell|claude|codex|auto".prop_map(|word| Executor::from_wire(&word)))
}

fn features() -> impl Strategy<Value = Features> {
    prop_oneof![Just(Features::none()), Just(Features::all())]
}

fn held() -> impl Strategy<Value = Vec<HeldExecution>> {
    let state = prop::sample::select(vec![HeldState::Queued, HeldState::Running, HeldState::Ended]);
    vec(
        (id(), state).prop_map(|(execution_id, state)| HeldExecution { execution_id, state }),
        0..5,
    )
}

prop_compose! {
    fn register()(
        device_name in name(),
        hostname in name(),
        capabilities in vec((any::<String>(), any::<bool>()), 0..5),
        max_concurrent in option::of(any::<u32>()),
        protocol in any::<u32>(),
        features in features(),
        executions in held(),
    ) -> Register {
        Register {
            device_name,
            hostname,
            capabilities: capabilities.into_iter().map(|(name, has)| (name, Value::from(has))).collect(),
            max_concurrent,
            protocol,
            features,
            executions,
            ..Register::default()
        }
    }
}

prop_compose! {
    fn reconnect()(device_id in option::of(id()), features in features(), executions in held()) -> Reconnect {
        Reconnect { device_id, protocol: 1, features, executions }
    }
}

prop_compose! {
    fn complete()(
        execution_id in id(),
        output in any::<String>(),
        cost in tidy_float(),
        turns in any::<u32>(),
        (input_tokens, output_tokens, duration_ms) in any::<(u64, u64, u64)>(),
        executor in executor(),
    ) -> ExecutionComplete {
        ExecutionComplete { execution_id, output, cost, turns, input_tokens, output_tokens, executor, duration_ms }
    }
}

prop_compose! {
    fn failed()(
        execution_id in id(),
        error in any::<String>(),
        exit_code in option::of(any::<i32>()),
        signal in option::of(1_i32..65),
        cause in option::of(prop::sample::select(Cause::ALL.to_vec())),
        output in option::of(any::<String>()),
        duration_ms in option::of(any::<u64>()),
        executor in executor(),
    ) -> ExecutionFailed {
        ExecutionFailed { execution_id, error, executor, exit_code, signal, cause, output, duration_ms }
    }
}

prop_compose! {
    fn registered()(
        device_id in id(),
        user_id in option::of(id()),
        protocol in any::<u32>(),
        features in features(),
        heartbeat_interval_ms in option::of(any::<u64>()),
    ) -> Registered {
        Registered { device_id, user_id, protocol, features, heartbeat_interval_ms }
    }
}

prop_compose! {
    fn bridge_error()(
        code in prop::sample::select(vec![ErrorCode::AuthFailed, ErrorCode::InternalError, ErrorCode::Other("X".to_owned())]),
        message in any::<String>(),
        reason in option::of(prop::sample::select(vec![Reason::Unknown, Reason::UserInactive, Reason::Overloaded])),
        retry_after_ms in option::of(any::<u64>()),
    ) -> BridgeError {
        BridgeError { code, message, reason, retry_after_ms }
    }
}

prop_compose! {
    fn dispatch()(
        execution_id in id(),
        agent_name in name(),
        input in option::of(any::<String>()),
        max_turns in option::of(any::<u32>()),
        max_budget in option::of(tidy_float()),
        executor in executor(),
        mode in executor(),
        timeout_ms in option::of(any::<u64>()),
        working_directory in option::of(any::<String>()),
        credentials in option::of(any::<String>().prop_map(Credentials::new)),
    ) -> TaskDispatch {
        TaskDispatch {
            execution_id, agent_name, input, max_turns, max_budget, executor, mode, timeout_ms, working_directory,
            credentials, agent_id: None,
        }
    }
}

fn clippable() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\\x00-\\x1f\"\\\\a-zé€😀]{0,600}",
        Just("\u{1}".repeat(500)),
    ]
}
