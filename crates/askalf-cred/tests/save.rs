//! What a save leaves behind.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

mod common;

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::symlink;
use std::sync::Barrier;
use std::time::Duration;

use askalf_cred::{
    AgentConfig, Home, KeySource, KeySources, Keyfile, LoadOptions, LoadOutcome, MAX_CONFIG_BYTES,
    Passphrase, SaveError, SaveOptions, SealMode, load, save, save_with, stamp,
};
use common::{
    EXPOSED, KEY, OTHER_TOKEN, Scratch, TOKEN, assert_private, expose, now, private_hint, seal_as_3_3, token,
};
use serde_json::{Value, json};

fn loaded(home: &Home) -> askalf_cred::Credential {
    match load(home) {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => credential,
        other => panic!("{other}"),
    }
}

fn on_disk(home: &Home) -> Value {
    serde_json::from_slice(&fs::read(home.config_path()).unwrap()).unwrap()
}

#[test]
fn a_first_save_makes_everything_private() {
    let scratch = tempfile::tempdir().unwrap();
    let home = Home::new(scratch.path().join("deep/er/home"));
    let saved = common::save(&home, TOKEN, SealMode::Keyfile);
    assert!(saved.new_keyfile);
    assert_eq!(saved.moved_aside, []);
    assert_eq!(saved.unsynced, None);
    assert_eq!(saved.key_id, Some(Keyfile::of(&home).read(None).unwrap().id()));
    assert_private(home.path());
    assert_private(&home.config_path());
    assert_private(&home.keyfile_path());
    assert_private(&home.path().join("agent.json.lock"));
    assert_eq!(fs::metadata(home.keyfile_path()).unwrap().len(), 32);
    let credential = loaded(&home);
    assert_eq!(credential.token.expose_secret(), TOKEN);
    assert_eq!(credential.seal.mode, SealMode::Keyfile);
    assert_eq!(credential.seal.key_id, saved.key_id);
    assert!(!fs::read_to_string(home.config_path()).unwrap().contains(TOKEN));
}

#[test]
fn a_sealed_file_has_the_documented_form() {
    let scratch = Scratch::new();
    scratch.write_keyfile(&KEY);
    let config = AgentConfig {
        url: Some("wss://b".into()),
        max_concurrent: Some(2),
        ..AgentConfig::default()
    };
    save(&scratch.home(), &token(TOKEN), &config, SealMode::Keyfile, now()).unwrap();
    let mut file = on_disk(&scratch.home());
    let sealed = file["apiKey"].take();
    assert_eq!(
        common::unseal_as_3_3(sealed.as_str().unwrap(), &KEY).as_deref(),
        Some(TOKEN)
    );
    assert_eq!(
        file,
        json!({
            "apiKey": null, "url": "wss://b", "maxConcurrent": 2, "_encrypted": true,
            "_seal": {"version": 1, "mode": "keyfile", "keyId": common::KEY_ID}
        })
    );
}

#[test]
fn plaintext_is_marked_as_chosen_and_makes_no_keyfile() {
    let scratch = Scratch::new();
    let saved = common::save(&scratch.home(), TOKEN, SealMode::Plaintext);
    assert_eq!((saved.key_id, saved.new_keyfile), (None, false));
    assert_eq!(
        on_disk(&scratch.home()),
        json!({"apiKey": TOKEN, "_encrypted": false, "_seal": {"version": 1, "mode": "plaintext"}})
    );
    assert!(matches!(
        load(&scratch.home()),
        LoadOutcome::Plaintext { chosen: true, .. }
    ));
    assert_eq!(scratch.names(), ["agent.json"]);
}

