//! Rotation of the keyfile, and of the bridge's key, as a caller sees them.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

mod common;

use std::fs;

use askalf_cred::{
    AgentConfig, Home, LoadOptions, LoadOutcome, MachineFacts, SaveError, SaveOptions, SealMode, Settled,
    discard_next, load, load_next, migrate, promote_next, recover, rotate_key, save, stage_next,
};
use common::{
    EXPOSED, KEY, OTHER_TOKEN, Scratch, TOKEN, assert_private, expose, make_private, now, token,
    unseal_as_3_3,
};
use serde_json::{Value, json};

fn loaded(home: &Home) -> String {
    match load(home) {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => {
            credential.token.expose_secret().to_owned()
        }
        other => panic!("{other}"),
    }
}

fn pending(home: &Home) -> Option<String> {
    match load_next(home, &LoadOptions::default()) {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => {
            Some(credential.token.expose_secret().to_owned())
        }
        LoadOutcome::Absent => None,
        LoadOutcome::Refused(unreadable) => panic!("{unreadable}"),
    }
}

fn on_disk(home: &Home) -> Value {
    serde_json::from_slice(&fs::read(home.config_path()).unwrap()).unwrap()
}

fn options() -> SaveOptions {
    SaveOptions::default()
}

#[test]
fn a_new_keyfile_takes_over_and_every_field_stays() {
    let scratch = Scratch::new();
    let home = scratch.home();
    scratch.write_keyfile(&KEY);
    let mut config = AgentConfig {
        url: Some("wss://b".into()),
        ..AgentConfig::default()
    };
    config.extra.insert("theirs".into(), json!([1, 2.5, null]));
    save(&home, &token(TOKEN), &config, SealMode::Keyfile, now()).unwrap();

    let rotated = rotate_key(&home).unwrap();
    assert_eq!(rotated.old_key.to_string(), common::KEY_ID);
    assert_ne!(rotated.new_key, rotated.old_key);
    assert_eq!(rotated.unfinished, None);
    let keyfile = fs::read(home.keyfile_path()).unwrap();
    assert_ne!(keyfile, KEY);
    assert_private(&home.keyfile_path());
    let LoadOutcome::Ready(credential) = load(&home) else {
        panic!()
    };
    assert_eq!(credential.token.expose_secret(), TOKEN);
    assert_eq!(credential.config, config);
    assert_eq!(credential.seal.key_id, Some(rotated.new_key));
    assert!(!credential.seal.stale);
    let sealed = on_disk(&home)["apiKey"].as_str().unwrap().to_owned();
    assert_eq!(unseal_as_3_3(&sealed, &keyfile).as_deref(), Some(TOKEN));
    assert_eq!(unseal_as_3_3(&sealed, &KEY), None);
    assert_eq!(scratch.names(), ["agent.json", "keyfile"]);
}

#[test]
fn what_an_agent_3_3_wrote_can_be_rotated() {
    let scratch = Scratch::new();
    scratch.write_keyfile(&KEY);
    let sealed = common::seal_as_3_3(TOKEN.as_bytes(), &KEY);
    scratch.write_config(json!({"apiKey": sealed, "_encrypted": true}).to_string());
    rotate_key(&scratch.home()).unwrap();
    assert_eq!(loaded(&scratch.home()), TOKEN);
}

