//! Sessions: registration, tasks, loss and return, the end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::rig::{Agent, TOKEN, within};
use crate::machine::{Command, State};

const ACK: &[&str] = &["execution-ack"];

#[tokio::test(start_paused = true)]
async fn it_registers_runs_a_task_and_leaves_politely() {
    let mut agent = Agent::start();
    let mut peer = agent.accept().await;
    assert_eq!(peer.request.uri().path(), "/ws/agent-bridge");
    let header = |name| {
        peer.request
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header("authorization").unwrap(), format!("Bearer {TOKEN}"));
    assert_eq!(header("x-agent-version").as_deref(), Some("1.0.0"));
    assert_eq!(header("x-device-name").as_deref(), Some("desk"));
    assert_eq!(
        header("sec-websocket-protocol"),
        None,
        "the key is no subprotocol"
    );

    let register = peer.expect("device:register").await;
    assert_eq!(
        (&register["deviceName"], &register["maxConcurrent"]),
        (&json!("desk"), &json!(2))
    );
    assert_eq!(agent.status.borrow().state, State::Authenticating);
    peer.register(ACK).await;
    let status = agent.reach(State::Online).await;
    assert_eq!(
        (status.reason.as_str(), status.device_id.as_deref()),
        ("registered", Some("dev_1"))
    );
    assert_eq!(
        status.bridge.as_deref(),
        Some("ws://localhost:3005/ws/agent-bridge")
    );
    assert!(status.since > 1_600_000_000_000, "{}", status.since);

    peer.dispatch("e1", "say hello").await;
    assert_eq!(peer.expect("execution:accepted").await["executor"], "shell");
    let progress = peer.expect("execution:progress").await;
    assert_eq!(
        (&progress["progressType"], &progress["data"]),
        (&json!("stdout"), &json!("hello"))
    );
    assert_eq!(peer.expect("execution:complete").await["output"], "hello");
    assert_eq!(agent.status.borrow().unacknowledged, 1);
    peer.send("execution:ack", json!({"executionId": "e1"})).await;
    agent
        .status
        .wait_for(|status| status.unacknowledged == 0)
        .await
        .unwrap();

    agent.commands.send(Command::Stop).await.unwrap();
    assert_eq!(peer.closed().await, (1000, "Client disconnect".to_owned()));
    agent.task.await.unwrap();
    assert_eq!(agent.status.borrow().state, State::Stopped);
    assert_eq!(agent.device_ids.0.lock().unwrap().as_deref(), Some("dev_1"));
}