#[test]
fn a_second_save_keeps_the_keyfile_and_every_unknown_field() {
    let scratch = Scratch::new();
    let home = scratch.home();
    scratch.write_keyfile(&KEY);
    scratch.write_config(
        json!({
            "apiKey": seal_as_3_3(TOKEN.as_bytes(), &KEY), "_encrypted": true, "url": "wss://b", "deviceName": "d",
            "maxConcurrent": 2, "executionTimeoutMs": 600_000, "theirs": {"a": [1, 2.5, null]}, "installedAt": "2024"
        })
        .to_string(),
    );
    let old = loaded(&home);
    let saved = save(&home, &token(OTHER_TOKEN), &old.config, SealMode::Keyfile, now()).unwrap();
    assert!(!saved.new_keyfile);
    assert_eq!(fs::read(home.keyfile_path()).unwrap(), KEY);
    let new = loaded(&home);
    assert_eq!(new.token.expose_secret(), OTHER_TOKEN);
    assert_eq!(new.config, old.config);
    assert_eq!(on_disk(&home)["theirs"], json!({"a": [1, 2.5, null]}));
    assert_eq!(
        scratch.names(),
        ["agent.json", "keyfile"],
        "a readable file is not kept as evidence"
    );
}

#[test]
fn an_unreadable_file_is_moved_aside_and_named() {
    let scratch = Scratch::new();
    let home = scratch.home();
    for (torn, name) in [
        ("{\"torn\": 1", "agent.json.unreadable-20260131T235959Z"),
        ("{\"torn\": 2", "agent.json.unreadable-20260131T235959Z-1"),
    ] {
        scratch.write_config(torn);
        let saved = common::save(&home, TOKEN, SealMode::Keyfile);
        let [moved] = saved.moved_aside.as_slice() else {
            panic!("{saved:?}")
        };
        assert_eq!(moved.from, home.config_path());
        assert_eq!(moved.to, home.path().join(name));
        assert_eq!(moved.why.id(), "config-torn");
        assert_eq!(fs::read_to_string(&moved.to).unwrap(), torn);
        assert_eq!(loaded(&home).token.expose_secret(), TOKEN);
    }
    assert_eq!(
        fs::read_to_string(home.path().join("agent.json.unreadable-20260131T235959Z")).unwrap(),
        "{\"torn\": 1"
    );
}

#[test]
fn no_new_key_is_made_beside_an_old_sealed_file() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    let old = fs::read(home.config_path()).unwrap();
    let key = fs::read(home.keyfile_path()).unwrap();
    fs::remove_file(home.keyfile_path()).unwrap();
    let saved = common::save(&home, OTHER_TOKEN, SealMode::Keyfile);
    assert!(saved.new_keyfile);
    let [moved] = saved.moved_aside.as_slice() else {
        panic!("{saved:?}")
    };
    assert_eq!(moved.why.id(), "keyfile-missing");
    assert_eq!(fs::read(&moved.to).unwrap(), old);

    // The evidence is good: with its keyfile back it unseals.
    let elsewhere = Scratch::new();
    elsewhere.write_config(&old);
    elsewhere.write_keyfile(&key);
    assert_eq!(loaded(&elsewhere.home()).token.expose_secret(), TOKEN);
}

#[test]
fn a_keyfile_of_the_wrong_length_is_kept_too() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    scratch.write_keyfile(&[1; 31]);
    let saved = common::save(&home, OTHER_TOKEN, SealMode::Keyfile);
    let moved: Vec<_> = saved
        .moved_aside
        .iter()
        .map(|moved| (moved.from.clone(), moved.why.id()))
        .collect();
    assert_eq!(
        moved,
        [
            (home.config_path(), "keyfile-short"),
            (home.keyfile_path(), "keyfile-short")
        ]
    );
    assert_eq!(fs::read(&saved.moved_aside[1].to).unwrap(), [1; 31]);
    assert_eq!(loaded(&home).token.expose_secret(), OTHER_TOKEN);
}