#[test]
fn a_rotation_that_is_refused_changes_nothing() {
    type Prepare = fn(&Scratch);
    let nothing: Prepare = |_| {};
    let plaintext: Prepare = |scratch| {
        common::save(&scratch.home(), TOKEN, SealMode::Plaintext);
    };
    let missing: Prepare = |scratch| {
        common::save(&scratch.home(), TOKEN, SealMode::Keyfile);
        fs::remove_file(scratch.home().keyfile_path()).unwrap();
    };
    let exposed: Prepare = |scratch| {
        common::save(&scratch.home(), TOKEN, SealMode::Keyfile);
        expose(&scratch.home().keyfile_path());
    };
    let waits: Prepare = |scratch| {
        common::save(&scratch.home(), TOKEN, SealMode::Keyfile);
        stage_next(&scratch.home(), &token(OTHER_TOKEN), &options()).unwrap();
    };
    for (prepare, id, exit_code, text) in [
        (
            nothing,
            "absent",
            78,
            "this device is not paired: there is no agent.json",
        ),
        (
            plaintext,
            "not-under-keyfile",
            78,
            "the key in agent.json is not sealed under the keyfile but kept as plaintext: there is no keyfile to rotate",
        ),
        (
            missing,
            "keyfile-missing",
            78,
            "agent.json is sealed, and the keyfile ~/keyfile is missing: nothing is changed",
        ),
        (
            exposed,
            "keyfile-wrong-mode",
            78,
            &format!(
                "agent.json is sealed, and the keyfile ~/keyfile can be reached by other users ({EXPOSED}): nothing is changed"
            ),
        ),
        (
            waits,
            "next-waits",
            75,
            "a new key of the bridge waits in agent.json.next to be proved",
        ),
    ] {
        let scratch = Scratch::new();
        prepare(&scratch);
        let files = |scratch: &Scratch| {
            let mut files = scratch.snapshot();
            files.retain(|name, _| name != "agent.json.lock");
            files
        };
        let before = files(&scratch);
        let error = rotate_key(&scratch.home()).unwrap_err();
        assert_eq!((error.id(), error.exit_code()), (id, exit_code));
        assert_eq!(common::readable(&error.to_string(), &scratch.home()), text);
        assert!(!error.hint().is_empty());
        assert_eq!(files(&scratch), before, "{id}");
    }
}

/// The state between the last two steps: agent.json is under the key that is still called keyfile.next.
#[test]
fn a_load_reads_across_a_rotation_that_was_cut_off() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    let old = fs::read(home.keyfile_path()).unwrap();
    rotate_key(&home).unwrap();
    let new = fs::read(home.keyfile_path()).unwrap();
    fs::rename(home.keyfile_path(), home.path().join("keyfile.next")).unwrap();
    scratch.write_keyfile(&old);

    let before = scratch.snapshot();
    assert_eq!(loaded(&home), TOKEN);
    assert_eq!(scratch.snapshot(), before, "a load wrote");

    let recovery = recover(&home, now());
    assert_eq!(recovery.keyfile, Some(Settled::RolledForward));
    assert_eq!(fs::read(home.keyfile_path()).unwrap(), new);
    assert_eq!(scratch.names(), ["agent.json", "keyfile"]);
    assert_eq!(loaded(&home), TOKEN);

    // And the state before them: nothing needs the staged key.
    fs::write(home.path().join("keyfile.next"), old).unwrap();
    assert_eq!(recover(&home, now()).keyfile, Some(Settled::RolledBack));
    assert_eq!(scratch.names(), ["agent.json", "keyfile"]);
    assert_eq!(loaded(&home), TOKEN);
}

#[test]
fn a_staged_keyfile_that_may_be_the_only_copy_is_left() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    scratch.write_keyfile(&[9; 32]);
    let staged = home.path().join("keyfile.next");
    fs::write(&staged, [8; 32]).unwrap();
    make_private(&staged);
    assert!(recover(&home, now()).is_nothing());
    assert_eq!(fs::read(&staged).unwrap(), [8; 32]);
    assert_eq!(load(&home).id(), "sealed-under-another-key");
}

/// What is no file of ours there is not read, not followed and not removed.
#[cfg(unix)]
#[test]
fn a_symlink_in_place_of_a_staged_keyfile_is_left_alone() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    let next = home.path().join("keyfile.next");
    std::os::unix::fs::symlink(home.keyfile_path(), &next).unwrap();
    let recovery = recover(&home, now());
    assert_eq!((recovery.keyfile, recovery.fault), (None, None));
    assert!(next.symlink_metadata().unwrap().is_symlink());
    assert_eq!(loaded(&home), TOKEN);
}

