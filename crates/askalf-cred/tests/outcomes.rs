//! Every outcome of a load, with what a person reads.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

mod common;

use std::fs;

use askalf_cred::{LoadOptions, LoadOutcome, MAX_CONFIG_BYTES, load, load_with};
use common::{KEY, KEY_ID, Scratch, TOKEN, seal_as_3_3};
use serde_json::{Value, json};

const OTHER_KEY: [u8; 32] = [8; 32];

/// What a person and a script see of an outcome. `~` in the texts is the home.
struct Seen {
    id: &'static str,
    text: &'static str,
    hint: &'static str,
    exit_code: u8,
    local: bool,
}

fn check(scratch: &Scratch, seen: &Seen) {
    let home = scratch.home();
    let before = scratch.snapshot();
    let outcome = load(&home);
    let readable = |text: String| common::readable(&text, &home);
    assert_eq!(outcome.id(), seen.id);
    assert_eq!(readable(outcome.to_string()), seen.text, "{}", seen.id);
    assert_eq!(
        readable(outcome.hint().unwrap_or_default()),
        seen.hint,
        "{}",
        seen.id
    );
    assert_eq!(outcome.exit_code(), seen.exit_code, "{}", seen.id);
    assert!(
        !format!("{outcome:?}{outcome}").contains(TOKEN),
        "{} shows the key",
        seen.id
    );
    if let LoadOutcome::Refused(unreadable) = &outcome {
        assert_eq!(unreadable.is_local_fault(), seen.local, "{}", seen.id);
    }
    assert_eq!(scratch.snapshot(), before, "{}: a load wrote", seen.id);
}

fn sealed_under(key: &[u8; 32], seal: Option<Value>) -> String {
    let mut config = json!({"apiKey": seal_as_3_3(TOKEN.as_bytes(), key), "_encrypted": true});
    if let Some(seal) = seal {
        config["_seal"] = seal;
    }
    config.to_string()
}

fn keyfile_seal() -> Value {
    json!({"version": 1, "mode": "keyfile", "keyId": KEY_ID})
}

const PAIR: &str = "run `askalf-agent pair`: the old file is kept beside the new one";

#[test]
fn readable_and_absent_files() {
    let scratch = Scratch::new();
    check(
        &scratch,
        &Seen {
            id: "absent",
            text: "this device is not paired: there is no agent.json",
            hint: "run `askalf-agent pair CODE --url URL` with a code that `askalf-bridge pair-code new` prints",
            exit_code: 78,
            local: false,
        },
    );
    // A keyfile alone, leftovers of a crash and old copies are no credential either.
    scratch.write_keyfile(&KEY);
    for name in [
        "agent.json.tmp-0123456789abcdef",
        "agent.json.bak.1",
        "agent.json.unreadable-20260131T235959Z",
    ] {
        fs::write(
            scratch.home().path().join(name),
            json!({"apiKey": TOKEN}).to_string(),
        )
        .unwrap();
    }
    assert!(matches!(load(&scratch.home()), LoadOutcome::Absent));

    scratch.write_config(sealed_under(&KEY, Some(keyfile_seal())));
    let ready = Seen {
        id: "ready",
        text: "the key is sealed and unseals",
        hint: "",
        exit_code: 0,
        local: false,
    };
    check(&scratch, &ready);

    scratch.write_config(json!({"apiKey": TOKEN, "_seal": {"version": 1, "mode": "plaintext"}}).to_string());
    check(
        &scratch,
        &Seen {
            id: "plaintext-chosen",
            text: "the key stands unsealed in agent.json, as was chosen",
            hint: "",
            exit_code: 0,
            local: false,
        },
    );

    scratch.write_config(json!({"apiKey": TOKEN, "_encrypted": null}).to_string());
    check(
        &scratch,
        &Seen {
            id: "plaintext",
            text: "the key stands unsealed in agent.json",
            hint: "run `askalf-agent pair` to seal a key",
            exit_code: 0,
            local: false,
        },
    );
}

