//! Saves with a fault at each of their calls.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use askalf_bridge_auth::Token;
use rustix::io::Errno;
use tempfile::TempDir;

use crate::config::AgentConfig;
use crate::disk::faulty::{Fault, FaultyDisk};
use crate::disk::volatile::VolatileDisk;
use crate::disk::{Disk, Steady, SystemDisk};
use crate::home::Home;
use crate::load::{LoadOptions, LoadOutcome, load, load_on};
use crate::save::{Save, SaveOptions, Saved, save};
use crate::save_error::SaveError;
use crate::seal::SealMode;
use crate::unreadable::Unreadable;

const OLD: &str = "sk_live_OLDOLDOLDOLDOLDOLDOLDOLDOLDOLDOL";
const NEW: &str = "sk_live_NEWNEWNEWNEWNEWNEWNEWNEWNEWNEWNE";

/// What is in the home before the save.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    Ready,
    Torn,
    KeyfileMissing,
    KeyfileShort,
}

const ALL: [Before; 5] = [
    Before::Nothing,
    Before::Ready,
    Before::Torn,
    Before::KeyfileMissing,
    Before::KeyfileShort,
];

struct Scene {
    _scratch: TempDir,
    home: Home,
    /// The file that must not be lost: what agent.json held.
    old_bytes: Option<Vec<u8>>,
}

impl Scene {
    fn set(before: Before) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let home = Home::new(scratch.path().join("home"));
        if before != Before::Nothing {
            save(
                &home,
                &token(OLD),
                &AgentConfig::default(),
                SealMode::Keyfile,
                now(),
            )
            .unwrap();
        }
        match before {
            Before::Nothing | Before::Ready => {}
            Before::Torn => fs::write(home.config_path(), "{\"apiKey\": \"torn").unwrap(),
            Before::KeyfileMissing => fs::remove_file(home.keyfile_path()).unwrap(),
            Before::KeyfileShort => fs::write(home.keyfile_path(), [1; 31]).unwrap(),
        }
        let old_bytes = fs::read(home.config_path()).ok();
        Self {
            _scratch: scratch,
            home,
            old_bytes,
        }
    }

    fn save_new(&self, disk: &dyn Disk) -> Result<Saved, SaveError> {
        Save {
            disk: &Steady(disk),
            home: &self.home,
            token: &token(NEW),
            config: &AgentConfig::default(),
            mode: SealMode::Keyfile,
            now: now(),
            options: &SaveOptions::default().lock_wait(Duration::ZERO),
            known: None,
        }
        .run()
    }

    fn names(&self) -> BTreeSet<String> {
        let Ok(entries) = fs::read_dir(self.home.path()) else {
            return BTreeSet::new();
        };
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "agent.json.lock")
            .collect()
    }

    /// The names under which the folder still has the old file's bytes.
    fn kept(&self) -> Vec<String> {
        let has = |name: &String| fs::read(self.home.path().join(name)).ok() == self.old_bytes;
        self.names().into_iter().filter(has).collect()
    }

    fn token(&self) -> Option<String> {
        match load(&self.home) {
            LoadOutcome::Ready(credential) => Some(credential.token.expose_secret().to_owned()),
            LoadOutcome::Absent | LoadOutcome::Plaintext { .. } | LoadOutcome::Refused(_) => None,
        }
    }

    /// Nothing is lost: the new credential stands, or the old file is as it was, or at least kept whole under a dated name.
    fn assert_nothing_lost(&self, before: Before, point: &str) {
        match (before, self.token().as_deref()) {
            (Before::Ready, Some(OLD | NEW)) | (Before::Nothing, Some(NEW)) => {}
            (Before::Nothing, None) => assert!(
                matches!(
                    load(&self.home),
                    LoadOutcome::Absent | LoadOutcome::Refused(Unreadable::SaveCutOff { .. })
                ),
                "{point}"
            ),
            (Before::Torn | Before::KeyfileMissing | Before::KeyfileShort, Some(NEW) | None) => {
                assert!(!self.kept().is_empty(), "{point}: {:?}", self.names());
            }
            (_, found) => panic!("{point}: a load finds {found:?}"),
        }
    }
}

