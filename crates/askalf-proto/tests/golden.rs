//! Golden frames: a change here is a change of the wire and needs a note in docs/protocol.md.
//!
//! `golden/{agent,bridge}` hold what we write, one file per variant (`VARIANT.json`, more as `VARIANT-CASE.json`).
//! `golden/legacy` holds what older peers write and what it means to us.

#![allow(clippy::unwrap_used, reason = "a helper of a test ends at the first surprise, as the test does")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use askalf_proto::{AgentMessage, BridgeMessage, ErrorCode, decode_agent, decode_bridge};
use serde_json::Value;

/// Names every variant of an enum once: a new one does not compile until it is named here, and then fails the test
/// until it has a file.
macro_rules! variants {
    ($function:ident, $list:ident, $message:ident: $($variant:ident => $name:literal,)+) => {
        const $list: &[&str] = &[$($name),+];

        fn $function(message: &$message) -> &'static str {
            match message {
                $($message::$variant(_) => $name,)+
            }
        }
    };
}

variants! { agent_variant, AGENT_VARIANTS, AgentMessage:
    Register => "register",
    Reconnect => "reconnect",
    Heartbeat => "heartbeat",
    Pong => "pong",
    Capabilities => "capabilities",
    Queued => "queued",
    Accepted => "accepted",
    Progress => "progress",
    Complete => "complete",
    Failed => "failed",
    CredentialStaged => "credential_staged",
    CredentialFailed => "credential_failed",
    CredentialProve => "credential_prove",
    CredentialPromoted => "credential_promoted",
    Forwarded => "forwarded",
    AuditHead => "audit_head",
}

variants! { bridge_variant, BRIDGE_VARIANTS, BridgeMessage:
    Registered => "registered",
    Error => "error",
    Ping => "ping",
    CapabilitiesScan => "capabilities_scan",
    Dispatch => "dispatch",
    Cancel => "cancel",
    ExecutionAck => "execution_ack",
    CredentialRotate => "credential_rotate",
    CredentialCommitted => "credential_committed",
}

#[test]
fn agent_frames_are_written_as_recorded() {
    let seen = check_folder("agent", |frame| {
        let message = decode_agent(frame).unwrap();
        (agent_variant(&message), message.encode().unwrap())
    });
    assert_eq!(
        seen,
        AGENT_VARIANTS.iter().copied().collect(),
        "every variant of AgentMessage has a file"
    );
}

#[test]
fn bridge_frames_are_written_as_recorded() {
    let seen = check_folder("bridge", |frame| {
        let message = decode_bridge(frame).unwrap();
        if let BridgeMessage::Error(error) = &message {
            assert!(
                !matches!(error.code, ErrorCode::Other(_)),
                "{frame}: we send no code without a name"
            );
        }
        (bridge_variant(&message), message.encode().unwrap())
    });
    assert_eq!(
        seen,
        BRIDGE_VARIANTS.iter().copied().collect(),
        "every variant of BridgeMessage has a file"
    );
}

#[test]
fn older_spellings_are_read_and_written_in_the_forges() {
    let mut cases = 0;
    for path in json_files("legacy") {
        let case: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let frame = case["in"].to_string();
        let written = match case["from"].as_str().unwrap() {
            "agent" => decode_agent(&frame).map(|message| message.encode().unwrap()),
            "bridge" => decode_bridge(&frame).map(|message| message.encode().unwrap()),
            other => panic!("{}: from {other}", path.display()),
        };
        let written = written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let written: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(written, case["out"], "{}: {}", path.display(), case["why"]);
        cases += 1;
    }
    assert!(cases >= 20, "only {cases} cases were found");
}

fn check_folder(folder: &str, read: impl Fn(&str) -> (&'static str, String)) -> BTreeSet<&'static str> {
    json_files(folder)
        .iter()
        .map(|path| {
            let recorded = fs::read_to_string(path).unwrap();
            let (variant, written) = read(recorded.trim_end());
            assert_eq!(written, recorded.trim_end(), "{}", path.display());
            let stem = path.file_stem().unwrap().to_str().unwrap();
            assert_eq!(
                stem.split('-').next(),
                Some(variant),
                "{} holds a {variant}",
                path.display()
            );
            variant
        })
        .collect()
}

fn json_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}
