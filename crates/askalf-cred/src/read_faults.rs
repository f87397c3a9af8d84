//! A load with a fault at each of its calls.

use std::time::SystemTime;

use askalf_bridge_auth::Token;
use rustix::io::Errno;

use crate::config::AgentConfig;
use crate::disk::Steady;
use crate::disk::faulty::{Fault, FaultyDisk};
use crate::home::Home;
use crate::load::{LoadOptions, LoadOutcome, load_on};
use crate::save::save;
use crate::seal::SealMode;

/// A disk that fails is said to be one: it makes no file absent, short, or something other than a file.
#[test]
fn a_failed_call_of_a_load_is_told_as_what_it_is() {
    let scratch = tempfile::tempdir().unwrap();
    let home = Home::new(scratch.path().join("home"));
    let token = Token::parse("sk_live_OLDOLDOLDOLDOLDOLDOLDOLDOLDOLDOL").unwrap();
    save(
        &home,
        &token,
        &AgentConfig::default(),
        SealMode::Keyfile,
        SystemTime::UNIX_EPOCH,
    )
    .unwrap();
    let load_by = |disk: &FaultyDisk<'_>| load_on(&Steady(disk), &home, &LoadOptions::default());
    let sound = FaultyDisk::sound();
    assert!(matches!(load_by(&sound), LoadOutcome::Ready(_)));

    let mut told = Vec::new();
    for at in 0..sound.calls() {
        for errno in [Errno::ACCESS, Errno::IO, Errno::MFILE] {
            let disk = FaultyDisk::new(at, Fault::Once(errno.raw_os_error()));
            let point = format!("{errno:?} at call {at} of {:?}", sound.log());
            match load_by(&disk) {
                // A look at whether the files changed may fail without harm.
                LoadOutcome::Ready(credential) => assert!(credential.token.ct_eq(&token), "{point}"),
                LoadOutcome::Refused(unreadable) => {
                    let id = unreadable.id();
                    assert!(
                        ["config-unreadable", "keyfile-unreadable"].contains(&id),
                        "{point}: {unreadable}"
                    );
                    told.push(id);
                }
                outcome => panic!("{point}: {outcome}"),
            }
        }
    }
    for id in ["config-unreadable", "keyfile-unreadable"] {
        // To open, look at and read each of the two files.
        assert!(
            told.iter().filter(|told| **told == id).count() >= 9,
            "{id}: {told:?}"
        );
    }
}
