//! Keys from a passphrase and from the service manager.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

mod common;

use std::fs;
use std::path::PathBuf;

use askalf_cred::{
    AgentConfig, Home, KeySources, LoadOptions, LoadOutcome, Passphrase, SERVICE_CREDENTIAL, SaveError,
    SaveOptions, Saved, SealMode, ServiceCredential, load, load_next, load_with, promote_next,
    rotate_key_with, save_with, stage_next,
};
use common::{KEY, KEY_ID, OTHER_TOKEN, Scratch, TOKEN, make_private, now, token};
use serde_json::{Value, json};

fn with_passphrase(text: &str) -> KeySources {
    KeySources::default().passphrase(Passphrase::parse(text).unwrap())
}

fn load_under(home: &Home, keys: &KeySources) -> LoadOutcome {
    load_with(home, &LoadOptions::default().keys(keys.clone()))
}

fn save_under(home: &Home, mode: SealMode, keys: &KeySources) -> Result<Saved, SaveError> {
    let options = SaveOptions::default().keys(keys.clone());
    save_with(
        home,
        &token(TOKEN),
        &AgentConfig::default(),
        mode,
        now(),
        &options,
    )
}

fn token_of(outcome: &LoadOutcome) -> Option<&str> {
    match outcome {
        LoadOutcome::Ready(credential) => Some(credential.token.expose_secret()),
        LoadOutcome::Absent | LoadOutcome::Plaintext { .. } | LoadOutcome::Refused(_) => None,
    }
}

fn on_disk(home: &Home) -> Value {
    serde_json::from_slice(&fs::read(home.config_path()).unwrap()).unwrap()
}

/// A folder of a service manager with the credential in it.
fn credentials(scratch: &Scratch, key: &[u8]) -> (PathBuf, KeySources) {
    let folder = scratch.home().path().join("credentials");
    fs::create_dir(&folder).unwrap();
    let file = folder.join(SERVICE_CREDENTIAL);
    fs::write(&file, key).unwrap();
    make_private(&file);
    let keys = KeySources::default().service_credential(ServiceCredential::in_folder(&folder));
    (file, keys)
}

#[test]
fn a_key_under_a_passphrase_needs_that_passphrase() {
    let scratch = Scratch::new();
    let home = scratch.home();
    let keys = with_passphrase("correct horse battery staple");
    let saved = save_under(&home, SealMode::Passphrase, &keys).unwrap();
    assert!(!saved.new_keyfile);
    assert_eq!(scratch.names(), ["agent.json"]);
    let seal = &on_disk(&home)["_seal"];
    assert_eq!(
        (&seal["version"], &seal["mode"]),
        (&json!(1), &json!("passphrase"))
    );
    let kdf = &seal["kdf"];
    assert_eq!(
        (&kdf["name"], &kdf["v"], &kdf["m"], &kdf["t"], &kdf["p"]),
        (
            &json!("argon2id"),
            &json!(19),
            &json!(65536),
            &json!(3),
            &json!(1)
        )
    );

    let outcome = load_under(&home, &keys);
    assert_eq!(token_of(&outcome), Some(TOKEN));
    let LoadOutcome::Ready(credential) = outcome else {
        panic!()
    };
    assert_eq!(credential.seal.mode, SealMode::Passphrase);
    assert_eq!(credential.seal.key_id, saved.key_id);
    assert!(!credential.seal.stale);

    for (outcome, id, text, hint) in [
        (
            load(&home),
            "passphrase-missing",
            "agent.json is sealed, and its key comes from a passphrase, which was not given",
            "give the passphrase; if it is lost, run `askalf-agent pair`",
        ),
        (
            load_under(&home, &with_passphrase("correct horse")),
            "wrong-passphrase",
            "the key in agent.json does not unseal under this passphrase",
            "give the right passphrase; if it is lost, run `askalf-agent pair`",
        ),
    ] {
        assert_eq!((outcome.id(), outcome.exit_code()), (id, 78));
        assert_eq!(outcome.to_string(), text);
        assert_eq!(outcome.hint().as_deref(), Some(hint));
        let LoadOutcome::Refused(unreadable) = outcome else {
            panic!()
        };
        assert!(unreadable.is_local_fault());
    }
}

#[test]
fn no_file_makes_a_reader_spend_more_than_its_bounds() {
    let scratch = Scratch::new();
    let home = scratch.home();
    let keys = with_passphrase("correct horse");
    save_under(&home, SealMode::Passphrase, &keys).unwrap();
    let sound = on_disk(&home);
    for (name, value, id) in [
        ("m", json!(4_194_304), "kdf-out-of-bounds"),
        ("t", json!(1_000_000), "kdf-out-of-bounds"),
        ("p", json!(16_777_215), "kdf-out-of-bounds"),
        ("name", json!("argon2id-2"), "kdf-unknown"),
        ("salt", json!(5), "kdf-misshapen"),
    ] {
        let mut file = sound.clone();
        file["_seal"]["kdf"][name] = value;
        scratch.write_config(file.to_string());
        let outcome = load_under(&home, &keys);
        assert_eq!(outcome.id(), id, "{name}");
        assert!(!outcome.hint().unwrap().is_empty());
    }
    let mut file = sound;
    file["_seal"]["kdf"].take();
    scratch.write_config(file.to_string());
    let outcome = load_under(&home, &keys);
    assert_eq!(outcome.id(), "kdf-misshapen");
    assert_eq!(
        outcome.to_string(),
        "agent.json is sealed, and how its key is derived is not recorded whole (`kdf`)"
    );
    assert_eq!(
        outcome.hint().unwrap(),
        "if it was edited by hand, correct `_seal.kdf`; otherwise run `askalf-agent pair`"
    );
}

