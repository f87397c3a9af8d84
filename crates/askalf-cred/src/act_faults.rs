//! Every act that writes, with a fault at each of its calls, and a power cut after each; then a normal start.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use askalf_bridge_auth::Token;
use rustix::io::Errno;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::config::AgentConfig;
use crate::disk::faulty::{Fault, FaultyDisk};
use crate::disk::volatile::VolatileDisk;
use crate::disk::{Disk, Steady, SystemDisk};
use crate::home::Home;
use crate::key_source::KeySources;
use crate::load::{LoadOptions, LoadOutcome, load_with};
use crate::machine::{Interface, MachineFacts};
use crate::migrate::{MigrationStep, migrate_on, migrate_with};
use crate::next::{discard_on, load_next, promote_on, stage_next, stage_on};
use crate::recover::recover_on;
use crate::rotate::rotate_on;
use crate::save::{Save, SaveOptions, save};
use crate::save_error::SaveError;
use crate::seal::{Blob, SealKey, SealMode};
use crate::unreadable::Unreadable;

const OLD: &str = "sk_live_OLDOLDOLDOLDOLDOLDOLDOLDOLDOLDOL";
const NEW: &str = "sk_live_NEWNEWNEWNEWNEWNEWNEWNEWNEWNEWNE";
/// The vector `machine-key-3.1`, and its token.
const MACHINE_SEALED: &str =
    "0kTGROemO5anaYLdCVbUKdliu8CwHDzjyQAIyKoApRUwEdMoh9ck1idT/ytbiGz1PReK2PriSdtSff30ct6TkOnm0I0=";
const MACHINE_TOKEN: &str = "sk_live_T4j9rAOSCQoSiuZJCeoBEki7odn0UXZs";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    FirstSave,
    Save,
    MigratePlaintext,
    MigrateMachineKey,
    Rotate,
    CompleteRotation,
    StageNext,
    PromoteNext,
    DiscardNext,
    CompleteFirstSave,
    CompleteSaveOverTorn,
}

const ALL: [Act; 11] = [
    Act::FirstSave,
    Act::Save,
    Act::MigratePlaintext,
    Act::MigrateMachineKey,
    Act::Rotate,
    Act::CompleteRotation,
    Act::StageNext,
    Act::PromoteNext,
    Act::DiscardNext,
    Act::CompleteFirstSave,
    Act::CompleteSaveOverTorn,
];

impl Act {
    /// The home before the act.
    fn set_scene(self) -> (TempDir, Home) {
        let scratch = tempfile::tempdir().unwrap();
        let home = Home::new(scratch.path().join("home"));
        let write = |name: &str, bytes: &[u8]| {
            let path = home.path().join(name);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        let rename = |from: &str, to: &str| {
            fs::rename(home.path().join(from), home.path().join(to)).unwrap();
        };
        match self {
            Self::FirstSave => {}
            Self::Save | Self::Rotate | Self::StageNext => save_token(&home, OLD),
            Self::MigratePlaintext => {
                home.create().unwrap();
                write("agent.json", json!({"apiKey": OLD}).to_string().as_bytes());
            }
            Self::MigrateMachineKey => {
                home.create().unwrap();
                let config = json!({"apiKey": MACHINE_SEALED, "_encrypted": true});
                write("agent.json", config.to_string().as_bytes());
            }
            Self::CompleteRotation => {
                save_token(&home, OLD);
                let keyfile = fs::read(home.keyfile_path()).unwrap();
                rotate_on(&Steady(&SystemDisk), &home, &options(self)).unwrap();
                rename("keyfile", "keyfile.next");
                write("keyfile", &keyfile);
            }
            Self::PromoteNext | Self::DiscardNext => {
                save_token(&home, OLD);
                stage_next(&home, &token(NEW), &options(self)).unwrap();
            }
            Self::CompleteFirstSave => {
                save_token(&home, OLD);
                rename("agent.json", "agent.json.tmp-0123456789abcdef");
                rename("keyfile", "keyfile.tmp-0123456789abcdef");
            }
            Self::CompleteSaveOverTorn => {
                save_token(&home, OLD);
                rename("agent.json", "agent.json.tmp-0123456789abcdef");
                write("agent.json", b"{\"apiKey\": \"torn");
            }
        }
        let _ = fs::remove_file(home.path().join("agent.json.lock"));
        (scratch, home)
    }

    fn run(self, home: &Home, disk: &dyn Disk) -> Result<(), SaveError> {
        let disk = &Steady(disk);
        let options = &options(self);
        match self {
            Self::FirstSave | Self::Save => Save {
                disk,
                home,
                token: &token(NEW),
                config: &AgentConfig::default(),
                mode: SealMode::Keyfile,
                now: now(),
                options,
                known: None,
            }
            .run()
            .map(drop),
            Self::MigratePlaintext | Self::MigrateMachineKey => {
                let migration = migrate_on(disk, home, now(), options);
                match migration.step {
                    MigrationStep::Failed { why, .. } => {
                        assert_eq!(
                            token_of(&migration.outcome).as_deref(),
                            Some(self.kept()),
                            "{why}"
                        );
                        Err(why)
                    }
                    MigrationStep::Done { .. } | MigrationStep::NotNeeded => Ok(()),
                }
            }
            Self::Rotate => rotate_on(disk, home, options).map(drop),
            Self::StageNext => stage_on(disk, home, &token(NEW), options),
            Self::PromoteNext => promote_on(disk, home, &token(NEW), now(), options).map(drop),
            Self::DiscardNext => discard_on(disk, home, &token(NEW), options).map(drop),
            Self::CompleteRotation | Self::CompleteFirstSave | Self::CompleteSaveOverTorn => {
                recover_on(disk, home, now(), options).fault.map_or(Ok(()), Err)
            }
        }
    }

    /// The token that was there before and must still be, or the new one in its place.
    fn kept(self) -> &'static str {
        match self {
            Self::MigrateMachineKey => MACHINE_TOKEN,
            Self::FirstSave => NEW,
            Self::Save
            | Self::MigratePlaintext
            | Self::Rotate
            | Self::CompleteRotation
            | Self::StageNext
            | Self::PromoteNext
            | Self::DiscardNext
            | Self::CompleteFirstSave
            | Self::CompleteSaveOverTorn => OLD,
        }
    }