fn token(text: &str) -> Token {
    Token::parse(text).unwrap()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_903_999)
}

fn calls_of(before: Before) -> usize {
    let disk = FaultyDisk::sound();
    Scene::set(before).save_new(&disk).unwrap();
    disk.calls()
}

#[test]
fn killed_before_each_call_and_after_the_last_nothing_is_lost() {
    let mut stranded = Vec::new();
    for before in ALL {
        for at in 0..=calls_of(before) {
            let point = format!("{before:?}, killed at call {at}");
            let scene = Scene::set(before);
            let disk = FaultyDisk::new(at, Fault::Killed);
            match scene.save_new(&disk) {
                Ok(_) => assert_eq!(scene.token().as_deref(), Some(NEW), "{point}"),
                Err(error @ SaveError::Stranded { .. }) => stranded.push(error),
                Err(_) => assert_eq!(
                    fs::read(scene.home.config_path()).ok(),
                    scene.old_bytes,
                    "{point}"
                ),
            }
            scene.assert_nothing_lost(before, &point);

            // The next save needs no help, and leaves no litter.
            scene
                .save_new(&FaultyDisk::sound())
                .unwrap_or_else(|error| panic!("{point}: {error}"));
            assert_eq!(scene.token().as_deref(), Some(NEW), "{point}");
            let names = scene.names();
            assert!(
                !names.iter().any(|name| name.contains(".tmp-")),
                "{point}: {names:?}"
            );
            if matches!(
                before,
                Before::Torn | Before::KeyfileMissing | Before::KeyfileShort
            ) {
                assert!(!scene.kept().is_empty(), "{point}: {names:?}");
            }
        }
    }
    // A disk that dies between the moving aside and the last step: the error says where the old file is.
    for error in &stranded {
        let text = error.to_string();
        assert!(
            text.contains("; the unreadable file that was there before is kept as "),
            "{text}"
        );
        assert!(text.contains(".unreadable-20260131T235959Z"), "{text}");
    }
    assert!(!stranded.is_empty());
}

