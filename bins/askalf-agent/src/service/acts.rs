//! What an install does, one act after the other: each is said as it is done, and only said by a dry run.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use askalf_cli::{ExitCode, Failure, in_plain_words, sync_folder_of};
use serde::Serialize;

use super::programs;

/// One act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Act {
    /// Stable name.
    pub act: &'static str,
    /// What it is about: a file, a command, a user.
    pub what: String,
    /// The text of a file that is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// False where everything was so already.
    pub changed: bool,
}

/// Does things to the system, or says what it would do.
#[derive(Debug)]
pub(crate) struct Acts {
    dry_run: bool,
    json: bool,
    done: Vec<Act>,
    notes: Vec<String>,
}

impl Acts {
    pub(crate) fn new(dry_run: bool, json: bool) -> Self {
        Self {
            dry_run,
            json,
            done: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// What was done, and what a person should know.
    pub(crate) fn into_parts(self) -> (Vec<Act>, Vec<String>) {
        (self.done, self.notes)
    }

    /// Something that a person should know at the end.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Says an act, and does it unless this is a dry run.
    pub(crate) fn act(
        &mut self,
        act: &'static str,
        what: impl Into<String>,
        doing: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.say(act, what.into(), None, true)?;
        if self.dry_run { Ok(()) } else { doing() }
    }

    /// Nothing is to be done here.
    pub(crate) fn unchanged(&mut self, act: &'static str, what: impl Into<String>) -> Result<(), Failure> {
        self.say(act, what.into(), None, false)
    }

    /// Writes a file that everybody may read, whole or not at all.
    pub(crate) fn write(&mut self, path: &Path, text: &str) -> Result<(), Failure> {
        self.write_with(path, text, 0o644)
    }

    /// Writes a script that everybody may read and run, whole or not at all.
    pub(crate) fn write_script(&mut self, path: &Path, text: &str) -> Result<(), Failure> {
        self.write_with(path, text, 0o755)
    }

    fn write_with(&mut self, path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
        let what = path.display().to_string();
        if fs::read_to_string(path).is_ok_and(|present| present == text) {
            return self.say("write", what, None, false);
        }
        self.say("write", what, Some(text.to_owned()), true)?;
        if self.dry_run {
            return Ok(());
        }
        replace(path, mode, |file| file.write_all(text.as_bytes()))
            .map_err(|error| cannot("written", path, &error))
    }

    /// Copies a program to where everybody finds it.
    pub(crate) fn copy_program(&mut self, from: &Path, to: &Path) -> Result<(), Failure> {
        let what = format!("{} to {}", from.display(), to.display());
        let read = || fs::read(from).map_err(|error| cannot("read", from, &error));
        if fs::read(to).ok() == Some(read()?) {
            return self.say("copy", what, None, false);
        }
        self.act("copy", what, || {
            let program = read()?;
            replace(to, 0o755, |file| file.write_all(&program)).map_err(|error| cannot("written", to, &error))
        })
    }

    /// Removes a file, where it is.
    pub(crate) fn remove(&mut self, path: &Path) -> Result<(), Failure> {
        if fs::symlink_metadata(path).is_err() {
            return Ok(());
        }
        self.act("remove", path.display().to_string(), || {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("removed", path, &error)),
                _ => Ok(()),
            }
        })
    }

    /// Runs a program to its end. `hint` says what to do where it fails.
    pub(crate) fn run(&mut self, program: &str, arguments: &[&str], hint: &str) -> Result<(), Failure> {
        self.act("run", programs::line(program, arguments), || {
            programs::succeed(program, arguments, hint)
        })
    }

    fn say(
        &mut self,
        act: &'static str,
        what: String,
        text: Option<String>,
        changed: bool,
    ) -> Result<(), Failure> {
        if !self.json {
            let mut line = match (changed, self.dry_run) {
                (false, _) => format!("{act} {what}: nothing to do\n"),
                (true, true) => format!("would {act} {what}\n"),
                (true, false) => format!("{act} {what}\n"),
            };
            if let Some(text) = text.as_deref().filter(|_| self.dry_run) {
                for text in text.lines() {
                    line.push_str("    ");
                    line.push_str(text);
                    line.push('\n');
                }
            }
            askalf_cli::print(&line).map_err(|error| {
                Failure::new(
                    ExitCode::Failed,
                    format!("nothing can be printed: {}", in_plain_words(&error)),
                )
            })?;
        }
        self.done.push(Act {
            act,
            what,
            text: text.filter(|_| self.dry_run),
            changed,
        });
        Ok(())
    }
}

/// Puts a new file in the place of `path`. On Windows the folder says who may do what.
#[cfg_attr(not(unix), allow(unused_variables, reason = "a mode is of Unix alone"))]
fn replace(path: &Path, mode: u32, fill: impl FnOnce(&mut fs::File) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut fresh_name = std::ffi::OsString::from(".");
    fresh_name.push(name);
    fresh_name.push(".new");
    let fresh = path.with_file_name(fresh_name);
    // What an install that was cut off left behind.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::File::create_new(&fresh)?;
    fill(&mut file)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    file.sync_all()?;
    drop(file);
    fs::rename(&fresh, path)?;
    sync_folder_of(path)
}

pub(crate) fn cannot(be: &str, path: &Path, error: &io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::PermissionDenied => ExitCode::Permission,
        _ => ExitCode::Failed,
    };
    Failure::new(
        code,
        format!("{} cannot be {be}: {}", path.display(), in_plain_words(error)),
    )
    .hint("the same command goes on where this one stopped")
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_dry_run_changes_nothing_and_tells_all() {
        let folder = tempfile::tempdir().unwrap();
        let unit = folder.path().join("a.service");
        let mut acts = Acts::new(true, true);
        acts.write(&unit, "text").unwrap();
        acts.act("run", "false", || panic!("this is a dry run")).unwrap();
        assert!(!unit.exists());
        let (done, _) = acts.into_parts();
        assert_eq!(done[0].text.as_deref(), Some("text"));
        assert_eq!(
            (done[1].act, done[1].what.as_str(), done[1].changed),
            ("run", "false", true)
        );
    }

    #[test]
    fn what_is_so_already_is_left_alone_and_what_is_torn_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let unit = folder.path().join("a.service");
        fs::write(folder.path().join(".a.service.new"), "torn").unwrap();
        let mut acts = Acts::new(false, true);
        acts.write(&unit, "text").unwrap();
        acts.write(&unit, "text").unwrap();
        assert_eq!(fs::read_to_string(&unit).unwrap(), "text");
        assert_eq!(fs::metadata(&unit).unwrap().permissions().mode() & 0o777, 0o644);
        acts.copy_program(&unit, &folder.path().join("bin/program"))
            .unwrap();
        let copied = fs::metadata(folder.path().join("bin/program")).unwrap();
        assert_eq!(copied.permissions().mode() & 0o777, 0o755);
        acts.remove(&unit).unwrap();
        acts.remove(&unit).unwrap();
        let (done, _) = acts.into_parts();
        let changed: Vec<bool> = done.iter().map(|act| act.changed).collect();
        assert_eq!(changed, [true, false, true, true]);
    }
}