#[test]
fn the_service_manager_keeps_the_key_outside_the_home() {
    let scratch = Scratch::new();
    let home = scratch.home();
    let (file, keys) = credentials(&scratch, &KEY);
    let saved = save_under(&home, SealMode::ServiceCredential, &keys).unwrap();
    assert_eq!(saved.key_id.unwrap().to_string(), KEY_ID);
    assert!(!home.keyfile_path().exists());
    assert_eq!(on_disk(&home)["_seal"]["mode"], "service-credential");
    assert_eq!(token_of(&load_under(&home, &keys)), Some(TOKEN));
    let outcome = load(&home);
    assert_eq!(outcome.id(), "service-credential-missing");
    assert_eq!(
        outcome.to_string(),
        "agent.json is sealed, and its key is a service credential, which was not handed to this program"
    );
    assert_eq!(
        outcome.hint().unwrap(),
        "start this program through its service, with the credential `askalf-keyfile`; if that is lost, run \
         `askalf-agent pair`"
    );

    fs::write(&file, [8; 32]).unwrap();
    assert_eq!(load_under(&home, &keys).id(), "sealed-under-another-key");
    fs::write(&file, [8; 31]).unwrap();
    assert_eq!(load_under(&home, &keys).id(), "keyfile-short");
    fs::remove_file(&file).unwrap();
    assert_eq!(load_under(&home, &keys).id(), "keyfile-missing");
}

/// Read access by an access list shows as a right of the group; more than that is refused.
#[cfg(unix)]
#[test]
fn the_group_may_read_what_the_service_manager_hands_over() {
    let scratch = Scratch::new();
    let home = scratch.home();
    let (file, keys) = credentials(&scratch, &KEY);
    save_under(&home, SealMode::ServiceCredential, &keys).unwrap();
    for (mode, id) in [
        (0o400, "ready"),
        (0o440, "ready"),
        (0o600, "ready"),
        (0o444, "keyfile-wrong-mode"),
        (0o460, "keyfile-wrong-mode"),
        (0o401, "keyfile-wrong-mode"),
    ] {
        common::chmod(&file, mode);
        assert_eq!(load_under(&home, &keys).id(), id, "{mode:o}");
    }
}

#[test]
fn no_source_shows_what_it_holds() {
    let machine = askalf_cred::MachineFacts {
        hostname: "web-01".into(),
        ..askalf_cred::MachineFacts::default()
    };
    let keys = with_passphrase("correct horse").machine(machine);
    let text = format!(
        "{:?}{:?}",
        LoadOptions::default().keys(keys.clone()),
        SaveOptions::default().keys(keys)
    );
    assert!(text.contains("redacted"), "{text}");
    assert!(!text.contains("horse") && !text.contains("web-01"), "{text}");
}

/// An agent that knows only keyfiles rewrote the file and left `_seal` as it was.
#[test]
fn a_stale_record_leads_nobody_astray() {
    let scratch = Scratch::new();
    let home = scratch.home();
    let keys = with_passphrase("correct horse");
    save_under(&home, SealMode::Passphrase, &keys).unwrap();
    let mut file = on_disk(&home);
    file["apiKey"] = json!(common::seal_as_3_3(OTHER_TOKEN.as_bytes(), &KEY));
    scratch.write_config(file.to_string());
    scratch.write_keyfile(&KEY);
    for outcome in [load(&home), load_under(&home, &keys)] {
        assert_eq!(token_of(&outcome), Some(OTHER_TOKEN));
        let LoadOutcome::Ready(credential) = outcome else {
            panic!()
        };
        assert!(credential.seal.stale);
        assert_eq!(credential.seal.mode, SealMode::Keyfile);
    }
}

#[test]
fn a_save_without_its_key_changes_nothing() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    let before = scratch.snapshot();
    for (mode, id) in [
        (SealMode::Passphrase, "passphrase-missing"),
        (SealMode::ServiceCredential, "service-credential-missing"),
        (SealMode::MachineKey, "save-machine-key"),
    ] {
        let error = save_under(&home, mode, &KeySources::default()).unwrap_err();
        assert_eq!(error.id(), id);
        assert_eq!(scratch.snapshot(), before, "{id}");
    }
}

#[test]
fn keys_that_are_kept_elsewhere_are_not_rotated_here() {
    let scratch = Scratch::new();
    let home = scratch.home();
    let (_, keys) = credentials(&scratch, &KEY);
    save_under(&home, SealMode::ServiceCredential, &keys).unwrap();
    let error = rotate_key_with(&home, &SaveOptions::default().keys(keys)).unwrap_err();
    assert_eq!((error.id(), error.exit_code()), ("not-under-keyfile", 78));
    assert_eq!(
        error.to_string(),
        "the key in agent.json is not sealed under the keyfile but kept as service-credential: there is no keyfile to \
         rotate"
    );
}

#[test]
fn a_pending_key_is_sealed_as_the_present_one() {
    let scratch = Scratch::new();
    let home = scratch.home();
    let keys = with_passphrase("correct horse");
    save_under(&home, SealMode::Passphrase, &keys).unwrap();
    let save_options = SaveOptions::default().keys(keys.clone());
    stage_next(&home, &token(OTHER_TOKEN), &save_options).unwrap();
    let options = LoadOptions::default().keys(keys.clone());
    assert_eq!(token_of(&load_next(&home, &options)), Some(OTHER_TOKEN));
    assert_eq!(
        load_next(&home, &LoadOptions::default()).id(),
        "passphrase-missing"
    );
    promote_next(&home, &token(OTHER_TOKEN), now(), &save_options).unwrap();
    assert_eq!(token_of(&load_under(&home, &keys)), Some(OTHER_TOKEN));
    assert_eq!(scratch.names(), ["agent.json"]);
}