#[test]
fn a_start_beside_a_pending_key_writes_nothing() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    stage_next(&home, &token(OTHER_TOKEN), &options()).unwrap();
    fs::remove_file(home.path().join("agent.json.lock")).unwrap();
    let before = scratch.snapshot();
    assert!(recover(&home, now()).is_nothing());
    assert_eq!(scratch.snapshot(), before);
}

#[test]
fn a_pending_key_is_kept_beside_the_present_one_until_it_is_proved() {
    for seal in [SealMode::Keyfile, SealMode::Plaintext] {
        let scratch = Scratch::new();
        let home = scratch.home();
        common::save(&home, TOKEN, seal);
        let before = fs::read(home.config_path()).unwrap();
        assert_eq!(pending(&home), None);
        stage_next(&home, &token(OTHER_TOKEN), &options()).unwrap();
        assert_eq!(fs::read(home.config_path()).unwrap(), before);
        assert_private(&home.path().join("agent.json.next"));
        assert_eq!(pending(&home).as_deref(), Some(OTHER_TOKEN));

        // A start keeps it, and writes nothing.
        let files = scratch.snapshot();
        assert!(
            migrate(&home, &MachineFacts::default(), now())
                .recovery
                .is_nothing()
        );
        assert_eq!(scratch.snapshot(), files);

        let wrong = promote_next(&home, &token(TOKEN), now(), &options()).unwrap_err();
        assert!(matches!(wrong, SaveError::NextIsOther), "{wrong}");
        assert_eq!(
            promote_next(&home, &token(OTHER_TOKEN), now(), &options()).unwrap(),
            None
        );
        assert_eq!(loaded(&home), OTHER_TOKEN);
        assert_eq!(pending(&home), None);
        let error = promote_next(&home, &token(OTHER_TOKEN), now(), &options()).unwrap_err();
        assert_eq!(
            (error.id(), error.to_string().as_str()),
            ("no-next", "there is no agent.json.next")
        );
    }
}

#[test]
fn a_pending_key_that_the_bridge_does_not_know_is_dropped() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    assert!(!discard_next(&home, &token(OTHER_TOKEN), &options()).unwrap());
    stage_next(&home, &token(OTHER_TOKEN), &options()).unwrap();
    assert!(
        !discard_next(&home, &token(TOKEN), &options()).unwrap(),
        "it holds another key"
    );
    assert!(discard_next(&home, &token(OTHER_TOKEN), &options()).unwrap());
    assert_eq!(pending(&home), None);
    assert_eq!(loaded(&home), TOKEN);
    assert_eq!(scratch.names(), ["agent.json", "keyfile"]);
}

#[test]
fn an_unsettled_pending_key_is_not_replaced() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    stage_next(&home, &token(OTHER_TOKEN), &options()).unwrap();
    let error = stage_next(
        &home,
        &token("sk_live_THIRDTHIRDTHIRDTHIRDTHIRDTHIRDTH"),
        &options(),
    )
    .unwrap_err();
    assert_eq!((error.id(), error.exit_code()), ("next-waits", 75));
    assert_eq!(pending(&home).as_deref(), Some(OTHER_TOKEN));
}

/// Somebody pairs while a rotation is under way: the new pairing must win over what was staged for the key before.
#[test]
fn a_pending_key_for_a_key_that_is_gone_counts_for_nothing() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    stage_next(&home, &token(OTHER_TOKEN), &options()).unwrap();
    const PAIRED: &str = "sk_live_PAIREDPAIREDPAIREDPAIREDPAIREDPA";
    common::save(&home, PAIRED, SealMode::Keyfile);
    assert_eq!(pending(&home), None);
    assert!(promote_next(&home, &token(OTHER_TOKEN), now(), &options()).is_err());
    let recovery = recover(&home, now());
    assert!(recovery.dropped_next);
    assert_eq!(scratch.names(), ["agent.json", "keyfile"]);
    assert_eq!(loaded(&home), PAIRED);

    // The same key saved again, as for a changed setting, is the one that it is to replace.
    stage_next(&home, &token(OTHER_TOKEN), &options()).unwrap();
    common::save(&home, PAIRED, SealMode::Keyfile);
    assert_eq!(pending(&home).as_deref(), Some(OTHER_TOKEN));
}