#[test]
fn a_failed_call_leaves_everything_as_it_was_or_the_save_done() {
    for before in ALL {
        for errno in [Errno::NOSPC, Errno::IO, Errno::DQUOT, Errno::ROFS, Errno::ACCESS] {
            for at in 0..calls_of(before) {
                let scene = Scene::set(before);
                let names = scene.names();
                let disk = FaultyDisk::new(at, Fault::Once(errno.raw_os_error()));
                let result = scene.save_new(&disk);
                let point = format!(
                    "{before:?}, {errno:?} at call {at} ({}): {result:?}",
                    disk.log()[at]
                );
                scene.assert_nothing_lost(before, &point);
                match result {
                    Ok(_) => assert_eq!(scene.token().as_deref(), Some(NEW), "{point}"),
                    Err(error) => {
                        assert_eq!(
                            fs::read(scene.home.config_path()).ok(),
                            scene.old_bytes,
                            "{point}"
                        );
                        assert!(!error.to_string().contains("os error"), "{point}");
                        let litter: Vec<_> = scene.names().difference(&names).cloned().collect();
                        // A leftover is only excused where the failing call was the one that removes it.
                        assert!(
                            litter.is_empty() || disk.log()[at].starts_with("remove"),
                            "{point}: {litter:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_call_that_a_signal_interrupts_is_made_again() {
    for before in ALL {
        for at in 0..calls_of(before) {
            let scene = Scene::set(before);
            let disk = FaultyDisk::new(at, Fault::Once(Errno::INTR.raw_os_error()));
            scene
                .save_new(&disk)
                .unwrap_or_else(|error| panic!("{before:?}, call {at}: {error}"));
            assert_eq!(scene.token().as_deref(), Some(NEW));
        }
    }
}

#[test]
fn a_disk_that_takes_one_byte_at_a_time_gets_them_all() {
    let scene = Scene::set(Before::Nothing);
    scene.save_new(&FaultyDisk::new(0, Fault::OneByteWrites)).unwrap();
    assert_eq!(scene.token().as_deref(), Some(NEW));
}

#[test]
fn a_file_that_does_not_read_back_never_takes_the_place_of_the_old_one() {
    let sound = FaultyDisk::sound();
    let scene = Scene::set(Before::KeyfileMissing);
    scene.save_new(&sound).unwrap();
    let config_len = fs::read(scene.home.config_path()).unwrap().len();
    let log = sound.log();
    let writes: Vec<_> = (0..log.len()).filter(|at| log[*at] == "write").collect();
    assert_eq!(writes.len(), 2, "one of the keyfile, one of agent.json: {log:?}");
    for (at, len) in writes.into_iter().zip([32, config_len]) {
        for byte in 0..len {
            let scene = Scene::set(Before::KeyfileMissing);
            let error = scene
                .save_new(&FaultyDisk::new(at, Fault::Corrupts(byte)))
                .unwrap_err();
            assert!(matches!(error, SaveError::ReadBack { .. }), "{error}");
            assert_eq!(scene.kept(), ["agent.json"]);
            assert_eq!(scene.names().len(), 1, "{:?}", scene.names());
        }
    }
}

/// On a disk that may drop whatever is not synced: content before its name, the keyfile's name before a config that needs it,
/// the dated name before the old one goes.
#[test]
fn the_write_order_survives_a_power_cut() {
    let disk = FaultyDisk::sound();
    Scene::set(Before::KeyfileMissing).save_new(&disk).unwrap();
    let changes = ["create ", "write", "sync", "link-to", "rename-to", "remove"];
    let log: Vec<_> = disk
        .log()
        .into_iter()
        .filter(|call| changes.iter().any(|verb| call.starts_with(verb)))
        .collect();
    assert_eq!(
        log,
        [
            "create keyfile.tmp",
            "write",
            "sync",
            "create agent.json.tmp",
            "write",
            "sync",
            "link-to agent.json.unreadable-20260131T235959Z",
            "sync-folder",
            "remove agent.json",
            "link-to keyfile",
            "sync-folder",
            "rename-to agent.json",
            "sync-folder",
            "remove keyfile.tmp",
        ]
    );
}

#[test]
fn a_power_cut_at_any_call_loses_nothing() {
    for before in ALL {
        let calls = {
            let scene = Scene::set(before);
            let disk = VolatileDisk::new(scene.home.path(), usize::MAX);
            scene.save_new(&disk).unwrap();
            disk.calls()
        };
        for at in 0..=calls {
            let scene = Scene::set(before);
            let disk = VolatileDisk::new(scene.home.path(), at);
            let result = scene.save_new(&disk);
            disk.each_state_after_the_cut(|folder, kept| {
                let point = format!("{before:?}, no power from call {at}, unsynced changes {kept:b} kept");
                let after = Scene {
                    _scratch: tempfile::tempdir().unwrap(),
                    home: Home::new(folder),
                    old_bytes: scene.old_bytes.clone(),
                };
                after.assert_nothing_lost(before, &point);
                if result.as_ref().is_ok_and(|saved| saved.unsynced.is_none()) {
                    assert_eq!(
                        after.token().as_deref(),
                        Some(NEW),
                        "{point}: reported as saved, and lost"
                    );
                }
            });
        }
    }
}

#[test]
fn a_folder_that_cannot_be_synced_at_the_end_is_a_warning() {
    let sound = FaultyDisk::sound();
    Scene::set(Before::Ready).save_new(&sound).unwrap();
    let last_sync = sound
        .log()
        .iter()
        .rposition(|call| call == "sync-folder")
        .unwrap();
    let scene = Scene::set(Before::Ready);
    let saved = scene
        .save_new(&FaultyDisk::new(last_sync, Fault::Once(Errno::IO.raw_os_error())))
        .unwrap();
    assert!(
        saved
            .unsynced
            .unwrap()
            .to_string()
            .ends_with("input/output error")
    );
    assert_eq!(scene.token().as_deref(), Some(NEW));
}

/// A keyfile that another agent makes between the look and the link is taken, not replaced.
#[test]
fn the_loser_of_a_race_for_the_keyfile_seals_under_the_winners() {
    const THEIRS: [u8; 32] = [9; 32];
    let scene = Scene::set(Before::KeyfileMissing);
    let keyfile = scene.home.keyfile_path();
    let disk = FaultyDisk::sound().before("link-to keyfile", || {
        if !keyfile.exists() {
            fs::write(&keyfile, THEIRS).unwrap();
            fs::set_permissions(&keyfile, fs::Permissions::from_mode(0o600)).unwrap();
        }
    });
    let saved = scene.save_new(&disk).unwrap();
    assert!(!saved.new_keyfile);
    assert_eq!(fs::read(&keyfile).unwrap(), THEIRS);
    assert_eq!(scene.token().as_deref(), Some(NEW));
    assert_eq!(scene.kept().len(), 1);
}

#[test]
fn nothing_of_another_user_is_used_or_replaced() {
    let us = SystemDisk.us();
    let check = |file: fn(&Home) -> PathBuf, id: &str, exit_code: u8, text: &str, hint: &str| {
        let scene = Scene::set(Before::Ready);
        let error = scene
            .save_new(&FaultyDisk::sound().foreign(file(&scene.home)))
            .unwrap_err();
        let expand = |text: &str| {
            text.replace('~', &scene.home.path().display().to_string())
                .replace("(us)", &format!("({us})"))
        };
        assert_eq!((error.id(), error.exit_code()), (id, exit_code));
        assert_eq!(error.to_string(), expand(text));
        assert_eq!(error.hint(), expand(hint));
        assert_eq!(scene.token().as_deref(), Some(OLD), "{id}");
    };
    check(
        Home::config_path,
        "save-foreign-owner",
        77,
        "~/agent.json is owned by uid 4242, not by the user that runs this program (us): it is not replaced",
        "run the command as uid 4242, or move ~/agent.json away first",
    );
    check(
        |home| home.path().to_path_buf(),
        "home-foreign-owner",
        77,
        "the folder ~ is owned by uid 4242, not by the user that runs this program (us)",
        "run the command as uid 4242, or set ASKALF_HOME to a folder of your own",
    );
    let number = us.trim_start_matches("uid ");
    let chown = format!("run `chown {number} ~/keyfile` as root, or run this program as the keyfile's owner");
    let text = "the keyfile ~/keyfile is owned by uid 4242, not by the user that runs this program (us)";
    check(Home::keyfile_path, "keyfile-wrong-owner", 78, text, &chown);

    let scene = Scene::set(Before::Ready);
    let disk = FaultyDisk::sound().foreign(scene.home.keyfile_path());
    let LoadOutcome::Refused(unreadable) = load_on(&Steady(&disk), &scene.home, &LoadOptions::default())
    else {
        panic!("a foreign keyfile was used")
    };
    assert_eq!(unreadable.id(), "keyfile-wrong-owner");
    assert!(unreadable.is_local_fault());
}

/// A save in another process replaces the keyfile between this load's look at agent.json and its look at the keyfile.
#[test]
fn a_load_across_a_save_reads_again_instead_of_crying_damage() {
    let scene = Scene::set(Before::Ready);
    let done = Cell::new(false);
    let disk = FaultyDisk::sound().before("open keyfile", || {
        if !done.replace(true) {
            fs::remove_file(scene.home.keyfile_path()).unwrap();
            scene.save_new(&FaultyDisk::sound()).unwrap();
        }
    });
    let LoadOutcome::Ready(credential) = load_on(&Steady(&disk), &scene.home, &LoadOptions::default()) else {
        panic!("neither the old nor the new credential")
    };
    assert_eq!(credential.token.expose_secret(), NEW);
}
