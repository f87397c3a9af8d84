//! The folder and its files are for their owner alone, and all of one owner.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use askalf_cli::{ExitCode, owner, permission_bits};
use askalf_cred::Home;

use super::{Finding, Subject};

pub(super) const ID: &str = "permissions";

/// Bits that let others in.
const OTHERS: u32 = 0o077;

/// Files whose exposure keeps the agent from its credential.
const SECRET: [&str; 4] = ["agent.json", "agent.json.next", "keyfile", "keyfile.next"];

/// Files that others may know, and may not change.
const PUBLIC: [&str; 2] = ["policy.json", "redaction.txt"];

pub(super) fn check(subject: &Subject) -> Finding {
    let home = subject.home();
    let Ok(facts) = home.path().symlink_metadata() else {
        return Finding::skipped(ID, "there is no folder: see 'home'");
    };
    if permission_bits(&facts).is_none() {
        return Finding::skipped(
            ID,
            "this system has access lists; 'credential' looks at those of the key",
        );
    }
    let ours = owner(&facts);
    let places = places(home);
    let named = |wrong: &[&Place]| {
        let names = wrong.iter().map(|place| place.shown());
        names.collect::<Vec<_>>().join(", ")
    };
    let foreign: Vec<_> = places
        .iter()
        .filter(|place| owner(&place.facts) != ours)
        .collect();
    if !foreign.is_empty() {
        return Finding::problem(
            ID,
            ExitCode::Configuration,
            "foreign-owner",
            format!("another user than the folder's owns {}", named(&foreign)),
            format!("as root: chown -R --reference={0} {0}", home.path().display()),
        );
    }
    let exposed: Vec<_> = places.iter().filter(|place| place.excess() != 0).collect();
    if exposed.is_empty() {
        return Finding::ok(ID, format!("{} places, each for its owner alone", places.len()));
    }
    let saw = format!("others may use {}", named(&exposed));
    let next = "'askalf-agent doctor --fix' closes them; if others may have read the keyfile or agent.json, pair with a new key";
    if exposed.iter().any(|place| place.secret) {
        Finding::problem(ID, ExitCode::Configuration, "exposed", saw, next)
    } else {
        Finding::warning(ID, "exposed", saw, next)
    }
}

/// Closes what is open to others. No byte of any file changes.
pub(super) fn repair(home: &Home) -> Vec<(&'static str, String)> {
    let mut done = Vec::new();
    for place in places(home).iter().filter(|place| place.excess() != 0) {
        let Some(bits) = permission_bits(&place.facts) else {
            continue;
        };
        let mode = bits & !place.excess();
        // What cannot be closed the check names.
        if close(&place.path, &place.facts, mode).is_ok() {
            done.push((
                ID,
                format!("{} has the mode {mode:o}, it had {bits:o}", place.shown()),
            ));
        }
    }
    done
}

struct Place {
    path: PathBuf,
    facts: Metadata,
    secret: bool,
    allowed: u32,
}

impl Place {
    /// The bits that it has too much.
    fn excess(&self) -> u32 {
        permission_bits(&self.facts).unwrap_or(0) & OTHERS & !self.allowed
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

/// The folder, `state/`, and the files in both; links and sockets are none of it.
fn places(home: &Home) -> Vec<Place> {
    let mut places = Vec::new();
    for folder in [home.path().to_owned(), home.state_dir()] {
        let Ok(facts) = folder.symlink_metadata() else {
            continue;
        };
        if !facts.is_dir() {
            continue;
        }
        places.push(Place {
            path: folder.clone(),
            facts,
            secret: false,
            allowed: 0,
        });
        let entries = folder.read_dir().into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let is = |names: &[&str]| names.iter().any(|it| name == *it);
            match entry.path().symlink_metadata() {
                Ok(facts) if facts.is_file() => places.push(Place {
                    path: entry.path(),
                    facts,
                    secret: is(&SECRET),
                    allowed: if is(&PUBLIC) { 0o055 } else { 0 },
                }),
                _ => {}
            }
        }
    }
    places.sort_by(|one, other| one.path.cmp(&other.path));
    places
}

/// By the open file, so that nothing can take its place meanwhile.
#[cfg(unix)]
fn close(path: &Path, facts: &Metadata, mode: u32) -> io::Result<()> {
    use std::fs::{File, Permissions};
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};

    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let opened = file.metadata()?;
    if (opened.dev(), opened.ino()) != (facts.dev(), facts.ino()) {
        return Err(io::ErrorKind::NotFound.into());
    }
    file.set_permissions(Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn close(_path: &Path, _facts: &Metadata, _mode: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