#[tokio::test(start_paused = true)]
async fn a_result_waits_for_the_connection_and_is_sent_until_acknowledged() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(ACK).await;
    peer.dispatch("e1", "wait").await;
    peer.expect("execution:accepted").await;
    peer.send("task:cancel", json!({"executionId": "e1"})).await;
    peer.expect("execution:failed").await;
    // The bridge goes away before it has recorded anything.
    peer.close(1012).await;
    let status = agent.reach(State::Backoff).await;
    assert_eq!(status.reason, "bridge-shutdown");

    let mut peer = agent.accept().await;
    let reconnect = peer.expect("device:reconnect").await;
    assert_eq!(reconnect["deviceId"], "dev_1");
    assert_eq!(
        reconnect["executions"],
        json!([{"executionId": "e1", "state": "ended"}])
    );
    peer.register(ACK).await;
    assert_eq!(peer.expect("execution:failed").await["cause"], "cancelled");
    peer.send("execution:ack", json!({"executionId": "e1"})).await;
    agent
        .status
        .wait_for(|status| status.unacknowledged == 0)
        .await
        .unwrap();
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_reports_what_it_interrupts() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(&[]).await;
    for id in ["e1", "e2", "e3"] {
        peer.dispatch(id, "wait").await;
    }
    for kind in ["execution:accepted", "execution:accepted", "execution:queued"] {
        peer.expect(kind).await;
    }
    agent.commands.send(Command::Stop).await.unwrap();
    let mut interrupted = Vec::new();
    for _ in 0..3 {
        let failed = peer.expect("execution:failed").await;
        assert_eq!(failed["cause"], "interrupted");
        interrupted.push(failed["executionId"].as_str().unwrap().to_owned());
    }
    interrupted.sort();
    assert_eq!(interrupted, ["e1", "e2", "e3"]);
    assert_eq!(peer.closed().await.0, 1000);
    agent.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn losing_every_commander_is_a_stop() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(&[]).await;
    drop(agent.commands);
    assert_eq!(peer.closed().await.0, 1000);
    agent.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_bridge_slows_the_task_and_still_gets_everything_in_order() {
    const LINES: usize = 3_000;
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(ACK).await;
    peer.dispatch("e1", &format!("flood {LINES}")).await;
    // With nobody reading, virtual time only moves on once everything waits.
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let written = agent.puppet.written.load(Ordering::SeqCst);
    assert!((1..300).contains(&written), "{written} lines are on their way");
    peer.expect("execution:accepted").await;
    for number in 0..LINES {
        let data = peer.expect("execution:progress").await["data"].take();
        assert_eq!(
            data.as_str().unwrap().trim_start_matches('0').trim_end(),
            match number {
                0 => String::new(),
                _ => number.to_string(),
            }
        );
    }
    peer.expect("execution:complete").await;
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_not_held_up_by_a_bridge_that_does_not_read() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(ACK).await;
    peer.dispatch("e1", "flood 100000").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = agent.puppet.written.load(Ordering::SeqCst);
    peer.send("task:cancel", json!({"executionId": "e1"})).await;
    // This puppet does not listen to its signal: that it comes to its end shows that its output is let go.
    while agent.puppet.written.load(Ordering::SeqCst) < 100_000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(before < 300, "{before}");
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_bridge_that_answers_no_ping_is_left() {
    let mut agent = Agent::start();
    let _silent = agent.accept_and_register(&[]).await;
    let start = Instant::now();
    let status = agent.reach(State::Backoff).await;
    assert_eq!(status.reason, "heartbeat-lost");
    assert_eq!(start.elapsed().as_secs(), 60);
    agent.accept().await;
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn answered_pings_keep_the_session_and_are_measured() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(&[]).await;
    let mut beats = 0;
    while beats < 10 {
        let message = peer.socket.next_message().await;
        if let Message::Text(text) = message {
            assert!(text.contains("device:heartbeat"), "{text}");
            beats += 1;
        }
    }
    assert_eq!(agent.status.borrow().state, State::Online);
    let measured = agent
        .status
        .wait_for(|status| status.last_heartbeat_rtt_ms.is_some());
    drop(measured.await.unwrap());
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_waits_and_a_new_one_is_taken_within_a_second() {
    let mut agent = Agent::start();
    let mut peer = agent.accept().await;
    peer.expect("device:register").await;
    let message = format!("no such key: {TOKEN}");
    let payload = json!({"code": "AUTH_FAILED", "reason": "unknown", "message": message});
    peer.send("device:error", payload).await;
    let status = agent.reach(State::RepairRequired).await;
    assert_eq!(status.reason, "unknown");
    assert!(status.hint.contains("askalf-agent pair"));
    assert!(!format!("{status:?}").contains(TOKEN));
    drop(peer);
    assert!(
        within(Duration::from_secs(500), agent.dials.recv())
            .await
            .is_none(),
        "it dials on"
    );

    agent
        .credentials
        .set("sk_live_another", "http://localhost:1/base/");
    let start = Instant::now();
    let peer = agent.accept().await;
    assert!(start.elapsed() <= Duration::from_secs(1));
    assert_eq!(peer.request.headers()["authorization"], "Bearer sk_live_another");
    assert_eq!(peer.request.uri().path(), "/base/ws/agent-bridge");
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_makes_it_look_at_once() {
    let mut agent = Agent::start_unpaired();
    let status = agent.reach(State::Unpaired).await;
    assert_eq!(
        (status.reason.as_str(), status.detail.as_str()),
        ("absent", "this device is not paired")
    );
    assert_eq!(status.bridge, None);
    agent.credentials.set(TOKEN, "http://localhost");
    let start = Instant::now();
    agent.commands.send(Command::CredentialChanged).await.unwrap();
    agent.accept().await;
    assert_eq!(start.elapsed().as_secs(), 0);
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_dialled_is_a_fault_of_the_device() {
    for (token, url, id) in [
        (TOKEN, "localhost:3005", "url-no-scheme"),
        (TOKEN, "http://bridge.example.org", "url-plain-remote"),
        ("schlüssel", "http://localhost", "token-not-header-safe"),
    ] {
        let mut agent = Agent::start_with(Ok((token, url)));
        let status = agent.reach(State::LocalFault).await;
        assert_eq!(status.reason, id);
        assert!(!status.hint.is_empty());
        assert!(agent.dials.is_empty());
        agent.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_device_forgets_its_id() {
    let mut agent = Agent::start();
    let peer = agent.accept_and_register(&[]).await;
    peer.close(1011).await;
    let mut peer = agent.accept().await;
    peer.expect("device:reconnect").await;
    peer.send("device:error", json!({"code": "DEVICE_NOT_FOUND", "message": ""}))
        .await;
    peer.expect("device:register").await;
    assert_eq!(agent.status.borrow().device_id, None);
    peer.send("device:registered", json!({"deviceId": "dev_2"})).await;
    agent.reach(State::Online).await;
    let device_ids = agent.device_ids.clone();
    agent.stop().await;
    assert_eq!(device_ids.0.lock().unwrap().as_deref(), Some("dev_2"));
}

#[tokio::test(start_paused = true)]
async fn a_broken_executor_fails_its_task_alone() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(&[]).await;
    peer.dispatch("e1", "break").await;
    peer.expect("execution:accepted").await;
    let failed = peer.expect("execution:failed").await;
    assert_eq!(
        (&failed["cause"], &failed["error"]),
        (&json!("interrupted"), &json!("the executor of this task failed"),)
    );
    peer.dispatch("e2", "say on").await;
    for kind in ["execution:accepted", "execution:progress", "execution:complete"] {
        peer.expect(kind).await;
    }
    agent.stop().await;
}

/// The next message, whatever it is.
trait NextMessage {
    async fn next_message(&mut self) -> Message;
}

impl NextMessage for tokio_tungstenite::WebSocketStream<tokio::io::DuplexStream> {
    async fn next_message(&mut self) -> Message {
        futures_util::StreamExt::next(self).await.unwrap().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn whether_the_key_may_cross_in_plain_text_comes_with_the_credential() {
    let remote = "http://bridge.example.org";
    let mut agent = Agent::start_with(Ok((TOKEN, remote)));
    let status = agent.reach(State::LocalFault).await;
    assert_eq!(status.reason, "url-plain-remote");
    agent.credentials.set_with(TOKEN, remote, true);
    agent.accept_and_register(&[]).await;
    agent.stop().await;
}
