//! The reader meets anything.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

mod common;

use askalf_cred::{
    AgentConfig, KeySources, LoadOptions, LoadOutcome, Passphrase, SealMode, ServiceCredential, load,
    load_with, save,
};
use common::{KEY, Scratch, TOKEN, now, seal_as_3_3, token};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z_]{0,8}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// An object that has our fields with anything in them.
fn any_agent_json() -> impl Strategy<Value = Value> {
    const NAMES: [&str; 8] = [
        "apiKey",
        "_encrypted",
        "_seal",
        "url",
        "deviceName",
        "maxConcurrent",
        "executionTimeoutMs",
        "insecure",
    ];
    let value = prop_oneof![
        any_json(),
        Just(json!(true)),
        Just(json!(TOKEN)),
        Just(json!(seal_as_3_3(TOKEN.as_bytes(), &KEY))),
        (any_json(), any_json())
            .prop_map(|(version, mode)| json!({"version": version, "mode": mode, "keyId": mode})),
    ];
    prop::collection::vec((prop::sample::select(&NAMES[..]), value), 0..8).prop_map(|fields| {
        Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_end_in_an_outcome(config: Vec<u8>, keyfile in prop::collection::vec(any::<u8>(), 30..34)) {
        let scratch = Scratch::new();
        scratch.write_config(&config);
        scratch.write_keyfile(&keyfile);
        let outcome = load(&scratch.home());
        prop_assert!(!matches!(outcome, LoadOutcome::Absent), "a file that is there is not absent");
    }

    #[test]
    fn arbitrary_fields_end_in_an_outcome(config in any_agent_json()) {
        let scratch = Scratch::new();
        scratch.write_config(config.to_string());
        scratch.write_keyfile(&KEY);
        match load(&scratch.home()) {
            LoadOutcome::Absent => prop_assert!(false, "a file that is there is not absent"),
            LoadOutcome::Ready(credential) => {
                prop_assert_eq!(&config["_encrypted"], &json!(true));
                prop_assert_eq!(credential.token.expose_secret(), TOKEN);
            }
            LoadOutcome::Plaintext { credential, .. } => {
                prop_assert_eq!(config["apiKey"].as_str(), Some(credential.token.expose_secret()));
            }
            LoadOutcome::Refused(unreadable) => {
                prop_assert!(!unreadable.to_string().is_empty() && !unreadable.hint().is_empty());
                prop_assert!(!unreadable.to_string().chars().any(char::is_control), "{}", unreadable);
            }
        }
    }

    /// The derivation that a file asks for is bounded before it is begun, and no record leads to another key than the sealed one.
    #[test]
    fn arbitrary_seals_end_in_an_outcome(
        mode in prop_oneof![Just("passphrase"), Just("service-credential"), Just("keyfile"), Just("machine-key")],
        name in prop_oneof![4 => Just(json!("argon2id")), 1 => any_json()],
        v in prop_oneof![4 => Just(json!(19)), 1 => any_json()],
        m in prop_oneof![Just(json!(8)), Just(json!(64)), Just(json!(131_073)), Just(json!(u32::MAX)), any_json()],
        t in prop_oneof![Just(json!(1)), Just(json!(17)), Just(json!(u32::MAX)), any_json()],
        p in prop_oneof![Just(json!(1)), Just(json!(9)), Just(json!(u32::MAX)), any_json()],
        salt in prop_oneof![Just(json!("AAECAwQFBgcICQoLDA0ODw==")), any_json()],
        with_keyfile: bool,
    ) {
        let scratch = Scratch::new();
        let sealed = seal_as_3_3(TOKEN.as_bytes(), &KEY);
        let kdf = json!({"name": name, "v": v, "m": m, "t": t, "p": p, "salt": salt});
        scratch.write_config(json!({"apiKey": sealed, "_encrypted": true,
            "_seal": {"version": 1, "mode": mode, "kdf": kdf}}).to_string());
        if with_keyfile {
            scratch.write_keyfile(&KEY);
        }
        let keys = KeySources::default()
            .passphrase(Passphrase::parse("correct horse").unwrap())
            .service_credential(ServiceCredential::in_folder(scratch.home().path()));
        match load_with(&scratch.home(), &LoadOptions::default().keys(keys)) {
            LoadOutcome::Ready(credential) => {
                prop_assert!(with_keyfile);
                prop_assert_eq!(credential.token.expose_secret(), TOKEN);
            }
            LoadOutcome::Refused(unreadable) => {
                prop_assert!(!with_keyfile, "{}", unreadable);
                prop_assert!(!unreadable.to_string().is_empty() && !unreadable.hint().is_empty());
            }
            LoadOutcome::Absent | LoadOutcome::Plaintext { .. } => prop_assert!(false),
        }
    }

    /// One changed byte anywhere in the two files: the same key, or a refusal. Never another key, never no file.
    #[test]
    fn a_changed_byte_never_yields_another_sealed_key(at: prop::sample::Index, to: u8, in_keyfile: bool) {
        let scratch = Scratch::new();
        let home = scratch.home();
        common::save(&home, TOKEN, SealMode::Keyfile);
        let path = if in_keyfile { home.keyfile_path() } else { home.config_path() };
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        std::fs::write(&path, bytes).unwrap();
        match load(&home) {
            LoadOutcome::Ready(credential) => prop_assert_eq!(credential.token.expose_secret(), TOKEN),
            LoadOutcome::Plaintext { credential, .. } => prop_assert!(false, "{:?}", credential),
            LoadOutcome::Absent => prop_assert!(false),
            LoadOutcome::Refused(_) => {}
        }
    }

    #[test]
    fn every_token_and_config_reads_back_as_saved(
        text in "[!-~]{1,512}|[a-zé漢🔑]{1,100}",
        extra in prop::collection::btree_map("[a-z_]{0,8}", any_json(), 0..6),
        url in prop::option::of(".{0,40}"),
        execution_timeout_ms: Option<u64>,
        insecure: bool,
        sealed: bool,
    ) {
        let scratch = Scratch::new();
        let extra: Map<String, Value> = extra.into_iter().collect();
        let config = AgentConfig { url, execution_timeout_ms, insecure, extra, ..AgentConfig::default() };
        let mode = if sealed { SealMode::Keyfile } else { SealMode::Plaintext };
        save(&scratch.home(), &token(&text), &config, mode, now()).unwrap();
        match load(&scratch.home()) {
            LoadOutcome::Ready(credential) if sealed => {
                prop_assert_eq!(credential.token.expose_secret(), text);
                prop_assert_eq!(credential.config.url, config.url);
            }
            LoadOutcome::Plaintext { credential, chosen: true } if !sealed => {
                prop_assert_eq!(credential.token.expose_secret(), text);
                prop_assert_eq!(credential.config.execution_timeout_ms, config.execution_timeout_ms);
            }
            other => prop_assert!(false, "{}", other),
        }
    }
}
