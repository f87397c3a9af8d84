//! Nothing lies about that an act or a killed daemon left.

use std::fs;
use std::path::{Path, PathBuf};

use askalf_cred::Home;

use super::{Finding, Subject};
use crate::home_lock;

pub(super) const ID: &str = "leftovers";

pub(super) fn check(subject: &Subject) -> Finding {
    let home = subject.home();
    let found = found(home);
    if !found.kept.is_empty() {
        return Finding::warning(
            ID,
            "act-cut-off",
            format!("an act on the credential was cut off: {}", named(&found.kept)),
            "leave the files: the next start of the daemon completes or removes them; 'askalf-agent cred status' has the rest",
        );
    }
    if found.removable.is_empty() {
        return Finding::ok(ID, "nothing is left over");
    }
    Finding::warning(
        ID,
        "leftovers",
        format!("left by a process that was killed: {}", named(&found.removable)),
        "'askalf-agent doctor --fix' removes them",
    )
}

/// Removes what nobody can miss. Nothing that may hold a credential is touched, and nothing at all while a daemon runs.
pub(super) fn repair(home: &Home) -> Vec<(&'static str, String)> {
    let removable = found(home).removable;
    let removed = removable.into_iter().filter(|path| fs::remove_file(path).is_ok());
    removed
        .map(|path| (ID, format!("{} was removed", path.display())))
        .collect()
}

#[derive(Default)]
struct Found {
    removable: Vec<PathBuf>,
    /// They may be, or hold, a credential.
    kept: Vec<PathBuf>,
}

fn found(home: &Home) -> Found {
    let mut found = Found::default();
    // They may be at work then.
    if home_lock::holder(home).is_some() {
        return found;
    }
    for folder in [home.path().to_owned(), home.state_dir()] {
        for entry in folder.read_dir().into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let path = entry.path();
            if ["agent.json.tmp-", "keyfile.tmp-", "keyfile.next"]
                .iter()
                .any(|begin| name.starts_with(begin))
            {
                found.kept.push(path);
            } else if is_stale_socket(&path, home) || (is_temporary(&name) && is_file(&path)) {
                found.removable.push(path);
            }
        }
    }
    found.removable.sort();
    found.kept.sort();
    found
}

fn is_temporary(name: &str) -> bool {
    let ours = ["device-id", "pair-nonce", "last-run.json", "doctor-"]
        .iter()
        .any(|begin| name.starts_with(begin));
    !name.starts_with("agent.json")
        && !name.starts_with("keyfile")
        && (name.ends_with(".tmp") || (ours && name.ends_with(".new")))
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|facts| facts.is_file())
}

#[cfg(unix)]
fn is_stale_socket(path: &Path, home: &Home) -> bool {
    use std::os::unix::fs::FileTypeExt;

    path == home.socket_path()
        && path
            .symlink_metadata()
            .is_ok_and(|facts| facts.file_type().is_socket())
}

#[cfg(not(unix))]
fn is_stale_socket(_path: &Path, _home: &Home) -> bool {
    false
}

fn named(paths: &[PathBuf]) -> String {
    let names = paths.iter().map(|path| path.display().to_string());
    names.collect::<Vec<_>>().join(", ")
}