    /// What a load may find at any moment of the act.
    fn check_untouched(self, home: &Home, point: &str) {
        let outcome = load_with(home, &load_options(self));
        match token_of(&outcome).as_deref() {
            Some(found) if found == self.kept() => {}
            Some(NEW) if matches!(self, Self::Save | Self::PromoteNext) => {}
            None if self == Self::FirstSave && matches!(outcome, LoadOutcome::Absent) => {}
            // Before the start completes the save.
            None if matches!(outcome, LoadOutcome::Refused(Unreadable::SaveCutOff { .. })) => {
                assert!(
                    matches!(
                        self,
                        Self::FirstSave | Self::CompleteFirstSave | Self::CompleteSaveOverTorn
                    ),
                    "{point}"
                );
            }
            _ => panic!("{point}: a load finds {outcome}"),
        }
        self.check_next(home, point);
    }

    fn check_next(self, home: &Home, point: &str) {
        let next = load_next(home, &load_options(self));
        let present = token_of(&load_with(home, &load_options(self)));
        match (self, token_of(&next).as_deref()) {
            (Self::StageNext | Self::DiscardNext, Some(NEW)) => {}
            (Self::PromoteNext, Some(NEW)) => assert_eq!(present.as_deref(), Some(OLD), "{point}"),
            (Self::PromoteNext, None) => {
                assert_eq!(present.as_deref(), Some(NEW), "{point}: the pending key is lost");
            }
            (_, None) => assert!(matches!(next, LoadOutcome::Absent), "{point}: {next}"),
            (_, Some(_)) => panic!("{point}: a pending key from nowhere"),
        }
    }

    /// A normal start, after which nothing is left half done.
    fn check_after_a_start(self, home: &Home, point: &str) {
        let migration = migrate_with(home, now(), &options(self));
        assert_eq!(migration.recovery.fault, None, "{point}");
        assert!(
            !matches!(migration.step, MigrationStep::Failed { .. }),
            "{point}: {}",
            migration.step
        );
        let found = token_of(&migration.outcome);
        match found.as_deref() {
            Some(found) if found == self.kept() => {}
            Some(NEW) if matches!(self, Self::Save | Self::PromoteNext) => {}
            None if self == Self::FirstSave => {
                assert!(matches!(migration.outcome, LoadOutcome::Absent), "{point}");
                return;
            }
            _ => panic!("{point}: a start finds {}", migration.outcome),
        }
        assert_eq!(read_as_3_3(home), found, "{point}: an agent 3.3 cannot read it");
        self.check_next(home, point);
        let mut names = names(home);
        names.retain(|name| {
            ![
                "agent.json",
                "keyfile",
                "agent.json.next",
                "agent.json.unreadable-20260131T235959Z",
            ]
            .contains(&name.as_str())
        });
        assert!(names.is_empty(), "{point}: {names:?}");
        let again = migrate_with(home, now(), &options(self));
        assert!(again.recovery.is_nothing(), "{point}: {:?}", again.recovery);
    }

    fn calls(self) -> usize {
        let (_scratch, home) = self.set_scene();
        let disk = FaultyDisk::sound();
        self.run(&home, &disk).unwrap();
        disk.calls()
    }
}