/// Saves in a prepared home, and compares what a person and a script see of the error. `~` in the texts is the home.
fn refused(prepare: impl Fn(&Scratch), id: &str, exit_code: u8, text: &str, hint: &str) {
    let scratch = Scratch::new();
    let home = scratch.home();
    prepare(&scratch);
    let without_lock = |scratch: &Scratch| {
        let mut files = scratch.snapshot();
        files.retain(|name, _| name != "agent.json.lock");
        files
    };
    let before = without_lock(&scratch);
    let error = save(
        &home,
        &token(OTHER_TOKEN),
        &AgentConfig::default(),
        SealMode::Keyfile,
        now(),
    )
    .unwrap_err();
    let readable = |text: String| common::readable(&text, &home);
    assert_eq!(readable(error.to_string()), text);
    let told = readable(error.hint());
    assert!(told.starts_with(hint), "{told}");
    assert_eq!((error.id(), error.exit_code()), (id, exit_code));
    assert_eq!(without_lock(&scratch), before, "{id}");
}

#[test]
fn a_save_that_is_refused_changes_nothing() {
    refused(
        |scratch| scratch.write_config(json!({"apiKey": "x", "_seal": {"version": 2}}).to_string()),
        "newer-version",
        78,
        "agent.json was written by a newer version of askalf (its seal is version 2, this program knows version 1): \
         it is not replaced",
        "upgrade askalf-agent on this machine, or move agent.json away first",
    );
    refused(
        |scratch| {
            common::save(&scratch.home(), TOKEN, SealMode::Keyfile);
            expose(&scratch.home().keyfile_path());
        },
        "keyfile-wrong-mode",
        78,
        &format!("the keyfile ~/keyfile can be reached by other users ({EXPOSED})"),
        &private_hint("~/keyfile"),
    );
    refused(
        |scratch| fs::create_dir(scratch.home().config_path()).unwrap(),
        "save-not-a-file",
        78,
        "~/agent.json is a folder, not a regular file: it is not replaced",
        "move ~/agent.json away, then run the command again",
    );
}

#[cfg(unix)]
#[test]
fn a_save_follows_no_link() {
    refused(
        |scratch| {
            let real = scratch.home().path().join("real");
            fs::write(real, json!({"apiKey": TOKEN}).to_string()).unwrap();
            symlink("real", scratch.home().config_path()).unwrap();
        },
        "save-not-a-file",
        78,
        "~/agent.json is a symlink, not a regular file: it is not replaced",
        "move ~/agent.json away, then run the command again",
    );
    refused(
        |scratch| symlink("/dev/null", scratch.home().keyfile_path()).unwrap(),
        "keyfile-not-a-file",
        78,
        "the keyfile ~/keyfile is a symlink, not a regular file",
        "put the keyfile itself at ~/keyfile; if it is lost, move what is there away and run `askalf-agent pair`",
    );
    refused(
        |scratch| symlink("real", scratch.home().path().join("agent.json.lock")).unwrap(),
        "save-not-a-file",
        78,
        "~/agent.json.lock is a symlink, not a regular file: it is not replaced",
        "move ~/agent.json.lock away, then run the command again",
    );
}

#[test]
fn a_home_is_made_private() {
    let scratch = tempfile::tempdir().unwrap();
    let home = Home::new(scratch.path().join("home"));
    fs::create_dir(home.path()).unwrap();
    expose(home.path());
    home.create().unwrap();
    assert_private(home.path());
    home.create().unwrap();
    assert_private(home.path());
}

#[cfg(unix)]
#[test]
fn a_link_to_a_home_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let real = Home::new(scratch.path().join("real"));
    real.create().unwrap();
    symlink(real.path(), scratch.path().join("link")).unwrap();
    for spelling in ["link", "link/", "./link//"] {
        let home = Home::new(scratch.path().join(spelling));
        let error = home.create().unwrap_err();
        assert_eq!(error.id(), "home-not-a-folder", "{spelling}");
        assert!(
            error.to_string().ends_with("/link is a symlink, not a folder"),
            "{error}"
        );
    }
}

