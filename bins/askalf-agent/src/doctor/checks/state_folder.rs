//! The agent can write where it keeps its state.

use std::fs;
use std::io;
use std::path::Path;

use askalf_cli::{ExitCode, in_plain_words, private_file, private_folder};
use askalf_cred::Home;

use super::{Finding, Subject};

pub(super) const ID: &str = "state-folder";

pub(super) fn check(subject: &Subject) -> Finding {
    let home = subject.home();
    if !home.path().is_dir() {
        return Finding::skipped(ID, "there is no folder: see 'home'");
    }
    let state = home.state_dir();
    let shown = state.display();
    match state.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match write_into(home.path()) {
                Ok(()) => Finding::ok(ID, format!("{shown} is not there yet; a daemon makes it")),
                Err(error) => not_writable(home.path(), &error),
            };
        }
        Ok(facts) if !facts.is_dir() => {
            return Finding::problem(
                ID,
                ExitCode::Configuration,
                "state-not-a-folder",
                format!("{shown} is not a folder"),
                format!("move {shown} away: the agent makes it anew"),
            );
        }
        _ => {}
    }
    for folder in [home.path(), &state] {
        if let Err(error) = write_into(folder) {
            return not_writable(folder, &error);
        }
    }
    Finding::ok(ID, format!("{shown} can be written"))
}

/// Makes the folder where it is missing.
pub(super) fn repair(home: &Home) -> Vec<(&'static str, String)> {
    let state = home.state_dir();
    let missing = matches!(state.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
    if !missing || !home.path().is_dir() || private_folder().create(&state).is_err() {
        return Vec::new();
    }
    vec![(ID, format!("{} was made", state.display()))]
}

fn not_writable(folder: &Path, error: &io::Error) -> Finding {
    Finding::problem(
        ID,
        ExitCode::Configuration,
        "state-not-writable",
        format!(
            "{} cannot be written: {}",
            folder.display(),
            in_plain_words(error)
        ),
        "look at its owner and mode, and at how its disk is mounted; run this command as the agent's user",
    )
}

fn write_into(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!("doctor-{}.new", std::process::id()));
    let written = private_file()
        .create_new(true)
        .write(true)
        .open(&path)
        .and_then(|mut file| io::Write::write_all(&mut file, b"written by 'askalf-agent doctor'\n"));
    match fs::remove_file(&path) {
        Err(error) if written.is_ok() => Err(error),
        _ => written,
    }
}