/// What an agent 3.3 makes of the two files.
fn read_as_3_3(home: &Home) -> Option<String> {
    let config: Value = serde_json::from_slice(&fs::read(home.config_path()).ok()?).ok()?;
    let key: [u8; 32] = fs::read(home.keyfile_path()).ok()?.try_into().ok()?;
    let plain = SealKey::from_bytes(&key).unseal(&Blob::decode(config["apiKey"].as_str()?)?)?;
    String::from_utf8(plain.to_vec()).ok()
}

fn names(home: &Home) -> BTreeSet<String> {
    fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "agent.json.lock")
        .collect()
}

fn save_token(home: &Home, text: &str) {
    save(
        home,
        &token(text),
        &AgentConfig::default(),
        SealMode::Keyfile,
        now(),
    )
    .unwrap();
}

fn token(text: &str) -> Token {
    Token::parse(text).unwrap()
}

fn token_of(outcome: &LoadOutcome) -> Option<String> {
    match outcome {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => {
            Some(credential.token.expose_secret().to_owned())
        }
        LoadOutcome::Absent | LoadOutcome::Refused(_) => None,
    }
}

fn options(act: Act) -> SaveOptions {
    let mut keys = KeySources::default();
    if act == Act::MigrateMachineKey {
        keys = keys.machine(machine());
    }
    SaveOptions::default().lock_wait(Duration::ZERO).keys(keys)
}

fn load_options(act: Act) -> LoadOptions {
    options(act).load_options()
}

/// The machine of the vector.
fn machine() -> MachineFacts {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let card = |mac: &str, addresses: &[IpAddr]| Interface {
        mac: mac.into(),
        addresses: addresses.to_vec(),
        up: true,
        ..Interface::default()
    };
    MachineFacts {
        hostname: "cx33".into(),
        username: "askalf-agent".into(),
        arch: "x64".into(),
        platform: "linux".into(),
        interfaces: vec![
            card("96:00:03:aa:bb:01", &[v4, v6]),
            card("02:42:ac:11:00:02", &[v4]),
        ],
    }
}

/// 2026-01-31T23:59:59Z
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_903_999)
}

#[test]
fn killed_before_each_call_of_an_act_nothing_is_lost() {
    let mut points = 0;
    for act in ALL {
        for at in 0..=act.calls() {
            let (_scratch, home) = act.set_scene();
            let disk = FaultyDisk::new(at, Fault::Killed);
            let _ = act.run(&home, &disk);
            let point = format!("{act:?}, killed at call {at}, after {:?}", disk.log().get(at));
            act.check_untouched(&home, &point);
            act.check_after_a_start(&home, &point);
            points += 1;
        }
    }
    println!("killed at {points} points, 0 lost");
    assert!(points > 300, "{points} points are too few to be all of them");
}

#[test]
fn a_failed_call_of_an_act_is_reported_once_and_nothing_is_lost() {
    let mut points = 0;
    for act in ALL {
        for errno in [Errno::NOSPC, Errno::IO, Errno::ACCESS] {
            // Each look at this one costs a derivation, and its calls are those of the other migration.
            if act == Act::MigrateMachineKey && errno != Errno::IO {
                continue;
            }
            for at in 0..act.calls() {
                let (_scratch, home) = act.set_scene();
                let disk = FaultyDisk::new(at, Fault::Once(errno.raw_os_error()));
                let result = act.run(&home, &disk);
                let point = format!("{act:?}, {errno:?} at call {at} ({}): {result:?}", disk.log()[at]);
                if let Err(error) = result {
                    assert!(!error.to_string().contains("os error"), "{point}");
                    assert!(!error.hint().is_empty(), "{point}");
                }
                act.check_untouched(&home, &point);
                act.check_after_a_start(&home, &point);
                points += 1;
            }
        }
    }
    println!("{points} failed calls, 0 lost");
}

/// A rename over a network may be done although its answer was lost.
#[test]
fn a_call_that_did_its_work_and_reports_an_error_loses_nothing() {
    for act in ALL {
        for at in 0..act.calls() {
            let (_scratch, home) = act.set_scene();
            let disk = FaultyDisk::new(at, Fault::DoneAndReported(Errno::IO.raw_os_error()));
            let _ = act.run(&home, &disk);
            let point = format!("{act:?}, call {at} ({}) was done and failed", disk.log()[at]);
            act.check_untouched(&home, &point);
            act.check_after_a_start(&home, &point);
        }
    }
}

