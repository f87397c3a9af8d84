//! What the log holds, and what it never holds.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::harness::TestBridge;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_log_names_keys_and_devices_and_holds_no_token() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    // For the whole process: a subscriber of one thread misses events whose place another thread came by first.
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let admin = bridge.mint("ann", &["admin"]).await;
    let (client, id) = bridge.register(&key, "laptop").await;
    let (mut in_query, _) = bridge.connect_with(&format!("?token={}", key.token), &[]).await;
    in_query.is_alive().await;
    let short = "hunter2";
    let unknown = "sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG";
    for token in [short, unknown, admin.token.as_str()] {
        bridge
            .try_connect(Some(token))
            .await
            .expect_error("AUTH_FAILED")
            .await;
    }
    bridge
        .call_over_tcp(Some(&admin.token), "GET", "/api/v1/devices", json!(null))
        .await;
    let minting = json!({ "name": "second" });
    let (_, minted) = bridge
        .call_over_tcp(Some(&admin.token), "POST", "/api/v1/keys", minting)
        .await;
    drop(client);
    bridge.stop().await;

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for token in [
        key.token.as_str(),
        admin.token.as_str(),
        unknown,
        short,
        minted["key"].as_str().unwrap(),
    ] {
        assert!(!log.contains(token), "the log holds a token: {log}");
    }
    for wanted in [
        format!("a connection was accepted key=\"{}...\"", &key.token[..12]),
        format!(
            "a connection was rejected key=\"{}...\" reason=\"unknown\"",
            &unknown[..12]
        ),
        "a connection was rejected key=\"...\" reason=\"unknown\"".to_owned(),
        "reason=\"scope_missing\"".to_owned(),
        format!("a device registered session=1 device=\"{id}\" name=\"laptop\""),
        "a client put its token into the URL".to_owned(),
        format!("a key was minted key=\"{}\"", minted["id"].as_str().unwrap()),
        format!("by=user ann with key {}", admin.id),
    ] {
        assert!(log.contains(&wanted), "not in the log: {wanted}\n{log}");
    }
}