#[test]
fn a_held_lock_is_waited_for_within_bounds_and_then_busy() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    let other = fs::File::open(home.path().join("agent.json.lock")).unwrap();
    other.lock().unwrap();
    let options = SaveOptions::default().lock_wait(Duration::from_millis(20));
    let again = || {
        save_with(
            &home,
            &token(OTHER_TOKEN),
            &AgentConfig::default(),
            SealMode::Keyfile,
            now(),
            &options,
        )
    };
    let error = again().unwrap_err();
    assert!(matches!(error, SaveError::Busy { .. }));
    assert!(
        error.to_string().starts_with("another askalf-agent is writing "),
        "{error}"
    );
    assert_eq!(
        (error.id(), error.exit_code(), error.hint().as_str()),
        ("save-busy", 75, "run the command again in a moment")
    );
    assert_eq!(loaded(&home).token.expose_secret(), TOKEN);
    drop(other);
    again().unwrap();
    assert_eq!(loaded(&home).token.expose_secret(), OTHER_TOKEN);
}

#[test]
fn sealed_text_is_saved_as_a_key_only_when_that_is_asked_for_and_then_read() {
    let opaque = seal_as_3_3(TOKEN.as_bytes(), &KEY);
    for mode in [SealMode::Keyfile, SealMode::Plaintext] {
        let scratch = Scratch::new();
        let home = scratch.home();
        let save_it = |options: SaveOptions| {
            save_with(
                &home,
                &token(&opaque),
                &AgentConfig::default(),
                mode,
                now(),
                &options,
            )
        };
        let error = save_it(SaveOptions::default()).unwrap_err();
        assert_eq!((error.id(), error.exit_code()), ("ciphertext-as-token", 1));
        assert!(error.hint().ends_with("add `--opaque-key`"), "{}", error.hint());
        assert_eq!(scratch.names(), [""; 0]);

        save_it(SaveOptions::default().opaque_key(true)).unwrap();
        assert_eq!(
            loaded(&home).token.expose_secret(),
            opaque,
            "a daemon needs no option"
        );

        // The mark holds for that key alone.
        let mut file = on_disk(&home);
        assert!(file["_seal"]["opaque"].is_string(), "{file}");
        file["_encrypted"] = json!(false);
        file["apiKey"] = json!(seal_as_3_3(OTHER_TOKEN.as_bytes(), &KEY));
        scratch.write_config(file.to_string());
        assert_eq!(load(&home).id(), "ciphertext-as-token");
    }
}

