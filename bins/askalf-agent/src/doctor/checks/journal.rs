//! The journal of executions can be read, and nothing lies in quarantine.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use askalf_cli::ExitCode;

use super::{Daemon, Finding, Subject};

pub(super) const ID: &str = "journal";

/// How every database begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

pub(super) fn check(subject: &Subject) -> Finding {
    let path = subject.home().state_dir().join("executions.db");
    let shown = path.display();
    if let Daemon::Running(status) = &subject.daemon {
        if status.reason.starts_with("journal-") {
            return Finding::problem(
                ID,
                ExitCode::Failed,
                status.reason.clone(),
                status.detail.clone(),
                status.hint.clone(),
            );
        }
        if status.quarantined > 0 {
            return Finding::warning(
                ID,
                "quarantine",
                format!(
                    "{} results lie in quarantine: the bridge could not take them",
                    status.quarantined
                ),
                "'askalf-agent recovery' says how to read them",
            );
        }
    }
    let kept = set_aside(&path);
    if kept > 0 {
        return Finding::warning(
            ID,
            "journal-damaged",
            format!("{kept} journals that could not be read are kept beside {shown}"),
            "look for lost outputs in them as 'askalf-agent recovery' says, then remove them",
        );
    }
    match begin(&path) {
        Ok(begin) if begin.is_empty() || begin.as_slice() == MAGIC => {
            Finding::ok(ID, format!("{shown} can be read"))
        }
        Ok(_) => Finding::problem(
            ID,
            ExitCode::Failed,
            "journal-damaged",
            format!("{shown} is no journal"),
            "nothing: the next start of the daemon keeps it under another name and begins a fresh one",
        ),
        Err(ErrorKind::NotFound) => Finding::ok(ID, "there is none yet; a daemon makes it"),
        Err(kind) => Finding::problem(
            ID,
            ExitCode::Failed,
            "journal-not-readable",
            format!("{shown} cannot be read: {kind}"),
            "look at its owner and mode; run this command as the agent's user",
        ),
    }
}

fn begin(path: &Path) -> Result<Vec<u8>, ErrorKind> {
    // Opening a pipe would wait for its other end.
    match path.symlink_metadata() {
        Ok(facts) if !facts.is_file() => return Ok(b"no file".to_vec()),
        Ok(_) => {}
        Err(error) => return Err(error.kind()),
    }
    let mut begin = Vec::new();
    let file = File::open(path).map_err(|error| error.kind())?;
    let most = u64::try_from(MAGIC.len()).unwrap_or(u64::MAX);
    file.take(most)
        .read_to_end(&mut begin)
        .map_err(|error| error.kind())?;
    Ok(begin)
}

fn set_aside(path: &Path) -> usize {
    let entries = path.parent().and_then(|folder| folder.read_dir().ok());
    let names = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.starts_with("executions.db.unreadable-") && !name.ends_with("-wal"))
        .count()
}
