//! `--bundle FILE`: what a helper needs to know, in one text file without secrets.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use askalf_cli::{ExitCode, Failure, in_plain_words, one_line, owner, permission_bits, private_file};
use askalf_exec::redact::{RedactionRules, Secrets};
use askalf_exec::{AuditFiles, list_audit};
use serde_json::{Map, Value};

use super::report::Report;
use super::subject::{Daemon, Subject};
use crate::clock::date;
use crate::environment;
use crate::redaction;

/// Last lines of the log and of the audit log.
const LINES: usize = 200;

/// Most of the log that is read, from its end, in bytes.
const MAX_LOG: u64 = 256 * 1024;

/// Most of the files in the folder that are named.
const MOST_FILES: usize = 200;

/// Fields of agent.json whose values are told; of others only the name is, as another program may keep anything there.
const TOLD: [&str; 9] = [
    "url",
    "deviceName",
    "maxConcurrent",
    "executionTimeoutMs",
    "insecure",
    "caFile",
    "tlsPins",
    "cfAccessSecretFile",
    "taskLimits",
];

/// The file, which nobody else has.
pub(super) struct Bundle {
    path: PathBuf,
    file: File,
}

/// Makes the file, for its owner alone.
pub(super) fn create(path: &Path) -> Result<Bundle, Failure> {
    let made = private_file().create_new(true).write(true).open(path);
    made.map(|file| Bundle {
        path: path.to_owned(),
        file,
    })
    .map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AlreadyExists => "name a new file, or remove this one first",
            _ => "name a file in a folder that you may write to",
        };
        Failure::new(
            ExitCode::Usage,
            format!("{} cannot be made: {}", path.display(), in_plain_words(&error)),
        )
        .hint(hint)
    })
}

impl Bundle {
    /// Writes the report; the whole of it passes the redaction of tasks' output, which knows the secrets of this device.
    pub(super) fn write(mut self, subject: &Subject, report: &Report) -> Result<PathBuf, Failure> {
        let text = redact(subject, &compose(subject, report));
        self.file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_all())
            .map_err(|error| {
                Failure::new(
                    ExitCode::Failed,
                    format!(
                        "{} was not written whole: {}",
                        self.path.display(),
                        in_plain_words(&error)
                    ),
                )
                .hint("make room, and name a new file")
            })?;
        Ok(self.path)
    }
}

fn compose(subject: &Subject, report: &Report) -> String {
    let mut text = String::from("Report of askalf-agent doctor\n");
    let mut part = |title: &str, body: String| {
        text.push_str(&format!("\n== {title}\n{}\n", body.trim_end()));
    };
    part("versions", versions());
    part("checks", report.text(false));
    part("status", status(subject));
    part("agent.json", config(subject));
    part("files", files(subject));
    part("last lines of the log", log(subject));
    part("last lines of the audit log", audit(subject));
    part(
        "checks as JSON",
        serde_json::to_string_pretty(report).unwrap_or_default(),
    );
    text
}

fn versions() -> String {
    format!(
        "askalf-agent {}\n{} {}\n{}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        system()
    )
}

#[cfg(unix)]
fn system() -> String {
    let uname = rustix::system::uname();
    one_line(&format!(
        "{} {}",
        uname.sysname().to_string_lossy(),
        uname.release().to_string_lossy()
    ))
}

#[cfg(not(unix))]
fn system() -> String {
    String::new()
}

fn status(subject: &Subject) -> String {
    match &subject.daemon {
        Daemon::Running(status) => serde_json::to_string_pretty(status).unwrap_or_default(),
        Daemon::Absent => "no agent runs".to_owned(),
        Daemon::Silent(error) => error.to_string(),
    }
}

/// The fields of the file as they are, but for what may be secret.
fn config(subject: &Subject) -> String {
    let path = subject.home().config_path();
    let Ok(Ok(Value::Object(fields))) =
        read_end(&path, MAX_LOG, None).map(|bytes| serde_json::from_slice(&bytes))
    else {
        return "it cannot be read".to_owned();
    };
    let told: Map<String, Value> = fields
        .into_iter()
        .map(|(name, value)| match value {
            Value::String(url) if name == "url" => (name, Value::String(without_login(&url))),
            value if TOLD.contains(&name.as_str()) => (name, value),
            _ => (name, Value::String("(left out)".to_owned())),
        })
        .collect();
    serde_json::to_string_pretty(&told).unwrap_or_default()
}