#[test]
fn files_that_are_no_agent_json() {
    let cases = [
        (
            "",
            "config-empty",
            "agent.json is empty: it was cut off while it was written",
            PAIR,
        ),
        (
            "\0\0\0\0",
            "config-empty",
            "agent.json is empty: it was cut off while it was written",
            PAIR,
        ),
        (
            "{\n\"apiKey\": \"sk_live_1qhYezFEMXj",
            "config-torn",
            "agent.json is torn: it ends in the middle, at line 2",
            PAIR,
        ),
        (
            "{\"apiKey\": sk_live_1qhYezFEMXjKWcErbnytdqelY1sf6ZaV}",
            "config-not-json",
            "agent.json is not JSON (line 1, column 12)",
            "if it was edited by hand, correct that line; otherwise run `askalf-agent pair`",
        ),
        (
            "\"sk_live_1qhYezFEMXjKWcErbnytdqelY1sf6ZaV\"",
            "config-not-object",
            "agent.json is JSON, but not an object",
            PAIR,
        ),
        (
            "{\"url\": \"wss://x\"}",
            "no-key",
            "agent.json holds no key (no `apiKey`)",
            PAIR,
        ),
        (
            "{\"apiKey\": \"\"}",
            "no-key",
            "agent.json holds no key (no `apiKey`)",
            PAIR,
        ),
        (
            "{\"apiKey\": 5}",
            "config-wrong-type",
            "agent.json has the wrong type in `apiKey`",
            "if it was edited by hand, correct `apiKey`; otherwise run `askalf-agent pair`",
        ),
        (
            "{\"apiKey\": \"sk_live_1qhYezFEMXjKWcErbnytdqelY1sf6ZaV\", \"_encrypted\": \"true\"}",
            "config-wrong-type",
            "agent.json has the wrong type in `_encrypted`",
            "if it was edited by hand, correct `_encrypted`; otherwise run `askalf-agent pair`",
        ),
        (
            "{\"apiKey\": \"two words\"}",
            "not-a-token",
            "the key in agent.json is not a token: it is empty, too long, or holds spaces or control characters",
            PAIR,
        ),
    ];
    for (content, id, text, hint) in cases {
        let scratch = Scratch::new();
        scratch.write_config(content);
        check(
            &scratch,
            &Seen {
                id,
                text,
                hint,
                exit_code: 78,
                local: false,
            },
        );
    }

    let scratch = Scratch::new();
    scratch.write_config([b"{\"apiKey\": \"".as_slice(), &vec![b'x'; MAX_CONFIG_BYTES]].concat());
    let text = "agent.json is larger than 65536 bytes";
    check(
        &scratch,
        &Seen {
            id: "config-too-large",
            text,
            hint: PAIR,
            exit_code: 78,
            local: false,
        },
    );
}

/// A few bytes of JSON can take a thousand times as many in memory.
#[test]
fn a_file_of_very_many_values_is_refused_before_it_is_parsed() {
    let scratch = Scratch::new();
    let with = |extra: usize| {
        let bombs = vec!["{\"\":0}"; extra].join(",");
        format!("{{\"apiKey\": \"{TOKEN}\", \"x\": [{bombs}]}}")
    };
    // Of `{`, `[` and `,` there are 3 around, and 2 for each but 1 for the last.
    let most = (askalf_cred::MAX_CONFIG_VALUES - 2) / 2;
    scratch.write_config(with(most));
    assert_eq!(load(&scratch.home()).id(), "plaintext");
    scratch.write_config(with(most + 1));
    check(
        &scratch,
        &Seen {
            id: "config-too-complex",
            text: "agent.json holds more than 2048 values",
            hint: PAIR,
            exit_code: 78,
            local: false,
        },
    );
}

#[test]
fn a_file_of_exactly_the_largest_size_is_read() {
    let scratch = Scratch::new();
    let mut text = json!({"apiKey": TOKEN}).to_string().into_bytes();
    text.resize(MAX_CONFIG_BYTES, b' ');
    scratch.write_config(&text);
    assert_eq!(load(&scratch.home()).id(), "plaintext");
    text.push(b' ');
    scratch.write_config(&text);
    assert_eq!(load(&scratch.home()).id(), "config-too-large");
}

