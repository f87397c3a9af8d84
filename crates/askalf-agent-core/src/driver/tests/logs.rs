//! What is written to the log, by the words that people search for.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use super::rig::{Agent, TOKEN};
use crate::machine::State;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Catches everything that this thread logs, at every level.
    fn catch() -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        (log.clone(), tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn registered_and_refused_are_said_in_the_words_that_people_search_for() {
    let (log, _guard) = Log::catch();
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(&[]).await;
    assert!(
        log.text().contains("Registered as device dev_1"),
        "{}",
        log.text()
    );
    let payload = json!({"code": "AUTH_FAILED", "reason": "revoked", "message": TOKEN});
    peer.send("device:error", payload).await;
    agent.reach(State::RepairRequired).await;
    let line = "AUTH_FAILED (revoked): re-pair required: run 'askalf-agent pair' with a good key, see 'askalf-agent \
                recovery'";
    assert!(log.text().contains(line), "{}", log.text());
    agent.stop().await;
    assert!(!log.text().contains(TOKEN), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_suspended_user_is_not_told_to_pair() {
    let (log, _guard) = Log::catch();
    let mut agent = Agent::start();
    let mut peer = agent.accept().await;
    peer.send("device:error", json!({"code": "USER_NOT_FOUND"})).await;
    agent.reach(State::RepairRequired).await;
    assert!(
        log.text()
            .contains("AUTH_FAILED (user_inactive): ask the operator"),
        "{}",
        log.text()
    );
    assert!(!log.text().contains("re-pair required"), "{}", log.text());
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn neither_key_nor_credentials_nor_control_characters_reach_the_log() {
    let (log, _guard) = Log::catch();
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(&[]).await;
    let payload =
        json!({"executionId": "e1", "input": "say x", "mode": "shell", "credentials": "oauth-hunter2"});
    peer.send("task:dispatch", payload).await;
    peer.expect("execution:accepted").await;
    let payload = json!({"executionId": "e2", "input": 5, "credentials": "oauth-hunter2"});
    peer.send("task:dispatch", payload).await;
    peer.text(&format!(r#"{{"type":"{TOKEN}"}}"#)).await;
    peer.send("task:cancel", json!({"executionId": "\u{1b}[2J"}))
        .await;
    // Wherever the bridge repeats the key: in ids, in executors, in a dispatch that cannot be read.
    peer.send("device:registered", json!({"deviceId": TOKEN})).await;
    peer.send("task:cancel", json!({"executionId": TOKEN})).await;
    peer.send("task:dispatch", json!({"executionId": TOKEN, "input": "say x"}))
        .await;
    peer.send("task:dispatch", json!({"executionId": TOKEN, "input": 5}))
        .await;
    let payload = json!({"executionId": "e4", "input": "say x", "executor": TOKEN});
    peer.send("task:dispatch", payload).await;
    let payload = json!({"code": TOKEN, "message": format!("\u{1b}[31m{TOKEN}")});
    peer.send("device:error", payload).await;
    peer.dispatch("e3", "say done").await;
    while peer.next().await.1["executionId"] != "e3" {}
    let shown = format!(
        "{:?} {:?}",
        *agent.status.borrow(),
        agent.device_ids.0.lock().unwrap()
    );
    assert!(shown.contains("dev_1") && !shown.contains(TOKEN), "{shown}");
    agent.stop().await;
    let text = log.text();
    assert!(text.contains("[key]"), "the texts were logged: {text}");
    for secret in [TOKEN, "hunter2", "\u{1b}"] {
        assert!(!text.contains(secret), "{secret:?} in {text}");
    }
}

#[test]
fn the_websocket_library_cannot_log_requests() {
    assert!(log::STATIC_MAX_LEVEL <= log::LevelFilter::Info);
}