/// A URL without its user, password, query and fragment.
fn without_login(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => "(no URL)".to_owned(),
    }
}

fn files(subject: &Subject) -> String {
    let home = subject.home();
    let mut lines = Vec::new();
    for folder in [home.path().to_owned(), home.state_dir()] {
        for entry in folder.read_dir().into_iter().flatten().flatten() {
            let Ok(facts) = entry.path().symlink_metadata() else {
                continue;
            };
            let mode = permission_bits(&facts).map_or_else(String::new, |bits| format!("{bits:04o} "));
            let shown = one_line(&entry.path().display().to_string());
            lines.push(format!("{shown} {mode}{} bytes", facts.len()));
        }
    }
    lines.sort();
    lines.truncate(MOST_FILES);
    lines.join("\n")
}

fn log(subject: &Subject) -> String {
    let Some(path) = subject.last_run.as_ref().and_then(|run| run.log_file.as_ref()) else {
        return "the agent logs to no file; where a service manager runs it: journalctl -u askalf-agent"
            .to_owned();
    };
    // Its name comes from a file in the folder: whoever owns that must not have root tell of another's.
    let facts = subject.home().path().metadata().ok();
    match read_end(path, MAX_LOG, facts.and_then(|facts| owner(&facts))) {
        Ok(bytes) => last_lines(&bytes),
        Err(error) => format!("{} cannot be read: {}", path.display(), in_plain_words(&error)),
    }
}

/// What is recorded, without the sealed part: inputs of tasks, folders and errors are not in it.
fn audit(subject: &Subject) -> String {
    let files = AuditFiles::in_folder(subject.home().path());
    let lines = match list_audit(&files, None, LINES) {
        Ok(lines) => lines,
        Err(error) => return format!("it cannot be read: {}", in_plain_words(&error)),
    };
    let line = |listed: &askalf_exec::Listed| {
        let record = &listed.record;
        let text = |field: &Option<String>| field.clone().unwrap_or_else(|| "-".to_owned());
        one_line(&format!(
            "{} {} {} {} {} {}",
            record.seq,
            date(record.time),
            record.event.as_str(),
            text(&record.execution),
            text(&record.executor),
            text(&record.cause),
        ))
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The last part of a regular file, of this user's where one is named.
fn read_end(path: &Path, most: u64, of: Option<u32>) -> io::Result<Vec<u8>> {
    // Whatever else is there may block its reader for ever.
    let facts = path.metadata()?;
    if !facts.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut file = File::open(path)?;
    let facts = file.metadata()?;
    if of.is_some() && of != owner(&facts) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    file.seek(SeekFrom::Start(facts.len().saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn last_lines(bytes: &[u8]) -> String {
    let mut last = VecDeque::new();
    for line in BufReader::new(bytes).split(b'\n').map_while(Result::ok) {
        if last.len() == LINES {
            last.pop_front();
        }
        last.push_back(one_line(&String::from_utf8_lossy(&line)));
    }
    Vec::from(last).join("\n")
}

fn redact(subject: &Subject, text: &str) -> String {
    // Rules that cannot be read are named by a check; what is built in holds all the same.
    let rules = redaction::rules(subject.home()).unwrap_or_else(|_| RedactionRules::default());
    let secrets = Secrets::new(&rules);
    if let Some(token) = subject.token() {
        secrets.cover("agent-key", token.expose_secret());
    }
    if let Some(key) = environment::variable("ASKALF_API_KEY") {
        secrets.cover("agent-key", key.trim());
    }
    if let Some(Ok(route)) = &subject.route
        && let Some(gateway) = &route.gateway
    {
        secrets.cover("gateway-secret", gateway.secret().expose_secret());
    }
    secrets.redaction(None).text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_another_user_than_the_folders_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "line\n").unwrap();
        let own = owner(&log.metadata().unwrap());
        assert_eq!(read_end(&log, MAX_LOG, own).unwrap(), b"line\n");
        if let Some(own) = own {
            let error = read_end(&log, MAX_LOG, Some(own + 1)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn a_url_is_told_without_what_may_be_secret() {
        for (url, told) in [
            (
                "https://me:hunter2@bridge.test:3005/base?token=x#y",
                "https://bridge.test:3005/base",
            ),
            ("wss://bridge.test", "wss://bridge.test"),
            ("hunter2", "(no URL)"),
            ("https://a/b@c", "https://a/b@c"),
        ] {
            assert_eq!(without_login(url), told);
        }
    }
}
