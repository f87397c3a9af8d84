//! Whom the files let in on Windows, and what a person reads where that is too many.
//!
//! Wine keeps of an access list only what a mode can say: the rights of the user and of everybody. What needs more is ignored by
//! default; on Windows, run it with `--ignored`.

#![cfg(windows)]
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

mod common;

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::windows::fs::{OpenOptionsExt, symlink_dir, symlink_file};

use askalf_cred::{Home, LoadOutcome, SealMode, load, recover, stamp};
use common::{
    OTHER_TOKEN, Scratch, TOKEN, assert_private, expose, make_private, now, private_hint, sddl, set_sddl,
};

fn saved() -> (Scratch, Home) {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, TOKEN, SealMode::Keyfile);
    (scratch, home)
}

/// Id, text and hint, with `~` for the home.
fn seen(home: &Home) -> (&'static str, String, String) {
    let outcome = load(home);
    let readable = |text: &str| common::readable(text, home);
    (
        outcome.id(),
        readable(&outcome.to_string()),
        readable(&outcome.hint().unwrap_or_default()),
    )
}

#[test]
fn a_keyfile_that_everyone_may_read_is_refused_until_the_command_of_the_hint() {
    let (_scratch, home) = saved();
    assert_eq!(load(&home).id(), "ready");
    let before = stamp(&home);
    expose(&home.keyfile_path());
    assert_ne!(stamp(&home), before, "a daemon must notice it");
    let (id, text, hint) = seen(&home);
    assert_eq!(id, "keyfile-wrong-mode");
    assert_eq!(
        text,
        "agent.json is sealed, and the keyfile ~/keyfile can be reached by other users (access for Everyone)"
    );
    assert!(hint.starts_with(&private_hint("~/keyfile")), "{hint}");
    assert!(
        hint.ends_with("; if others may have read it, run `askalf-agent pair` with a new key too"),
        "{hint}"
    );
    assert!(!hint.contains("chmod"), "{hint}");
    make_private(&home.keyfile_path());
    assert_eq!(load(&home).id(), "ready");
}

#[test]
fn a_home_loses_the_rights_of_others_and_the_files_in_it_do_not() {
    let (_scratch, home) = saved();
    expose(home.path());
    expose(&home.keyfile_path());
    home.create().unwrap();
    assert_private(home.path());
    // Somebody may have read it: that must not pass unsaid.
    assert_eq!(load(&home).id(), "keyfile-wrong-mode");
}

#[test]
fn every_file_of_every_act_is_private() {
    let (_scratch, home) = saved();
    fs::write(home.config_path(), "{").unwrap();
    common::save(&home, OTHER_TOKEN, SealMode::Keyfile);
    askalf_cred::rotate_key(&home).unwrap();
    for name in ["agent.json", "keyfile", "agent.json.lock"] {
        assert_private(&home.path().join(name));
    }
    assert_private(home.path());
}

#[test]
#[ignore = "Wine replaces no file that is open"]
fn a_reader_that_holds_a_file_open_stands_in_nobodys_way() {
    let (_scratch, home) = saved();
    let mut config = fs::File::open(home.config_path()).unwrap();
    let mut keyfile = fs::File::open(home.keyfile_path()).unwrap();
    common::save(&home, OTHER_TOKEN, SealMode::Keyfile);
    askalf_cred::rotate_key(&home).unwrap();
    let LoadOutcome::Ready(credential) = load(&home) else {
        panic!()
    };
    assert_eq!(credential.token.expose_secret(), OTHER_TOKEN);
    assert!(recover(&home, now()).is_nothing());
    // It still reads the file that it opened.
    let mut bytes = Vec::new();
    config.read_to_end(&mut bytes).unwrap();
    assert!(bytes.starts_with(b"{"));
    bytes.clear();
    keyfile.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 32);
}

