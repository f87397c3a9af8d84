//! What is refused for its size, and with which words.

use askalf_proto::{
    AgentMessage, DecodeError, DeviceType, EncodeError, ExecutionComplete, Features, HeldExecution,
    HeldState, MAX_CONTROL_PAYLOAD, MAX_FRAME_IN, MAX_FRAME_OUT, MAX_HELD_EXECUTIONS, MAX_ID, MAX_NAME,
    Register, SystemInfo, decode_agent, decode_bridge,
};
use serde_json::json;

#[test]
fn a_frame_over_the_limit_is_refused_unread() {
    // Not even JSON: it is refused for its size, before a parser sees it.
    let error = decode_agent(&"x".repeat(MAX_FRAME_IN + 1)).unwrap_err();
    assert_eq!(
        error,
        DecodeError::FrameTooLarge {
            bytes: MAX_FRAME_IN + 1
        }
    );
    assert_eq!(
        error.to_string(),
        "a frame of 16777217 bytes is larger than the 16777216 allowed"
    );
    assert_eq!(
        (error.id(), error.hint()),
        ("frame-too-large", "send it in smaller parts")
    );
}

#[test]
fn a_result_up_to_the_frame_limit_is_read() {
    let mut frame = String::from(r#"{"type":"execution:complete","payload":{"executionId":"e1","output":""#);
    frame.extend(std::iter::repeat_n('a', MAX_FRAME_IN - frame.len() - 3));
    frame.push_str(r#""}}"#);
    assert_eq!(frame.len(), MAX_FRAME_IN);
    let AgentMessage::Complete(done) = decode_agent(&frame).unwrap() else {
        panic!("another message")
    };
    assert!(done.output.len() > MAX_FRAME_IN - 100);
}

#[test]
fn a_control_payload_over_64_kib_is_refused() {
    let padded = |bytes| {
        let empty = json!({"ts": 1, "pad": ""}).to_string().len();
        json!({"type": "device:pong", "payload": {"ts": 1, "pad": "x".repeat(bytes - empty)}}).to_string()
    };
    decode_agent(&padded(MAX_CONTROL_PAYLOAD)).unwrap();
    let error = decode_agent(&padded(MAX_CONTROL_PAYLOAD + 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the payload of device:pong is larger than allowed"
    );
    assert_eq!(error.id(), "payload-too-large");

    let frame = json!({"type": "device:ping", "payload": "x".repeat(MAX_CONTROL_PAYLOAD)}).to_string();
    assert_eq!(decode_bridge(&frame).unwrap_err().id(), "payload-too-large");
}

#[test]
fn the_head_of_an_audit_log_is_sixty_four_lower_case_hex_digits() {
    let head = |head: &str| {
        decode_agent(&json!({"type": "audit:head", "payload": {"seq": 7, "head": head}}).to_string())
    };
    let AgentMessage::AuditHead(read) = head(&"0f".repeat(32)).unwrap() else {
        panic!("another message")
    };
    assert_eq!((read.seq, read.head), (7, "0f".repeat(32)));
    for wrong in ["0f".repeat(31), "0f".repeat(33), "0F".repeat(32), "0g".repeat(32)] {
        assert_eq!(head(&wrong).unwrap_err().id(), "invalid-payload", "{wrong}");
    }
}

#[test]
fn an_identifier_over_128_bytes_is_refused() {
    let cancel = |bytes| {
        decode_bridge(
            &json!({"type": "task:cancel", "payload": {"executionId": "e".repeat(bytes)}}).to_string(),
        )
    };
    cancel(MAX_ID).unwrap();
    let error = cancel(MAX_ID + 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the payload of task:cancel is not valid: a field is missing, too long or of another type"
    );
    assert_eq!(
        (error.id(), error.hint()),
        ("invalid-payload", "compare the payload with docs/protocol.md")
    );
    assert_eq!(cancel(0).unwrap_err().id(), "invalid-payload");
}

#[test]
fn more_than_256_held_executions_are_refused() {
    let register = |count| {
        let held = vec![json!({"executionId": "e", "state": "queued"}); count];
        decode_agent(&json!({"type": "device:reconnect", "payload": {"executions": held}}).to_string())
    };
    register(MAX_HELD_EXECUTIONS).unwrap();
    let error = register(MAX_HELD_EXECUTIONS + 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the payload of device:reconnect is larger than allowed"
    );
}

/// Otherwise a device that holds much would be refused at its registration, and never come back.
#[test]
fn the_largest_registration_is_small_enough_to_be_read() {
    let name = Some("n".repeat(MAX_NAME));
    let held = HeldExecution {
        execution_id: "e".repeat(MAX_ID),
        state: HeldState::Running,
    };
    let mut register = Register {
        device_name: name.clone(),
        hostname: name.clone(),
        os: name.clone(),
        device_type: DeviceType::Browser,
        system_info: Some(SystemInfo {
            arch: name.clone(),
            cpu_cores: Some(u32::MAX),
            total_memory_mb: Some(u64::MAX),
            node_version: name.clone(),
        }),
        max_concurrent: Some(u32::MAX),
        version: name,
        protocol: u32::MAX,
        features: Features::all(),
        executions: vec![held; MAX_HELD_EXECUTIONS],
        ..Register::default()
    };
    // Four times what the agents of all generations tell of their capabilities.
    for n in 0..16 {
        register
            .capabilities
            .insert(format!("capability_{n}"), "c".repeat(1024).into());
    }
    let frame = AgentMessage::Register(register.clone()).encode().unwrap();
    let AgentMessage::Register(read) = decode_agent(&frame).unwrap() else {
        panic!("another message")
    };
    assert_eq!(read, register);
}

#[test]
fn a_frame_that_is_no_message_is_named_as_such() {
    for frame in ["null", "[]", "7", "", "  ", "garbage", r#"["device:pong",{}]"#] {
        let error = decode_agent(frame).unwrap_err();
        assert_eq!(
            error.to_string(),
            "not a message: the frame is not a JSON object",
            "{frame:?}"
        );
        assert_eq!(error.error_code().as_str(), "INVALID_JSON");
    }
    for frame in ["{", r#"{"type":7}"#, "{}", r#"{"payload":{}}"#] {
        assert_eq!(
            decode_agent(frame).unwrap_err().id(),
            "not-a-message",
            "{frame:?}"
        );
    }
}

#[test]
fn a_dispatch_that_does_not_fit_still_names_its_execution() {
    let error = decode_bridge(r#"{"type":"task:dispatch","payload":{"executionId":"e1","input":["ls"]}}"#)
        .unwrap_err();
    let DecodeError::InvalidPayload { execution_id, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(execution_id.as_deref(), Some("e1"));
}

#[test]
fn what_does_not_fit_is_not_quoted() {
    let frame = r#"{"type":"task:dispatch","payload":{"executionId":"e1","timeoutMs":"sk_live_secret"}}"#;
    let error = decode_bridge(frame).unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("sk_live_secret"),
        "{error:?}"
    );
}

#[test]
fn a_frame_that_would_be_too_large_is_not_sent() {
    let message = AgentMessage::Complete(ExecutionComplete {
        execution_id: "e1".to_owned(),
        output: "a".repeat(MAX_FRAME_OUT),
        ..ExecutionComplete::default()
    });
    let error = message.encode().unwrap_err();
    let EncodeError::TooLarge { bytes, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        error.to_string(),
        format!("execution:complete: {bytes} bytes are more than the 1048576 that one frame may have")
    );
}
