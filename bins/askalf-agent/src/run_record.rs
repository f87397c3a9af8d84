//! `state/last-run.json`: when the daemon of this home ran last and how that ended. For people alone: nothing is decided by it.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use askalf_cli::{one_line, private_file, private_folder};
use askalf_cred::Home;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::clock::{date, unix_ms};

/// Largest file that is read.
const MAX_BYTES: u64 = 16 * 1024;

/// Longest reason that is kept, in characters.
const MAX_REASON: usize = 400;

/// One run of a daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LastRun {
    pub(crate) version: String,
    pub(crate) pid: u32,
    /// In milliseconds since the Unix epoch.
    pub(crate) started_at: u64,
    pub(crate) log_file: Option<PathBuf>,
    /// Absent while it runs, and where it was killed.
    pub(crate) ended_at: Option<u64>,
    pub(crate) end: Option<String>,
}

impl LastRun {
    /// The last run in this home; `None` where nothing is known.
    pub(crate) fn of(home: &Home) -> Option<Self> {
        let path = path(home);
        if !path.metadata().ok()?.is_file() {
            return None;
        }
        let mut text = String::new();
        fs::File::open(path)
            .ok()?
            .take(MAX_BYTES)
            .read_to_string(&mut text)
            .ok()?;
        serde_json::from_str(&text).ok()
    }

    /// How it ended, for a person, where nobody runs.
    pub(crate) fn ended(&self) -> String {
        match (self.ended_at, &self.end) {
            (Some(at), Some(why)) => format!("{}: {}", date(at), one_line(why)),
            (Some(at), None) => date(at),
            (None, _) => format!(
                "it started at {} and was killed, or the machine went down",
                date(self.started_at)
            ),
        }
    }
}

/// The record of this process.
#[derive(Debug)]
pub(crate) struct RunRecord {
    path: PathBuf,
    run: LastRun,
    asked_by: Mutex<Option<&'static str>>,
}

impl RunRecord {
    /// Notes that this process runs. The caller holds the home's lock. A disk that takes nothing does not matter.
    pub(crate) async fn begin(home: &Home, log_file: Option<PathBuf>) -> Self {
        let record = Self {
            path: path(home),
            run: LastRun {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                started_at: unix_ms(),
                log_file: log_file.and_then(|file| std::path::absolute(file).ok()),
                ended_at: None,
                end: None,
            },
            asked_by: Mutex::default(),
        };
        record.write(record.run.clone()).await;
        record
    }

    /// Notes who asked for the end.
    pub(crate) fn asked_by(&self, who: &'static str) {
        self.lock().get_or_insert(who);
    }

    /// Notes the end; `failure` where it was one.
    pub(crate) async fn end(&self, failure: Option<&str>) {
        let asked = *self.lock();
        let end = match (failure, asked) {
            (Some(failure), _) => {
                let failure: String = failure.chars().take(MAX_REASON).collect();
                format!("it could not go on: {failure}")
            }
            (None, Some(who)) => format!("it was told to stop by {who}"),
            (None, None) => "it stopped".to_owned(),
        };
        let run = LastRun {
            ended_at: Some(unix_ms()),
            end: Some(end),
            ..self.run.clone()
        };
        self.write(run).await;
    }

    async fn write(&self, run: LastRun) {
        let path = self.path.clone();
        let written = spawn_blocking(move || put(&path, &run)).await;
        if let Ok(Err(error)) = written {
            tracing::debug!("{} is not written: {}", self.path.display(), error.kind());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<&'static str>> {
        self.asked_by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn path(home: &Home) -> PathBuf {
    home.state_dir().join("last-run.json")
}

fn put(path: &Path, run: &LastRun) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        private_folder().create(folder)?;
    }
    let fresh = path.with_extension("json.new");
    let text = serde_json::to_vec(run).map_err(io::Error::other)?;
    let mut file = private_file()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&fresh)?;
    // Not synced: after a power cut it is only not known.
    file.write_all(&text)?;
    drop(file);
    fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_is_told_and_a_death_shows_by_its_absence() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path());
        assert_eq!(LastRun::of(&home), None);
        let record = RunRecord::begin(&home, Some("agent.log".into())).await;
        let run = LastRun::of(&home).unwrap();
        assert!(run.log_file.as_ref().unwrap().is_absolute());
        assert!(
            run.ended().ends_with("was killed, or the machine went down"),
            "{run:?}"
        );
        record.asked_by("a signal");
        record.asked_by("somebody later");
        record.end(None).await;
        let ended = LastRun::of(&home).unwrap().ended();
        assert!(ended.ends_with(": it was told to stop by a signal"), "{ended}");
        record.end(Some("no\u{1b}[2J disk")).await;
        let ended = LastRun::of(&home).unwrap().ended();
        assert!(ended.ends_with(": it could not go on: no [2J disk"), "{ended}");
        fs::write(path(&home), "{").unwrap();
        assert_eq!(LastRun::of(&home), None);
    }
}
