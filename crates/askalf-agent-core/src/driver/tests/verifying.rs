//! The proof of a key.

use std::sync::Arc;

use askalf_bridge_auth::Token;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::rig::{Peer, TOKEN, facts, pipes};
use crate::driver::verify::verify_on;
use crate::{Timings, Verification, Verified, VerifyError, VerifyErrorKind, verify};

fn verification(token: &str, url: &str) -> Verification {
    Verification {
        url: url.to_owned(),
        insecure: false,
        route: Arc::default(),
        token: Token::parse(token).unwrap(),
        facts: facts(),
        max_concurrent: 2,
        timings: Timings::default(),
    }
}

async fn start() -> (JoinHandle<Result<Verified, VerifyError>>, DuplexStream) {
    let (dialer, mut dials) = pipes();
    let task = tokio::spawn(async move { verify_on(&dialer, verification(TOKEN, "http://localhost")).await });
    (task, dials.recv().await.unwrap())
}

async fn refused_by(payload: Value) -> VerifyError {
    let (task, stream) = start().await;
    let mut peer = Peer::accept(stream).await;
    peer.expect("device:register").await;
    peer.send("device:error", payload).await;
    task.await.unwrap().unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn registered_is_the_proof_and_it_leaves() {
    let (task, stream) = start().await;
    let mut peer = Peer::accept(stream).await;
    let registration = peer.expect("device:register").await;
    assert_eq!(registration["deviceName"], "desk");
    // The agent of this device may run executions meanwhile: this is not the word on them.
    assert_eq!(
        (&registration["features"], &registration["executions"]),
        (&Value::Null, &Value::Null)
    );
    // Noise is no answer.
    peer.text("null").await;
    peer.send("capabilities:scan", json!({})).await;
    peer.send("device:registered", json!({"deviceId": "dev_1", "userId": "u1"}))
        .await;
    assert_eq!(peer.closed().await, (1000, "Client disconnect".to_owned()));
    let verified = task.await.unwrap().unwrap();
    assert_eq!(
        (verified.device_id.as_str(), verified.user_id.as_deref()),
        ("dev_1", Some("u1"))
    );
    assert_eq!(verified.endpoint.to_string(), "ws://localhost/ws/agent-bridge");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_what_it_is_and_is_not_tried_again() {
    let start = Instant::now();
    for (payload, id, kind) in [
        (
            json!({"code": "AUTH_FAILED", "reason": "revoked"}),
            "revoked",
            VerifyErrorKind::KeyRefused,
        ),
        (
            json!({"code": "AUTH_FAILED"}),
            "no_reason",
            VerifyErrorKind::KeyRefused,
        ),
        (
            json!({"code": "USER_NOT_FOUND"}),
            "user_inactive",
            VerifyErrorKind::KeyRefused,
        ),
        (
            json!({"code": "AUTH_REQUIRED"}),
            "key-stripped",
            VerifyErrorKind::Unavailable,
        ),
        (
            json!({"code": "INTERNAL_ERROR"}),
            "bridge-fault",
            VerifyErrorKind::Unavailable,
        ),
        (
            json!({"code": "INTERNAL_ERROR", "reason": "overloaded", "retryAfterMs": 1}),
            "bridge-cannot-check",
            VerifyErrorKind::Unavailable,
        ),
    ] {
        let error = refused_by(payload.clone()).await;
        assert_eq!((error.id(), error.kind()), (id, kind), "{payload}");
        assert!(
            !error.hint().is_empty() && !error.hint().starts_with("nothing to do"),
            "{}",
            error.hint()
        );
    }
    assert!(start.elapsed().as_secs() < 30);
}

#[tokio::test(start_paused = true)]
async fn the_message_of_a_peer_never_echoes_the_key() {
    let error = refused_by(json!({"code": "AUTH_FAILED", "message": format!("bad {TOKEN}\n")})).await;
    assert_eq!(
        error.to_string(),
        "the bridge refused this key and did not say why: bad [key] "
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_bridge_proves_nothing() {
    let (task, stream) = start().await;
    let mut peer = Peer::accept(stream).await;
    let start = Instant::now();
    for _ in 0..3 {
        peer.expect("device:register").await;
    }
    peer.closed().await;
    let error = task.await.unwrap().unwrap_err();
    assert_eq!(
        (error.id(), error.kind()),
        ("not-registered", VerifyErrorKind::Unavailable)
    );
    assert_eq!(start.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn errors_of_the_device_send_nothing() {
    for (token, url, id) in [
        (TOKEN, "localhost", "url-no-scheme"),
        ("schlüssel", "http://localhost", "token-not-header-safe"),
    ] {
        let error = verify(verification(token, url)).await.unwrap_err();
        assert_eq!((error.id(), error.kind()), (id, VerifyErrorKind::Configuration));
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_said_to_be_one() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = verify(verification(TOKEN, &format!("http://127.0.0.1:{port}")))
        .await
        .unwrap_err();
    assert_eq!(
        (error.id(), error.kind()),
        ("unreachable", VerifyErrorKind::Unavailable)
    );
    let said = error.to_string();
    let head = format!("the bridge cannot be reached: 127.0.0.1 port {port}: ");
    let why = said.strip_prefix(&head).unwrap();
    // Each system has its own words, in the user's language even on Windows.
    assert!(cfg!(windows) || why == "Connection refused", "{said}");
    assert!(!why.contains("os error") && !why.ends_with('.'), "{said}");
}

#[tokio::test]
async fn it_works_over_tcp() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move { verify(verification(TOKEN, &url)).await });
    let (stream, _) = listener.accept().await.unwrap();
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let registered = r#"{"type":"device:registered","payload":{"deviceId":"dev_9"}}"#;
    let message = tokio_tungstenite::tungstenite::Message::text(registered);
    futures_util::SinkExt::send(&mut socket, message).await.unwrap();
    while let Some(Ok(_)) = futures_util::StreamExt::next(&mut socket).await {}
    assert_eq!(task.await.unwrap().unwrap().device_id, "dev_9");
}
