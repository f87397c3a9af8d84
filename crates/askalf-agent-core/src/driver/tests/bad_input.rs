//! Whatever a bridge, or what stands in its place, may send.

use futures_util::SinkExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::rig::{Agent, TOKEN};
use crate::machine::State;

#[tokio::test(start_paused = true)]
async fn what_is_no_message_disturbs_nothing() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(&[]).await;
    for text in [
        "null",
        "",
        "[]",
        "{}",
        "garbage",
        "{\"type\":null}",
        "{\"type\":\"device:dance\"}",
        "{\"type\":\"task:dispatch\"}",
        "{\"type\":\"device:registered\",\"payload\":{\"deviceId\":\"\"}}",
        "{\"type\":\"device:error\",\"payload\":{\"code\":\"UNKNOWN_TYPE\"}}",
    ] {
        peer.text(text).await;
    }
    peer.socket.send(Message::binary(vec![0xff; 100])).await.unwrap();
    peer.dispatch("e1", "say still here").await;
    for kind in ["execution:accepted", "execution:progress", "execution:complete"] {
        peer.expect(kind).await;
    }
    assert_eq!(agent.status.borrow().state, State::Online);
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dispatch_without_input_or_of_another_shape_is_refused() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(&[]).await;
    for (payload, error) in [
        (
            json!({"executionId": "e1"}),
            "the task has no input: there is nothing to run",
        ),
        (
            json!({"executionId": "e2", "input": {"cmd": "ls"}}),
            "the task cannot be read: a field is missing, too long or of another type",
        ),
        (
            json!({"executionId": "e3", "input": "x", "executor": "codex"}),
            "this device has no executor 'codex'",
        ),
    ] {
        let id = payload["executionId"].clone();
        peer.send("task:dispatch", payload).await;
        let failed = peer.expect("execution:failed").await;
        assert_eq!(
            (&failed["executionId"], &failed["cause"], &failed["error"]),
            (&id, &json!("refused"), &json!(error),)
        );
    }
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_100_mb_is_refused_by_its_header_and_the_device_comes_back() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(&[]).await;
    let mut header = vec![0x81, 127];
    header.extend(100_000_000_u64.to_be_bytes());
    peer.socket.get_mut().write_all(&header).await.unwrap();
    assert_eq!(peer.closed().await, (1009, "Message too large".to_owned()));
    let status = agent.reach(State::Backoff).await;
    assert_eq!(status.reason, "frame-too-large");
    agent.accept_and_register(&[]).await;
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_text_frame_that_is_not_utf8_is_answered_and_the_device_comes_back() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(&[]).await;
    peer.socket
        .get_mut()
        .write_all(&[0x81, 2, 0xff, 0xfe])
        .await
        .unwrap();
    assert_eq!(peer.closed().await.0, 1007);
    assert_eq!(agent.reach(State::Backoff).await.reason, "frame-not-utf8");
    agent.accept_and_register(&[]).await;
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_breaks_is_backed_off() {
    let mut agent = Agent::start();
    let peer = agent.accept_and_register(&[]).await;
    drop(peer);
    assert_eq!(agent.reach(State::Backoff).await.reason, "connection-lost");
    agent.accept_and_register(&[]).await;
    agent.stop().await;
}

/// A connection ends its task and tells its last news at once; neither may hide the other.
#[tokio::test(start_paused = true)]
async fn the_last_news_of_a_connection_are_heard_at_once() {
    let mut agent = Agent::start();
    let peer = agent.accept_and_register(&[]).await;
    drop(peer);
    let mut turns = 0;
    while agent.status.borrow().state == State::Online {
        tokio::task::yield_now().await;
        turns += 1;
        assert!(turns < 20, "the agent was given {turns} turns");
    }
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn answers_other_than_an_upgrade_are_told_apart() {
    for (answer, reason, part) in [
        (
            "403 Forbidden\r\nServer: acme-gate",
            "access-gateway",
            "it calls itself acme-gate",
        ),
        (
            "407 Proxy Authentication Required",
            "proxy-authentication",
            "a proxy",
        ),
        ("404 Not Found", "wrong-url", "404"),
        ("301 Moved Permanently\r\nLocation: /x", "redirected", "301"),
        ("200 OK", "not-a-bridge", "200"),
        (
            "503 Service Unavailable\r\nRetry-After: 120",
            "bridge-fault",
            "503",
        ),
    ] {
        let mut agent = Agent::start();
        let mut stream = agent.dials.recv().await.unwrap();
        let mut request = [0; 2048];
        let read = stream.read(&mut request).await.unwrap();
        assert!(request[..read].ends_with(b"\r\n\r\n"));
        let answer = format!("HTTP/1.1 {answer}\r\nX-Echo: {TOKEN}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let status = agent.reach(State::Backoff).await;
        assert_eq!(status.reason, reason);
        assert!(status.detail.contains(part), "{}", status.detail);
        assert!(
            !status.hint.contains("askalf-bridge pair-code"),
            "not a matter of the key"
        );
        if part == "503" {
            let start = Instant::now();
            agent.dials.recv().await.unwrap();
            assert!(start.elapsed().as_secs() >= 120);
        }
        agent.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn something_that_speaks_no_http_is_not_a_bridge() {
    let mut agent = Agent::start();
    let mut stream = agent.dials.recv().await.unwrap();
    stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await.unwrap();
    assert_eq!(agent.reach(State::Backoff).await.reason, "not-a-bridge");
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_is_never_answered_is_given_up() {
    let mut agent = Agent::start();
    let _silent = agent.dials.recv().await.unwrap();
    let start = Instant::now();
    let status = agent.reach(State::Backoff).await;
    assert_eq!(status.reason, "no-answer");
    assert_eq!(start.elapsed().as_secs(), 15);
    agent.stop().await;
}