#[test]
fn sealed_text_that_does_not_unseal() {
    let cases = [
        (
            sealed_under(
                &OTHER_KEY,
                Some(json!({"version": 1, "mode": "keyfile", "keyId": "00112233445566ff"})),
            ),
            "sealed-under-another-key",
            "the key in agent.json was sealed under another keyfile (00112233445566ff; the one here is 45d12c8f5484557e)",
            "put the keyfile 00112233445566ff back if you have it; otherwise run `askalf-agent pair`",
        ),
        (
            sealed_under(&OTHER_KEY, Some(keyfile_seal())),
            "damaged",
            "the sealed key in agent.json is damaged: it does not unseal under the keyfile it names",
            PAIR,
        ),
        (
            sealed_under(&OTHER_KEY, None),
            "does-not-unseal",
            "the sealed key in agent.json does not unseal under the keyfile: it is damaged, or was sealed under another \
             keyfile or under the machine key of an older agent",
            "if another keyfile belongs to it, put that back; otherwise run `askalf-agent pair`",
        ),
        (
            json!({"apiKey": TOKEN, "_encrypted": true}).to_string(),
            "not-sealed-text",
            "the sealed key in agent.json is damaged: it is not a sealed value at all",
            PAIR,
        ),
        (
            json!({"apiKey": seal_as_3_3(b"\xff\xfe not text", &KEY), "_encrypted": true}).to_string(),
            "not-a-token",
            "the key in agent.json is not a token: it is empty, too long, or holds spaces or control characters",
            PAIR,
        ),
        (
            json!({"apiKey": seal_as_3_3(b"", &KEY), "_encrypted": true}).to_string(),
            "not-a-token",
            "the key in agent.json is not a token: it is empty, too long, or holds spaces or control characters",
            PAIR,
        ),
        (
            // Sealed twice: what unseals is sealed text.
            json!({"apiKey": seal_as_3_3(seal_as_3_3(b"x", &KEY).as_bytes(), &KEY), "_encrypted": true})
                .to_string(),
            "ciphertext-as-token",
            "the key in agent.json is marked as plain but is sealed text: it is not sent as a key",
            "run `askalf-agent pair`; if the key really has this form, add `--opaque-key`",
        ),
        (
            sealed_under(&KEY, Some(json!({"version": 2}))),
            "newer-version",
            "agent.json was written by a newer version of askalf (its seal is version 2, this program knows version 1)",
            "upgrade askalf-agent on this machine; the file is left as it is",
        ),
        (
            sealed_under(&OTHER_KEY, Some(json!({"version": 1, "mode": "tpm2"}))),
            "newer-version",
            "agent.json was written by a newer version of askalf (this program does not know its way of sealing, `tpm2`)",
            "upgrade askalf-agent on this machine; the file is left as it is",
        ),
    ];
    for (config, id, text, hint) in cases {
        let scratch = Scratch::new();
        scratch.write_keyfile(&KEY);
        scratch.write_config(config);
        check(
            &scratch,
            &Seen {
                id,
                text,
                hint,
                exit_code: 78,
                local: false,
            },
        );
    }
}

/// A home with a sealed key, and without the keyfile.
fn sealed() -> Scratch {
    let scratch = Scratch::new();
    scratch.write_config(sealed_under(&KEY, Some(keyfile_seal())));
    scratch
}

