//! No key stands in a file that starts a service.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use askalf_cli::ExitCode;

use super::{Finding, Subject};
use crate::doctor::secrets::holds_key;
use crate::environment;

pub(super) const ID: &str = "key-in-unit";

/// Most of a file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// Most files that are looked at.
const MOST_FILES: usize = 4000;

/// Where units of the system are, those of systemd, launchd and init.
const SYSTEM: [&str; 8] = [
    "/etc/systemd/system",
    "/etc/systemd/user",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/etc/init.d",
    "/etc/cron.d",
    "/Library/LaunchDaemons",
];

/// The same of a user, below its home.
const USER: [&str; 3] = [
    ".config/systemd/user",
    ".config/autostart",
    "Library/LaunchAgents",
];

pub(super) fn check(subject: &Subject) -> Finding {
    if cfg!(windows) {
        return Finding::skipped(ID, "services of this system are not kept in files");
    }
    let own = environment::user_home();
    let user = own.iter().flat_map(|home| USER.map(|folder| home.join(folder)));
    let folders = SYSTEM.iter().map(PathBuf::from).chain(user);
    let mut looked = 0;
    let mut shown = Vec::new();
    for file in folders.flat_map(|folder| files(&folder, 1)).take(MOST_FILES) {
        let Some(text) = read(&file) else { continue };
        looked += 1;
        let own_key = subject
            .token()
            .is_some_and(|token| text.contains(token.expose_secret()));
        if own_key || (text.contains("askalf") && holds_key(&text, None)) {
            shown.push(file.display().to_string());
        }
    }
    if shown.is_empty() {
        return Finding::ok(ID, format!("none of {looked} files shows one"));
    }
    Finding::problem(
        ID,
        ExitCode::Failed,
        "key-in-unit",
        format!("a key stands in {}", shown.join(", ")),
        "take it out ('askalf-agent daemon' needs none), and pair with a new one: who could read the file may have it",
    )
}

/// The files in a folder and in the folders in it, so many levels down.
fn files(folder: &Path, levels: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> = folder
        .read_dir()
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    for path in entries {
        match path.symlink_metadata() {
            Ok(facts) if facts.is_dir() && levels > 0 => found.extend(files(&path, levels - 1)),
            Ok(facts) if facts.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(MAX_FILE)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