/// An agent 3.3 takes no lock: what it writes under the old keyfile in the middle of a rotation must not lose its key.
#[test]
fn a_rotation_gives_way_to_an_agent_that_knows_no_lock() {
    let (_scratch, home) = Act::Rotate.set_scene();
    let old_key: [u8; 32] = fs::read(home.keyfile_path()).unwrap().try_into().unwrap();
    let theirs = json!({"apiKey": SealKey::from_bytes(&old_key).seal(NEW.as_bytes()), "_encrypted": true});
    let disk = FaultyDisk::sound().before("link-to keyfile.next", || {
        fs::write(home.config_path(), theirs.to_string()).unwrap();
    });
    let error = rotate_on(&Steady(&disk), &home, &options(Act::Rotate)).unwrap_err();
    assert_eq!(error.id(), "save-busy");
    assert_eq!(fs::read(home.keyfile_path()).unwrap(), old_key);
    assert_eq!(read_as_3_3(&home).as_deref(), Some(NEW));
    assert!(!home.staged_keyfile_path().exists());
}

/// Somebody pairs while a start waits for the lock: what was paired stays.
#[test]
fn a_migration_gives_way_to_a_key_that_was_paired_meanwhile() {
    let (_scratch, home) = Act::MigratePlaintext.set_scene();
    let disk = FaultyDisk::sound().before("open-lock agent.json.lock", || save_token(&home, NEW));
    let migration = migrate_on(&Steady(&disk), &home, now(), &options(Act::MigratePlaintext));
    assert_eq!(migration.step, MigrationStep::NotNeeded);
    assert_eq!(token_of(&migration.outcome).as_deref(), Some(NEW));
    assert_eq!(read_as_3_3(&home).as_deref(), Some(NEW));
}

#[test]
fn a_call_of_an_act_that_a_signal_interrupts_is_made_again() {
    for act in ALL {
        for at in 0..act.calls() {
            let (_scratch, home) = act.set_scene();
            let disk = FaultyDisk::new(at, Fault::Once(Errno::INTR.raw_os_error()));
            act.run(&home, &disk)
                .unwrap_or_else(|error| panic!("{act:?}, call {at}: {error}"));
            act.check_after_a_start(&home, &format!("{act:?}, interrupted at call {at}"));
        }
    }
}

/// On a disk that drops whatever is not synced, and keeps any number of the later changes of the folder.
#[test]
fn a_power_cut_at_any_call_of_an_act_loses_nothing() {
    let mut states = 0;
    for act in ALL {
        let calls = {
            let (_scratch, home) = act.set_scene();
            let disk = VolatileDisk::new(home.path(), usize::MAX);
            act.run(&home, &disk).unwrap();
            disk.calls()
        };
        for at in 0..=calls {
            let (_scratch, home) = act.set_scene();
            let disk = VolatileDisk::new(home.path(), at);
            let _ = act.run(&home, &disk);
            disk.each_state_after_the_cut(|folder: &Path, kept| {
                let point = format!("{act:?}, no power from call {at}, unsynced changes {kept:b} kept");
                let home = Home::new(folder);
                act.check_untouched(&home, &point);
                act.check_after_a_start(&home, &point);
                states += 1;
            });
        }
    }
    println!("{states} states after a power cut, 0 lost");
    assert!(states > 300, "{states} states are too few to be all of them");
}

#[test]
fn what_an_act_has_done_stays_through_a_power_cut() {
    for act in ALL {
        let (_scratch, home) = act.set_scene();
        let disk = VolatileDisk::new(home.path(), usize::MAX);
        act.run(&home, &disk).unwrap();
        disk.each_state_after_the_cut(|folder, kept| {
            let point = format!("{act:?}, done, unsynced changes {kept:b} kept");
            let home = Home::new(folder);
            let found = token_of(&load_with(&home, &load_options(act)));
            let wanted = if matches!(act, Act::Save | Act::PromoteNext) {
                NEW
            } else {
                act.kept()
            };
            assert_eq!(found.as_deref(), Some(wanted), "{point}");
            assert_eq!(read_as_3_3(&home), found, "{point}");
            if act == Act::StageNext {
                let next = load_next(&home, &load_options(act));
                assert_eq!(token_of(&next).as_deref(), Some(NEW), "{point}");
            }
        });
    }
}

/// What a save that was cut off had not synced is synced before it takes its place.
#[test]
fn a_save_that_was_completed_stays_through_a_power_cut() {
    for act in [Act::CompleteFirstSave, Act::CompleteSaveOverTorn] {
        let (_scratch, home) = act.set_scene();
        let disk = VolatileDisk::new(home.path(), usize::MAX);
        for name in names(&home).iter().filter(|name| name.contains(".tmp-")) {
            disk.forget_content(name);
        }
        let recovery = recover_on(&Steady(&disk), &home, now(), &options(act));
        assert!(recovery.completed.is_some() && recovery.fault.is_none());
        disk.each_state_after_the_cut(|folder, kept| {
            let found = token_of(&load_with(&Home::new(folder), &load_options(act)));
            assert_eq!(
                found.as_deref(),
                Some(OLD),
                "{act:?}, unsynced changes {kept:b} kept"
            );
        });
    }
}
