//! Temporary files beside an agent.json that is missing or torn.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

mod common;

use std::fs;
use std::path::PathBuf;

use askalf_cred::{Home, LoadOutcome, SealMode, load, recover};
use common::{OTHER_TOKEN, Scratch, TOKEN, expose, make_private, now};
use serde_json::json;

const ONE: &str = "agent.json.tmp-0123456789abcdef";
const TWO: &str = "agent.json.tmp-fedcba9876543210";

/// A home whose last save was cut off before the last step.
fn cut_off(mode: SealMode) -> (Scratch, Home, PathBuf) {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, mode);
    let leftover = home.path().join(ONE);
    fs::rename(home.config_path(), &leftover).unwrap();
    (scratch, home, leftover)
}

#[test]
fn a_whole_leftover_is_told_by_a_load_and_put_in_place_by_a_start() {
    for mode in [SealMode::Keyfile, SealMode::Plaintext] {
        for torn in [None, Some(""), Some("{\"apiKey\": \"sk_li"), Some("\0\0\0")] {
            let (scratch, home, leftover) = cut_off(mode);
            if let Some(torn) = torn {
                scratch.write_config(torn);
            }
            let before = scratch.snapshot();
            let LoadOutcome::Refused(unreadable) = load(&home) else {
                panic!("{torn:?}")
            };
            assert_eq!((unreadable.id(), unreadable.exit_code()), ("save-cut-off", 78));
            assert!(unreadable.is_local_fault());
            let readable = |text: String| common::readable(&text, &home);
            assert_eq!(
                readable(unreadable.to_string()),
                "agent.json is missing or torn, and the save that was cut off left it whole as \
                 ~/agent.json.tmp-0123456789abcdef"
            );
            assert_eq!(
                unreadable.hint(),
                "start `askalf-agent daemon`, which puts it in place; or run `askalf-agent pair` again"
            );
            assert_eq!(scratch.snapshot(), before, "a load wrote");

            let recovery = recover(&home, now());
            assert!(!recovery.is_nothing());
            assert_eq!(recovery.completed.as_deref(), Some(leftover.as_path()));
            assert_eq!(recovery.fault, None);
            assert_eq!(
                recovery
                    .moved_aside
                    .map(|path| fs::read_to_string(path).unwrap())
                    .as_deref(),
                torn
            );
            match load(&home) {
                LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => {
                    assert_eq!(credential.token.expose_secret(), TOKEN);
                }
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn what_proves_nothing_is_neither_taken_nor_removed() {
    type Spoil = fn(&Scratch, &Home, &PathBuf);
    let torn: Spoil = |_, _, leftover| {
        let bytes = fs::read(leftover).unwrap();
        fs::write(leftover, &bytes[..bytes.len() / 2]).unwrap();
    };
    let exposed: Spoil = |_, _, leftover| expose(leftover);
    #[cfg(unix)]
    let link: Spoil = |_, home, leftover| {
        fs::rename(leftover, home.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(home.path().join("elsewhere"), leftover).unwrap();
    };
    let other_key: Spoil = |scratch, _, _| scratch.write_keyfile(&[9; 32]);
    let no_key: Spoil = |_, home, _| fs::remove_file(home.keyfile_path()).unwrap();
    let not_ours: Spoil = |_, _, leftover| {
        fs::write(leftover, json!({"apiKey": TOKEN}).to_string()).unwrap();
    };
    let stale: Spoil = |_, _, leftover| {
        let mut file: serde_json::Value = serde_json::from_slice(&fs::read(leftover).unwrap()).unwrap();
        file["_seal"]["keyId"] = json!("00112233445566ff");
        fs::write(leftover, file.to_string()).unwrap();
    };
    let other_name: Spoil = |_, home, leftover| {
        fs::rename(leftover, home.path().join("agent.json.bak.1")).unwrap();
    };
    let ambiguous: Spoil = |_, home, leftover| {
        let first = fs::read(leftover).unwrap();
        common::save(home, OTHER_TOKEN, SealMode::Keyfile);
        fs::rename(home.config_path(), home.path().join(TWO)).unwrap();
        fs::write(leftover, first).unwrap();
        make_private(leftover);
    };
    for (name, spoil) in [
        ("torn", torn),
        ("exposed", exposed),
        #[cfg(unix)]
        ("link", link),
        ("other key", other_key),
        ("no key", no_key),
        ("not ours", not_ours),
        ("stale", stale),
        ("other name", other_name),
        ("ambiguous", ambiguous),
    ] {
        let (scratch, home, leftover) = cut_off(SealMode::Keyfile);
        spoil(&scratch, &home, &leftover);
        let files = |scratch: &Scratch| {
            let mut files = scratch.snapshot();
            files.retain(|name, _| name != "agent.json.lock");
            files
        };
        let before = files(&scratch);
        assert!(matches!(load(&home), LoadOutcome::Absent), "{name}");
        assert!(recover(&home, now()).is_nothing(), "{name}");
        assert_eq!(files(&scratch), before, "{name}");
    }
}

#[test]
fn two_leftovers_of_one_key_are_no_riddle() {
    let (scratch, home, leftover) = cut_off(SealMode::Keyfile);
    fs::copy(&leftover, home.path().join(TWO)).unwrap();
    assert!(recover(&home, now()).completed.is_some());
    assert_eq!(load(&home).id(), "ready");
    assert_eq!(scratch.names(), ["agent.json", "keyfile"]);
}

#[test]
fn the_first_save_ever_is_completed_with_its_keyfile() {
    let (scratch, home, _) = cut_off(SealMode::Keyfile);
    fs::rename(
        home.keyfile_path(),
        home.path().join("keyfile.tmp-0123456789abcdef"),
    )
    .unwrap();
    assert_eq!(load(&home).id(), "save-cut-off");
    assert!(recover(&home, now()).completed.is_some());
    assert_eq!(load(&home).id(), "ready");
    assert_eq!(scratch.names(), ["agent.json", "keyfile"]);
}

/// A save that another process is in the middle of looks the same from outside.
#[test]
fn a_save_under_way_is_not_one_that_was_cut_off() {
    let (_scratch, home, _) = cut_off(SealMode::Keyfile);
    let lock = fs::File::open(home.path().join("agent.json.lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(load(&home), LoadOutcome::Absent));
    drop(lock);
    assert_eq!(load(&home).id(), "save-cut-off");
}

#[test]
fn beside_a_whole_agent_json_a_start_clears_them() {
    let (scratch, home, leftover) = cut_off(SealMode::Keyfile);
    let bytes = fs::read(&leftover).unwrap();
    common::save(&home, OTHER_TOKEN, SealMode::Keyfile);
    fs::write(&leftover, bytes).unwrap();
    let recovery = recover(&home, now());
    assert!(recovery.cleared && recovery.completed.is_none());
    assert_eq!(scratch.names(), ["agent.json", "keyfile"]);
    let LoadOutcome::Ready(credential) = load(&home) else {
        panic!()
    };
    assert_eq!(credential.token.expose_secret(), OTHER_TOKEN);
}
