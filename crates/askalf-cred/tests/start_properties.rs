//! A start meets any mix of the files that acts stage.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

mod common;

use std::fs;

use askalf_cred::{
    Bundle, BundleError, LoadOptions, LoadOutcome, MachineFacts, Passphrase, SealMode, import, load,
    load_next, migrate,
};
use common::{KEY, KEY_ID, OTHER_TOKEN, Scratch, TOKEN, make_private, now, seal_as_3_3};
use proptest::prelude::*;
use serde_json::json;

const OTHER_KEY: [u8; 32] = [9; 32];

/// What one of the files may hold.
fn config() -> impl Strategy<Value = Option<Vec<u8>>> {
    let ours = |text: &str, key: &[u8; 32], key_id: &str| {
        json!({
            "apiKey": seal_as_3_3(text.as_bytes(), key), "_encrypted": true,
            "_seal": {"version": 1, "mode": "keyfile", "keyId": key_id}
        })
        .to_string()
        .into_bytes()
    };
    // The id of OTHER_KEY, from Python's hmac.
    let other_id = "9a61836bae883123";
    let whole = ours(TOKEN, &KEY, KEY_ID);
    let torn = whole[..whole.len() - 9].to_vec();
    prop_oneof![
        3 => Just(None),
        2 => Just(Some(whole)),
        2 => Just(Some(ours(OTHER_TOKEN, &KEY, KEY_ID))),
        2 => Just(Some(ours(TOKEN, &OTHER_KEY, other_id))),
        1 => Just(Some(torn)),
        1 => Just(Some(Vec::new())),
        1 => Just(Some(json!({"apiKey": TOKEN, "_encrypted": false,
            "_seal": {"version": 1, "mode": "plaintext"}}).to_string().into_bytes())),
        1 => Just(Some(json!({"apiKey": "x", "_seal": {"version": 9}}).to_string().into_bytes())),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Some),
    ]
}

fn key() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        2 => Just(None),
        4 => Just(Some(KEY.to_vec())),
        2 => Just(Some(OTHER_KEY.to_vec())),
        1 => Just(Some(vec![7; 31])),
        1 => Just(Some(Vec::new())),
    ]
}

fn token_of(outcome: &LoadOutcome) -> Option<String> {
    match outcome {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => {
            Some(credential.token.expose_secret().to_owned())
        }
        LoadOutcome::Absent | LoadOutcome::Refused(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_start_never_loses_a_key_that_could_be_read(
        main in config(), next in config(), left in config(), other_left in config(),
        keyfile in key(), keyfile_next in key(), keyfile_left in key(),
    ) {
        let scratch = Scratch::new();
        let home = scratch.home();
        for (name, bytes) in [
            ("agent.json", main),
            ("agent.json.next", next),
            ("agent.json.tmp-0123456789abcdef", left),
            ("agent.json.tmp-fedcba9876543210", other_left),
            ("keyfile", keyfile),
            ("keyfile.next", keyfile_next),
            ("keyfile.tmp-0123456789abcdef", keyfile_left),
        ] {
            if let Some(bytes) = bytes {
                let path = home.path().join(name);
                fs::write(&path, bytes).unwrap();
                make_private(&path);
            }
        }
        let before = load(&home);
        let pending = token_of(&load_next(&home, &LoadOptions::default()));
        let bytes = fs::read(home.config_path()).ok();

        let migration = migrate(&home, &MachineFacts::default(), now());
        prop_assert_eq!(&migration.recovery.fault, &None);
        let after = load(&home);
        prop_assert_eq!(migration.outcome.id(), after.id());
        match (&before, token_of(&before)) {
            (_, Some(token)) => {
                prop_assert_eq!(token_of(&after), Some(token), "before: {}, after: {}", before, after);
            }
            (LoadOutcome::Refused(why), None) if why.id() == "save-cut-off" => {
                prop_assert!(token_of(&after).is_some(), "{}", after);
            }
            (_, None) => {
                prop_assert_eq!(after.id(), before.id());
                prop_assert_eq!(fs::read(home.config_path()).ok(), bytes);
            }
        }
        // A pending key is only dropped where it was already stale, which a load told.
        if let (Some(pending), Some(_)) = (pending, token_of(&before)) {
            prop_assert_eq!(token_of(&load_next(&home, &LoadOptions::default())), Some(pending));
        }

        // A second start finds nothing to do.
        let files = scratch.snapshot();
        let again = migrate(&home, &MachineFacts::default(), now());
        prop_assert!(again.recovery.is_nothing(), "{:?}", again.recovery);
        prop_assert_eq!(scratch.snapshot(), files);

        // And an act needs no help.
        if !matches!(&after, LoadOutcome::Refused(why) if why.id() == "newer-version") {
            common::save(&home, OTHER_TOKEN, SealMode::Keyfile);
            prop_assert_eq!(token_of(&load(&home)), Some(OTHER_TOKEN.to_owned()));
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_bundle(bytes: Vec<u8>) {
        let passphrase = Passphrase::parse("correct horse").unwrap();
        let outcome: Result<Bundle, BundleError> = import(&bytes, &passphrase);
        prop_assert!(matches!(outcome, Err(BundleError::NotABundle)), "{:?}", outcome);
    }
}
