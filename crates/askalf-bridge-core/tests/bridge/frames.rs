//! Frames without sense: each gets its answer, and nobody else notices.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::harness::{TestBridge, old};

#[tokio::test]
async fn null_garbage_and_unknown_types_are_answered_and_end_nothing() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register(&key, "laptop").await;
    for frame in [
        "null",
        "",
        "[]",
        "{",
        "42",
        "\"text\"",
        "{\"payload\":{}}",
        "{\"type\":7}",
        "\u{0}",
    ] {
        client.send_raw(Message::text(frame)).await;
        let error = client.expect_error("INVALID_JSON").await;
        assert!(
            error["message"].as_str().unwrap().contains("JSON"),
            "{frame:?}: {error}"
        );
    }
    client.send_raw(Message::binary(vec![0, 159, 146, 150])).await;
    client.expect_error("INVALID_JSON").await;
    client
        .send("execution:complete", json!({ "output": "of nothing" }))
        .await;
    client.expect_error("INVALID_JSON").await;
    client
        .send("device:registered", json!({ "deviceId": "dev_x" }))
        .await;
    client.expect_error("UNKNOWN_TYPE").await;
    client.send("device:pong", json!({ "ts": 1 })).await;
    client
        .send(
            "execution:queued",
            json!({ "executionId": "exec_x", "position": 1 }),
        )
        .await;
    client.is_alive().await;
}

#[tokio::test]
async fn a_hundred_frames_without_sense_in_a_minute_are_too_many() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let mut client = bridge.try_connect(Some(&key.token)).await;
    for _ in 0..100 {
        client.send_raw(Message::text("null")).await;
        client.expect_error("INVALID_JSON").await;
    }
    client.send_raw(Message::text("null")).await;
    client.expect_error("INVALID_JSON").await;
    assert_eq!(client.closed().await, (1002, "Protocol error".to_owned()));
}

#[tokio::test]
async fn text_that_is_not_utf8_closes_with_1007() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register(&key, "laptop").await;
    let frame = Frame::message(
        Bytes::from_static(b"{\"type\":\"\xff\xfe\"}"),
        OpCode::Data(Data::Text),
        true,
    );
    client.send_raw(Message::Frame(frame)).await;
    assert_eq!(client.closed().await, (1007, "Invalid UTF-8".to_owned()));
}

#[tokio::test]
async fn a_frame_of_100_mb_closes_with_1009_and_disturbs_nobody() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let other = bridge.mint("bob", &["device"]).await;
    let (mut bystander, _) = bridge.register(&other, "desktop").await;
    let (client, _) = bridge.register(&key, "laptop").await;
    let (mut socket, mut sender) = {
        use futures_util::StreamExt;
        let (sender, receiver) = client.socket.split();
        (receiver, sender)
    };
    // The bridge hangs up in the middle of it, at a point that is not the test's to say.
    let sending = tokio::spawn(async move {
        use futures_util::SinkExt;
        let _ = sender.send(Message::text("x".repeat(100_000_000))).await;
    });
    bystander.is_alive().await;
    let close = crate::harness::within("the close", futures_util::StreamExt::next(&mut socket)).await;
    match close {
        Some(Ok(Message::Close(Some(frame)))) => {
            assert_eq!(
                (u16::from(frame.code), frame.reason.as_str()),
                (1009, "Message too large")
            );
        }
        other => panic!("not a close: {other:?}"),
    }
    sending.abort();
    bystander.is_alive().await;
}

#[tokio::test]
async fn many_fragments_count_as_one_message() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register(&key, "laptop").await;
    let piece = Bytes::from(vec![b'x'; 1024 * 1024]);
    let frame = |piece: &Bytes, first| {
        let kind = if first { Data::Text } else { Data::Continue };
        Message::Frame(Frame::message(piece.clone(), OpCode::Data(kind), false))
    };
    client.send_raw(frame(&piece, true)).await;
    for _ in 0..16 {
        // The last of them passes 16 MiB; the bridge may have hung up when the client notices.
        let _ = client.try_send(frame(&piece, false)).await;
    }
    assert_eq!(client.closed().await.0, 1009);
}

#[tokio::test]
async fn a_frame_without_a_mask_closes_with_1002() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, _) = bridge.register_as(&key, old("laptop")).await;
    client.socket.get_mut().write_all(b"\x81\x02{}").await.unwrap();
    assert_eq!(client.closed().await.0, 1002);
}

#[tokio::test]
async fn a_large_frame_is_for_those_who_have_registered() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let large = json!({ "executionId": "exec_x", "output": "x".repeat(8 * 1024 * 1024) });
    let mut client = bridge.try_connect(Some(&key.token)).await;
    let text = json!({ "type": "execution:complete", "payload": large }).to_string();
    // The bridge hangs up in the middle of it.
    let _ = client.try_send(Message::text(text)).await;
    assert_eq!(client.closed().await, (1009, "Message too large".to_owned()));

    let (mut client, _) = bridge.register(&key, "laptop").await;
    client.send("execution:complete", large).await;
    client.expect_error("EXECUTION_NOT_FOUND").await;
    client.expect("execution:ack").await;
}
