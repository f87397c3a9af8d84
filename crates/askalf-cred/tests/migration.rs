//! The first start on the files of an older agent, and on files that need nothing.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

mod common;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use askalf_cred::{
    Generation, Home, Interface, LoadOutcome, MachineFacts, MigrationStep, SealMode, load, migrate,
};
use common::{EXPOSED, KEY, Scratch, TOKEN, expose, now, private_hint, seal_as_3_3, unseal_as_3_3};
use serde_json::{Value, json};

fn vectors() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/agent_json.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The machine of a vector: a hardware address that stands twice is a card with an IPv4 and an IPv6 address.
fn machine(vector: &Value) -> MachineFacts {
    let text = |name: &str| vector["machine"][name].as_str().unwrap_or_default().to_owned();
    let mut interfaces: Vec<Interface> = Vec::new();
    for mac in vector["machine"]["macs"].as_array().into_iter().flatten() {
        let mac = mac.as_str().unwrap();
        match interfaces.iter_mut().find(|card| card.mac == mac) {
            Some(card) => card.addresses.push(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            None => interfaces.push(Interface {
                name: format!("eth{}", interfaces.len()),
                mac: mac.to_owned(),
                addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
                up: true,
                loopback: false,
                is_virtual: mac.starts_with("02:42:"),
            }),
        }
    }
    MachineFacts {
        hostname: text("hostname"),
        username: text("username"),
        arch: text("arch"),
        platform: text("platform"),
        interfaces,
    }
}

fn lay_out(vector: &Value) -> (Scratch, Home) {
    let scratch = Scratch::new();
    let home = scratch.home();
    scratch.write_config(vector["agent_json"].to_string());
    if let Some(hex) = vector["keyfile_hex"].as_str() {
        scratch.write_keyfile(&common::unhex(hex));
    }
    (scratch, home)
}

#[test]
fn every_generation_starts_as_it_must() {
    for vector in vectors() {
        let name = vector["name"].as_str().unwrap();
        let (scratch, home) = lay_out(&vector);
        let before = scratch.snapshot();
        let migration = migrate(&home, &machine(&vector), now());
        let (id, from) = match name {
            "plaintext-2.4" | "plaintext-recovery-recipe" => ("ready", Some(Generation::Plaintext)),
            "machine-key-2.0" | "machine-key-3.1" | "machine-key-3.1-windows" => {
                ("ready", Some(Generation::MachineKey))
            }
            "machine-key-3.1-after-docker-restart" => ("machine-key", None),
            "keyfile-3.3" => ("ready", None),
            "keyfile-3.3-other-keyfile" | "keyfile-3.3-flipped-bit" => ("does-not-unseal", None),
            "keyfile-3.3-short" => ("not-sealed-text", None),
            "ciphertext-marked-plaintext" => ("ciphertext-as-token", None),
            "keyfile-decrypts-to-garbage" => ("not-a-token", None),
            other => panic!("a vector that no expectation is written for: {other}"),
        };
        assert_eq!(migration.outcome.id(), id, "{name}");
        assert!(migration.recovery.is_nothing(), "{name}");
        let token = match &migration.outcome {
            LoadOutcome::Ready(credential) => Some(credential.token.expose_secret()),
            LoadOutcome::Absent | LoadOutcome::Plaintext { .. } | LoadOutcome::Refused(_) => None,
        };
        assert_eq!(token, vector["api_key"].as_str(), "{name}");

        match (from, &migration.step) {
            (None, MigrationStep::NotNeeded) => assert_eq!(scratch.snapshot(), before, "{name}: it wrote"),
            (Some(from), MigrationStep::Done { from: told, saved }) => {
                assert_eq!(from, *told, "{name}");
                assert!(saved.new_keyfile && saved.moved_aside.is_empty(), "{name}");
                assert_eq!(scratch.names(), ["agent.json", "keyfile"], "{name}");
            }
            (_, step) => panic!("{name}: {step}"),
        }

        // The second start has nothing to do, with or without the facts.
        let before = scratch.snapshot();
        let again = migrate(&home, &MachineFacts::default(), now());
        assert_eq!(again.step, MigrationStep::NotNeeded, "{name}");
        assert_eq!(scratch.snapshot(), before, "{name}");
    }
}

#[test]
fn what_was_migrated_keeps_every_field_and_an_agent_3_3_reads_it() {
    let vectors = vectors();
    for name in ["plaintext-2.4", "machine-key-2.0"] {
        let vector = vectors.iter().find(|vector| vector["name"] == name).unwrap();
        let mut old = vector["agent_json"].clone();
        old["theirs"] = json!({"a": [1, 2.5, null]});
        let scratch = Scratch::new();
        scratch.write_config(old.to_string());
        let migration = migrate(&scratch.home(), &machine(vector), now());
        assert!(
            matches!(migration.step, MigrationStep::Done { .. }),
            "{name}: {}",
            migration.step
        );

        let mut new: Value =
            serde_json::from_slice(&fs::read(scratch.home().config_path()).unwrap()).unwrap();
        let keyfile = fs::read(scratch.home().keyfile_path()).unwrap();
        assert_eq!(
            unseal_as_3_3(new["apiKey"].as_str().unwrap(), &keyfile).as_deref(),
            vector["api_key"].as_str()
        );
        assert_eq!(new["_encrypted"], true);
        assert_eq!(new["_seal"]["mode"], "keyfile");
        for object in [&mut new, &mut old] {
            let fields = object.as_object_mut().unwrap();
            for name in ["apiKey", "_encrypted", "_seal"] {
                fields.remove(name);
            }
        }
        assert_eq!(new, old, "{name}");
    }
}

#[test]
fn what_a_person_reads() {
    let vectors = vectors();
    let done = |name: &str| {
        let vector = vectors.iter().find(|vector| vector["name"] == name).unwrap();
        let (_scratch, home) = lay_out(vector);
        migrate(&home, &machine(vector), now()).step
    };
    let plaintext = done("plaintext-2.4");
    assert_eq!(
        plaintext.to_string(),
        "the key lay unsealed in agent.json: it is sealed under the keyfile now"
    );
    assert_eq!(
        plaintext.hint().unwrap(),
        "if others may have read agent.json or a backup of it, run `askalf-agent pair` with a new key"
    );
    let machine_key = done("machine-key-2.0");
    assert_eq!(
        machine_key.to_string(),
        "the key lay under the machine key of an older agent: it is sealed under the keyfile now"
    );
    assert_eq!(
        machine_key.hint().unwrap(),
        "run `askalf-agent pair` with a new key: what this one lay under can be guessed, so any copy of the old agent.json \
         gives it away"
    );

    let vector = vectors
        .iter()
        .find(|vector| vector["name"] == "machine-key-3.1-after-docker-restart")
        .unwrap();
    let (scratch, home) = lay_out(vector);
    let LoadOutcome::Refused(unreadable) = migrate(&home, &machine(vector), now()).outcome else {
        panic!()
    };
    assert_eq!(
        unreadable.to_string(),
        "agent.json is sealed and has no keyfile beside it: it was sealed under the machine key of agent 2.0 to 3.2, but \
         under none of the 7 ids this machine may have had, or its keyfile was lost"
    );
    assert_eq!(
        common::readable(&unreadable.hint(), &home),
        "if a keyfile was lost, put it back at ~/keyfile; otherwise run `askalf-agent pair`: the old file is kept beside \
         the new one"
    );
    assert!(!unreadable.is_local_fault());
    assert_eq!(scratch.names(), ["agent.json"]);
}

#[test]
fn where_a_key_cannot_be_sealed_anew_the_agent_runs_with_it() {
    let scratch = Scratch::new();
    let home = scratch.home();
    scratch.write_config(json!({"apiKey": TOKEN}).to_string());
    scratch.write_keyfile(&KEY);
    expose(&home.keyfile_path());
    let mut before = scratch.snapshot();
    let migration = migrate(&home, &MachineFacts::default(), now());
    let LoadOutcome::Plaintext {
        credential,
        chosen: false,
    } = migration.outcome
    else {
        panic!()
    };
    assert_eq!(credential.token.expose_secret(), TOKEN);
    let readable = |text: String| common::readable(&text, &home);
    assert_eq!(
        readable(migration.step.to_string()),
        format!(
            "the key lies unsealed in agent.json and could not be sealed under the keyfile, so the agent runs with it as it \
             is: the keyfile ~/keyfile can be reached by other users ({EXPOSED})"
        )
    );
    assert!(
        readable(migration.step.hint().unwrap()).starts_with(&private_hint("~/keyfile")),
        "{:?}",
        migration.step.hint()
    );
    let mut after = scratch.snapshot();
    for files in [&mut before, &mut after] {
        files.remove("agent.json.lock");
    }
    assert_eq!(before, after);
}

#[test]
fn a_start_on_files_that_need_nothing_writes_nothing() {
    let check = |scratch: &Scratch, id: &str| {
        let before = scratch.snapshot();
        let migration = migrate(&scratch.home(), &MachineFacts::default(), now());
        assert_eq!(migration.outcome.id(), id);
        assert_eq!(migration.step, MigrationStep::NotNeeded, "{id}");
        assert!(migration.recovery.is_nothing(), "{id}");
        assert_eq!(scratch.snapshot(), before, "{id}");
    };
    let scratch = Scratch::new();
    check(&scratch, "absent");
    common::save(&scratch.home(), TOKEN, SealMode::Keyfile);
    check(&scratch, "ready");
    common::save(&scratch.home(), TOKEN, SealMode::Plaintext);
    check(&scratch, "plaintext-chosen");

    let scratch = Scratch::new();
    scratch.write_keyfile(&KEY);
    let sealed = seal_as_3_3(TOKEN.as_bytes(), &KEY);
    scratch.write_config(json!({"apiKey": sealed, "_encrypted": true}).to_string());
    check(&scratch, "ready");

    // Not even a stale record, as an agent 3.3 leaves it behind, is a reason to write.
    let seal = json!({"version": 1, "mode": "keyfile", "keyId": "00112233445566ff"});
    scratch.write_config(json!({"apiKey": sealed, "_encrypted": true, "_seal": seal}).to_string());
    check(&scratch, "ready");

    let scratch = Scratch::new();
    scratch.write_config("{\"apiKey\": \"torn");
    check(&scratch, "config-torn");
}

#[test]
fn a_load_without_the_facts_leaves_a_machine_key_alone_and_with_them_reads_it() {
    use askalf_cred::{KeySources, LoadOptions, load_with};
    let vectors = vectors();
    let vector = vectors
        .iter()
        .find(|vector| vector["name"] == "machine-key-3.1")
        .unwrap();
    let (scratch, home) = lay_out(vector);
    let before = scratch.snapshot();
    assert_eq!(load(&home).id(), "machine-key");
    let options = LoadOptions::default().keys(KeySources::default().machine(machine(vector)));
    let outcome = load_with(&home, &options);
    assert_eq!((outcome.id(), outcome.exit_code()), ("ready-machine-key", 0));
    assert_eq!(
        outcome.to_string(),
        "the key is sealed under the machine key of an older agent, and unseals"
    );
    assert_eq!(
        outcome.hint().unwrap(),
        "run `askalf-agent pair` with a new key: this one lay under facts that can be guessed"
    );
    let LoadOutcome::Ready(credential) = outcome else {
        panic!()
    };
    assert_eq!(credential.seal.mode, SealMode::MachineKey);
    assert_eq!(credential.seal.key_id, None);

    // A keyfile beside it, as an upgrade to 3.3 that went wrong leaves one, does not hide it.
    scratch.write_keyfile(&KEY);
    assert_eq!(load(&home).id(), "does-not-unseal");
    assert_eq!(load_with(&home, &options).id(), "ready-machine-key");
    fs::remove_file(home.keyfile_path()).unwrap();
    assert_eq!(scratch.snapshot(), before);
}