#[test]
fn a_config_that_could_not_be_read_again_is_not_saved() {
    let scratch = Scratch::new();
    common::save(&scratch.home(), TOKEN, SealMode::Keyfile);
    let mut config = AgentConfig::default();
    config.extra.insert("big".into(), json!("x".repeat(64 * 1024)));
    let error = save(
        &scratch.home(),
        &token(OTHER_TOKEN),
        &config,
        SealMode::Keyfile,
        now(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "agent.json would be larger than 65536 bytes: it is not saved"
    );
    config.extra.insert("big".into(), json!(vec![0; 2048]));
    let error = save(
        &scratch.home(),
        &token(OTHER_TOKEN),
        &config,
        SealMode::Keyfile,
        now(),
    )
    .unwrap_err();
    assert_eq!(error.id(), "save-too-complex");
    assert_eq!(
        error.to_string(),
        "agent.json would hold more than 2048 values: it is not saved"
    );
    assert_eq!(loaded(&scratch.home()).token.expose_secret(), TOKEN);
    assert_eq!(scratch.names(), ["agent.json", "keyfile"]);
}

#[test]
fn a_save_clears_what_a_crash_left_and_nothing_else() {
    let scratch = Scratch::new();
    let home = scratch.home();
    let kept = [
        "agent.json.bak.1",
        "agent.json.next",
        "agent.json.tmp-mine",
        "policy.json",
    ];
    for name in ["agent.json.tmp-0123456789abcdef", "keyfile.tmp-0123456789abcdef"]
        .into_iter()
        .chain(kept)
    {
        fs::write(home.path().join(name), "x").unwrap();
    }
    common::save(&home, TOKEN, SealMode::Keyfile);
    let mut expected = [&kept[..], &["agent.json", "keyfile"]].concat();
    expected.sort_unstable();
    assert_eq!(scratch.names(), expected);
}

#[test]
fn savers_at_once_end_with_one_key_and_a_whole_file() {
    const SAVERS: usize = 16;
    let scratch = tempfile::tempdir().unwrap();
    let home = Home::new(scratch.path().join("home"));
    let start = Barrier::new(SAVERS);
    let made: Vec<bool> = std::thread::scope(|scope| {
        let savers: Vec<_> = (0..SAVERS)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    // 60 s of patience, in steps of 10 ms: only the order may depend on the machine, never the result.
                    let options = SaveOptions::default().lock_wait(Duration::from_secs(60));
                    save_with(
                        &home,
                        &token(TOKEN),
                        &AgentConfig::default(),
                        SealMode::Keyfile,
                        now(),
                        &options,
                    )
                    .unwrap()
                    .new_keyfile
                })
            })
            .collect();
        savers.into_iter().map(|saver| saver.join().unwrap()).collect()
    });
    assert_eq!(made.iter().filter(|made| **made).count(), 1);
    assert_eq!(loaded(&home).token.expose_secret(), TOKEN);
}

#[test]
fn a_stamp_tells_each_change_and_no_load() {
    let scratch = Scratch::new();
    let home = scratch.home();
    let absent = stamp(&home);
    common::save(&home, TOKEN, SealMode::Keyfile);
    let saved = stamp(&home);
    assert_ne!(absent, saved);
    let _ = loaded(&home);
    assert_eq!(stamp(&home), saved);
    common::save(&home, TOKEN, SealMode::Keyfile);
    let again = stamp(&home);
    assert_ne!(again, saved);
    fs::remove_file(home.keyfile_path()).unwrap();
    assert_ne!(stamp(&home), again, "a repaired keyfile must be noticed too");
}

#[test]
fn an_option_keeps_those_that_were_set_before() {
    let keys = || KeySources::default().passphrase(Passphrase::parse("correct horse").unwrap());
    let options = SaveOptions::default()
        .keys(keys())
        .opaque_key(true)
        .lock_wait(Duration::from_millis(7));
    assert!(options.opaque_key && options.keys.passphrase.is_some());
    assert_eq!(options.lock_wait, Duration::from_millis(7));
    let options = LoadOptions::default().keys(keys()).opaque_key(true);
    assert!(options.opaque_key && options.keys.passphrase.is_some());
    let options = LoadOptions::default().opaque_key(true).keys(keys());
    assert!(options.opaque_key && options.keys.passphrase.is_some());
    let options = SaveOptions::default().opaque_key(true).keys(keys());
    assert!(options.opaque_key && options.keys.passphrase.is_some());
}

#[test]
fn the_largest_config_that_is_read_can_be_written() {
    let scratch = Scratch::new();
    let home = scratch.home();
    let save_with_filler = |len: usize| {
        let mut config = AgentConfig::default();
        config.extra.insert("filler".into(), json!("x".repeat(len)));
        save(&home, &token(TOKEN), &config, SealMode::Keyfile, now())
    };
    save_with_filler(0).unwrap();
    let room = MAX_CONFIG_BYTES - fs::read(home.config_path()).unwrap().len();
    save_with_filler(room).unwrap();
    assert_eq!(fs::read(home.config_path()).unwrap().len(), MAX_CONFIG_BYTES);
    assert_eq!(loaded(&home).token.expose_secret(), TOKEN);
    assert_eq!(save_with_filler(room + 1), Err(SaveError::TooLarge));
}
