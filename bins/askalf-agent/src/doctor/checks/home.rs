//! The agent's folder is there and a folder.

use askalf_cli::{ExitCode, in_plain_words};

use super::{Finding, Subject};

pub(super) const ID: &str = "home";

pub(super) fn check(subject: &Subject) -> Finding {
    let path = subject.home().path();
    let shown = path.display();
    match path.symlink_metadata() {
        Ok(facts) if facts.is_dir() => Finding::ok(ID, shown.to_string()),
        Ok(_) => Finding::problem(
            ID,
            ExitCode::Configuration,
            "home-not-a-folder",
            format!("{shown} is not a folder"),
            format!("move {shown} away, or set ASKALF_HOME to the folder itself"),
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Finding::problem(
            ID,
            ExitCode::Configuration,
            "home-missing",
            format!("there is no folder {shown}"),
            "pair the device: 'askalf-agent pair CODE --url URL'; or name the folder with --home or ASKALF_HOME",
        ),
        Err(error) => Finding::problem(
            ID,
            ExitCode::Configuration,
            "home-io",
            format!("{shown} cannot be looked at: {}", in_plain_words(&error)),
            "run the command as the agent's user, or as root",
        ),
    }
}