#[test]
fn keyfiles_that_cannot_be_used() {
    let scratch = sealed();
    check(
        &scratch,
        &Seen {
            id: "keyfile-missing",
            text: "agent.json is sealed, and the keyfile ~/keyfile is missing",
            hint: "put the keyfile back at ~/keyfile; if it is lost, run `askalf-agent pair`",
            exit_code: 78,
            local: true,
        },
    );
    scratch.write_config(sealed_under(&KEY, None));
    check(
        &scratch,
        &Seen {
            id: "machine-key",
            text: "agent.json is sealed and has no keyfile beside it: it was sealed under the machine key of agent 2.0 to \
                   3.2, or its keyfile was lost",
            hint: "start `askalf-agent daemon`, which reads such a file and seals it anew; if a keyfile was lost, put it \
                   back at ~/keyfile; otherwise run `askalf-agent pair`",
            exit_code: 78,
            local: false,
        },
    );
    for (bytes, id, text) in [
        (
            &[][..],
            "keyfile-short",
            "agent.json is sealed, and the keyfile ~/keyfile is too short: 0 of 32 bytes",
        ),
        (
            &[7; 31],
            "keyfile-short",
            "agent.json is sealed, and the keyfile ~/keyfile is too short: 31 of 32 bytes",
        ),
        (
            &[7; 33],
            "keyfile-long",
            "agent.json is sealed, and the keyfile ~/keyfile is too long: 33 bytes instead of 32",
        ),
        (
            &[7; 99],
            "keyfile-long",
            "agent.json is sealed, and the keyfile ~/keyfile is too long: 99 bytes instead of 32",
        ),
    ] {
        let scratch = sealed();
        scratch.write_keyfile(bytes);
        let hint = "restore ~/keyfile from a backup; if there is none, run `askalf-agent pair`";
        check(
            &scratch,
            &Seen {
                id,
                text,
                hint,
                exit_code: 78,
                local: false,
            },
        );
    }

    let hint = "put the keyfile itself at ~/keyfile; if it is lost, move what is there away and run `askalf-agent pair`";
    let scratch = sealed();
    fs::create_dir(scratch.home().keyfile_path()).unwrap();
    let text = "agent.json is sealed, and the keyfile ~/keyfile is a folder, not a regular file";
    check(
        &scratch,
        &Seen {
            id: "keyfile-not-a-file",
            text,
            hint,
            exit_code: 78,
            local: true,
        },
    );
}

#[cfg(unix)]
#[test]
fn a_keyfile_behind_a_link_is_not_read() {
    let hint = "put the keyfile itself at ~/keyfile; if it is lost, move what is there away and run `askalf-agent pair`";
    let scratch = sealed();
    let target = scratch.home().path().join("elsewhere");
    fs::write(&target, KEY).unwrap();
    common::chmod(&target, 0o600);
    std::os::unix::fs::symlink(&target, scratch.home().keyfile_path()).unwrap();
    let text = "agent.json is sealed, and the keyfile ~/keyfile is a symlink, not a regular file";
    check(
        &scratch,
        &Seen {
            id: "keyfile-not-a-file",
            text,
            hint,
            exit_code: 78,
            local: true,
        },
    );
}

#[cfg(unix)]
#[test]
fn a_keyfile_that_others_may_use_is_not_read() {
    for (mode, text) in [
        (
            0o644,
            "agent.json is sealed, and the keyfile ~/keyfile can be reached by other users (mode 0644)",
        ),
        (
            0o610,
            "agent.json is sealed, and the keyfile ~/keyfile can be reached by other users (mode 0610)",
        ),
        (
            0o602,
            "agent.json is sealed, and the keyfile ~/keyfile can be reached by other users (mode 0602)",
        ),
    ] {
        let scratch = sealed();
        scratch.write_keyfile(&KEY);
        common::chmod(&scratch.home().keyfile_path(), mode);
        let hint = "run `chmod 600 ~/keyfile`; if others may have read it, run `askalf-agent pair` with a new key too";
        check(
            &scratch,
            &Seen {
                id: "keyfile-wrong-mode",
                text,
                hint,
                exit_code: 78,
                local: true,
            },
        );
    }
    let scratch = sealed();
    scratch.write_keyfile(&KEY);
    common::chmod(&scratch.home().keyfile_path(), 0o400);
    assert_eq!(load(&scratch.home()).id(), "ready", "a keyfile may be read-only");
}