#[test]
fn a_file_that_another_program_holds_for_itself_is_unreadable_and_not_absent() {
    let (_scratch, home) = saved();
    for (path, id, file) in [
        (
            home.config_path(),
            "config-unreadable",
            "agent.json is unreadable: cannot open ~/agent.json: ",
        ),
        (
            home.keyfile_path(),
            "keyfile-unreadable",
            "agent.json is sealed, and the keyfile is unreadable: cannot open ~/keyfile: ",
        ),
    ] {
        let holder = OpenOptions::new().read(true).share_mode(0).open(path).unwrap();
        let (found, text, hint) = seen(&home);
        assert_eq!(found, id);
        assert!(text.starts_with(file), "{text}");
        assert!(!text.contains("os error"), "{text}");
        assert_eq!(
            hint,
            "another program holds that file: close it, or exempt the folder from its scans, then run the command again"
        );
        drop(holder);
        assert_eq!(load(&home).id(), "ready");
    }
}

#[test]
fn a_home_may_lie_deeper_than_the_old_limit_of_paths() {
    let scratch = tempfile::tempdir().unwrap();
    let deep = scratch.path().join("d".repeat(120)).join("e".repeat(120));
    let home = Home::new(deep.join("home"));
    common::save(&home, TOKEN, SealMode::Keyfile);
    common::save(&home, OTHER_TOKEN, SealMode::Keyfile);
    askalf_cred::rotate_key(&home).unwrap();
    assert_eq!(load(&home).id(), "ready");
}

#[test]
#[ignore = "Wine keeps of an access list only what a mode can say"]
fn what_is_made_inherits_nothing_and_what_is_made_in_the_home_inherits_that() {
    let (_scratch, home) = saved();
    assert!(
        sddl(home.path()).contains("D:P(A;OICI;FA;;;"),
        "{}",
        sddl(home.path())
    );
    assert!(sddl(&home.keyfile_path()).contains("D:P(A;;FA;;;"));
    let theirs = home.path().join("policy.json");
    fs::write(&theirs, "{}").unwrap();
    assert_private(&theirs);
}

#[test]
#[ignore = "Wine keeps of an access list only what a mode can say"]
fn each_group_that_is_let_in_is_named() {
    for (list, told) in [
        ("D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FR;;;BU)", r"BUILTIN\Users"),
        (
            "D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FW;;;AU)",
            r"NT AUTHORITY\Authenticated Users",
        ),
        ("D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FR;;;BG)", r"BUILTIN\Guests"),
        (
            "D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FR;;;WD)(A;;FR;;;BU)",
            r"Everyone, BUILTIN\Users",
        ),
        ("D:NO_ACCESS_CONTROL", "everybody, as it has no access list"),
    ] {
        let (_scratch, home) = saved();
        let us = sddl(&home.keyfile_path());
        let us = us["O:".len()..us.find("D:").unwrap()].to_owned();
        let list = list.replace("D:P", &format!("D:P(A;;FA;;;{us})"));
        set_sddl(&home.keyfile_path(), &list);
        let (id, text, _) = seen(&home);
        assert_eq!(id, "keyfile-wrong-mode", "{list}");
        assert!(text.ends_with(&format!("(access for {told})")), "{text}");
    }
}

#[test]
#[ignore = "Wine makes no links, and Windows lets only administrators and developers make them"]
fn a_link_is_neither_read_nor_replaced() {
    let (scratch, home) = saved();
    let real = home.path().join("real");
    fs::rename(home.keyfile_path(), &real).unwrap();
    symlink_file(&real, home.keyfile_path()).unwrap();
    let (id, text, _) = seen(&home);
    assert_eq!(id, "keyfile-not-a-file");
    assert!(
        text.ends_with("is a link (reparse point), not a regular file"),
        "{text}"
    );
    fs::remove_file(home.keyfile_path()).unwrap();
    fs::rename(&real, home.keyfile_path()).unwrap();

    fs::rename(home.config_path(), &real).unwrap();
    symlink_file(&real, home.config_path()).unwrap();
    let names = scratch.names();
    assert_eq!(load(&home).id(), "config-not-a-file");
    let config = askalf_cred::AgentConfig::default();
    let error = askalf_cred::save(
        &home,
        &common::token(OTHER_TOKEN),
        &config,
        SealMode::Keyfile,
        now(),
    );
    assert_eq!(error.unwrap_err().id(), "save-not-a-file");
    assert_eq!(scratch.names(), names);

    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    symlink_dir(home.path(), &link).unwrap();
    assert_eq!(Home::new(&link).create().unwrap_err().id(), "home-not-a-folder");
}