#[test]
fn a_pending_key_outlives_a_present_one_that_is_damaged() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    stage_next(&home, &token(OTHER_TOKEN), &options()).unwrap();
    scratch.write_config("{\"apiKey\": \"torn");
    assert_eq!(pending(&home).as_deref(), Some(OTHER_TOKEN));
    let moved = promote_next(&home, &token(OTHER_TOKEN), now(), &options())
        .unwrap()
        .unwrap();
    assert_eq!(fs::read_to_string(moved).unwrap(), "{\"apiKey\": \"torn");
    assert_eq!(loaded(&home), OTHER_TOKEN);
}

/// Plaintext that nobody chose must not become plaintext that somebody chose.
#[test]
fn no_pending_key_is_staged_beside_a_file_of_an_older_agent() {
    let scratch = Scratch::new();
    scratch.write_config(json!({"apiKey": TOKEN}).to_string());
    let error = stage_next(&scratch.home(), &token(OTHER_TOKEN), &options()).unwrap_err();
    assert_eq!((error.id(), error.exit_code()), ("not-migrated", 78));
    assert_eq!(
        error.to_string(),
        "the key in agent.json lies as an older agent left it: it must be sealed anew first"
    );
    assert_eq!(scratch.names(), ["agent.json"]);
}

#[test]
fn a_key_that_looks_sealed_is_still_taken_after_a_rotation() {
    let scratch = Scratch::new();
    let home = scratch.home();
    let opaque = common::seal_as_3_3(TOKEN.as_bytes(), &KEY);
    let options = options().opaque_key(true);
    askalf_cred::save_with(
        &home,
        &token(&opaque),
        &AgentConfig::default(),
        SealMode::Keyfile,
        now(),
        &options,
    )
    .unwrap();
    rotate_key(&home).unwrap();
    assert_eq!(loaded(&home), opaque);
}

#[test]
fn a_save_brings_a_rotation_that_was_cut_off_to_its_end_first() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    let old = fs::read(home.keyfile_path()).unwrap();
    let rotated = rotate_key(&home).unwrap();
    fs::rename(home.keyfile_path(), home.path().join("keyfile.next")).unwrap();
    scratch.write_keyfile(&old);
    let saved = common::save(&home, OTHER_TOKEN, SealMode::Keyfile);
    assert_eq!(
        saved.key_id,
        Some(rotated.new_key),
        "it is sealed under the old keyfile again"
    );
    assert_eq!(scratch.names(), ["agent.json", "keyfile"]);
    assert_eq!(loaded(&home), OTHER_TOKEN);
}

#[test]
fn sealed_text_is_staged_as_a_key_only_where_that_is_meant() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    let file: Value = serde_json::from_slice(&fs::read(home.config_path()).unwrap()).unwrap();
    let sealed = token(file["apiKey"].as_str().unwrap());
    let error = stage_next(&home, &sealed, &options()).unwrap_err();
    assert!(matches!(error, SaveError::CiphertextAsToken), "{error}");
    let mut meant = options();
    meant.opaque_key = true;
    stage_next(&home, &sealed, &meant).unwrap();
}

#[test]
fn a_pending_key_does_not_take_the_place_of_what_is_no_file() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    stage_next(&home, &token(OTHER_TOKEN), &options()).unwrap();
    fs::remove_file(home.config_path()).unwrap();
    fs::create_dir(home.config_path()).unwrap();
    let error = promote_next(&home, &token(OTHER_TOKEN), now(), &options()).unwrap_err();
    assert!(matches!(error, SaveError::Unreadable(_)), "{error}");
    assert!(home.path().join("agent.json.next").is_file());
}