#[test]
fn a_folder_is_no_agent_json() {
    let hint = "put the file itself at ~/agent.json, or move what is there away and run `askalf-agent pair`";
    let scratch = Scratch::new();
    fs::create_dir(scratch.home().config_path()).unwrap();
    let text = "~/agent.json is a folder, not a regular file";
    check(
        &scratch,
        &Seen {
            id: "config-not-a-file",
            text,
            hint,
            exit_code: 78,
            local: true,
        },
    );
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_not_read() {
    let hint = "put the file itself at ~/agent.json, or move what is there away and run `askalf-agent pair`";
    let scratch = Scratch::new();
    let target = scratch.home().path().join("elsewhere");
    fs::write(&target, json!({"apiKey": TOKEN}).to_string()).unwrap();
    std::os::unix::fs::symlink(&target, scratch.home().config_path()).unwrap();
    let text = "~/agent.json is a symlink, not a regular file";
    check(
        &scratch,
        &Seen {
            id: "config-not-a-file",
            text,
            hint,
            exit_code: 78,
            local: true,
        },
    );

    // A reader that blocked here would hang for ever.
    let scratch = Scratch::new();
    let fifo = scratch.home().config_path();
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let text = "~/agent.json is a device, pipe or socket, not a regular file";
    check(
        &scratch,
        &Seen {
            id: "config-not-a-file",
            text,
            hint,
            exit_code: 78,
            local: true,
        },
    );
}

#[test]
fn a_home_that_is_a_file_is_a_local_fault_and_not_an_unpaired_device() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("home");
    fs::write(&path, "").unwrap();
    let LoadOutcome::Refused(unreadable) = load(&askalf_cred::Home::new(&path)) else {
        panic!()
    };
    assert_eq!(unreadable.id(), "config-unreadable");
    assert!(unreadable.is_local_fault());
    assert!(
        unreadable.to_string().ends_with("agent.json: not a directory"),
        "{unreadable}"
    );
    assert!(!unreadable.to_string().contains("os error"), "{unreadable}");
}

/// The tag decides. An agent of before `_seal` may have rewritten the file and left `_seal` as it was.
#[test]
fn a_stale_seal_does_not_stand_in_the_way() {
    for stale in [
        json!({"version": 1, "mode": "keyfile", "keyId": "00112233445566ff"}),
        json!({"version": 1, "mode": "plaintext"}),
        json!({"version": 1, "mode": "passphrase", "kdf": {}}),
        json!({"keyId": 5}),
    ] {
        let scratch = Scratch::new();
        scratch.write_keyfile(&KEY);
        scratch.write_config(sealed_under(&KEY, Some(stale.clone())));
        let LoadOutcome::Ready(credential) = load(&scratch.home()) else {
            panic!("{stale}")
        };
        assert_eq!(credential.token.expose_secret(), TOKEN);
        assert!(credential.seal.stale, "{stale}");
        assert_eq!(credential.seal.key_id.unwrap().to_string(), KEY_ID);
    }
    let scratch = Scratch::new();
    scratch.write_keyfile(&KEY);
    scratch.write_config(sealed_under(&KEY, Some(keyfile_seal())));
    let LoadOutcome::Ready(credential) = load(&scratch.home()) else {
        panic!()
    };
    assert!(!credential.seal.stale);
}

#[test]
fn an_opaque_key_is_taken_only_where_that_was_asked_for() {
    let scratch = Scratch::new();
    scratch.write_config(json!({"apiKey": seal_as_3_3(TOKEN.as_bytes(), &KEY)}).to_string());
    assert_eq!(load(&scratch.home()).id(), "ciphertext-as-token");
    let allowed = LoadOptions::default().opaque_key(true);
    assert_eq!(load_with(&scratch.home(), &allowed).id(), "plaintext");
}

#[test]
fn the_fields_beside_a_key_are_read_where_the_key_cannot_be() {
    use askalf_cred::read_fields;
    let scratch = Scratch::new();
    let home = scratch.home();
    assert!(read_fields(&home).is_none(), "no file");
    scratch.write_config(r#"{"apiKey": "cut off"#);
    assert!(read_fields(&home).is_none(), "no JSON");
    scratch.write_config(r#"{"url": "https://bridge.test", "apiKey": "AAAA", "_encrypted": true}"#);
    assert!(!matches!(load(&home), LoadOutcome::Ready(_)));
    let fields = read_fields(&home).unwrap();
    assert_eq!(fields.url.as_deref(), Some("https://bridge.test"));
}
