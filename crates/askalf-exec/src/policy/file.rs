//! The policy file on the disk.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Policy;

/// Largest policy file, in bytes.
pub const MAX_POLICY_BYTES: usize = 256 * 1024;

/// Why there is no policy to go by. No task runs then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read; the text says why.
    #[error("policy.json cannot be read: {0}")]
    Unreadable(String),
    /// It is no regular file.
    #[error("policy.json is not a file")]
    NotAFile,
    /// Others than its owner may write to it, or it belongs to another user.
    #[error("policy.json may be changed by other users than the agent's own and root")]
    Exposed,
    /// It is too large.
    #[error("policy.json is larger than {MAX_POLICY_BYTES} bytes")]
    TooLarge,
    /// It was there when the agent looked last, and is not any more.
    #[error("policy.json is gone")]
    Gone,
    /// What is in it is no policy.
    #[error("policy.json, line {line}, column {column}: {problem}")]
    Invalid {
        /// From 1; 0 where the problem has no place.
        line: usize,
        /// From 1; 0 at the beginning of a line.
        column: usize,
        /// What is wrong.
        problem: String,
    },
    /// A field of an older file cannot be taken over.
    #[error("policy.json, field {field}: {problem}")]
    Older {
        /// The field.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl PolicyError {
    pub(super) fn older(field: &'static str, problem: String) -> Self {
        Self::Older { field, problem }
    }

    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "policy-unreadable",
            Self::NotAFile => "policy-not-a-file",
            Self::Exposed => "policy-exposed",
            Self::TooLarge => "policy-too-large",
            Self::Gone => "policy-gone",
            Self::Invalid { .. } | Self::Older { .. } => "policy-invalid",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => {
                "check owner and mode of the file: the agent's user must be able to read it"
            }
            Self::NotAFile => "put a file in its place, or remove it",
            Self::Exposed => "give it to the agent's user or to root, and run 'chmod go-w' on it",
            Self::TooLarge => "use fewer rules: a '*' in a pattern stands for anything",
            Self::Gone => {
                "put it back; to allow everything write {\"version\": 1, \"default\": \"allow\"}, or restart the agent without it"
            }
            Self::Invalid { .. } | Self::Older { .. } => "mend the file, then see 'askalf-agent policy'",
        }
    }
}

/// `policy.json`, read anew for each task.
#[derive(Debug)]
pub struct PolicyFile {
    path: PathBuf,
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    /// There was something in its place.
    seen: bool,
    read: Option<(Vec<u8>, Arc<Policy>)>,
}

impl PolicyFile {
    /// The file at this path, whether or not there is one. Whether there is, is looked at now: one that goes before the first task
    /// is gone, too.
    pub fn new(path: PathBuf) -> Self {
        let never_was =
            matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
        let last = Last {
            seen: !never_was,
            read: None,
        };
        Self {
            path,
            last: Mutex::new(last),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The policy that holds now: that of the file, or [`Policy::built_in`] where there never was one.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`PolicyError`]: then nothing is allowed. A file that was there and is gone is one of them: an editor may be about to write
    /// it anew.
    pub fn current(&self) -> Result<Arc<Policy>, PolicyError> {
        let text = read(&self.path);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // What cannot be read was there all the same.
        last.seen |= !matches!(text, Ok(None));
        let Some(text) = text? else {
            return if last.seen {
                Err(PolicyError::Gone)
            } else {
                Ok(Arc::new(Policy::built_in()))
            };
        };
        if let Some((known, policy)) = &last.read
            && *known == text
        {
            return Ok(Arc::clone(policy));
        }
        let policy = Arc::new(Policy::parse(&text)?);
        last.read = Some((text, Arc::clone(&policy)));
        Ok(policy)
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, PolicyError> {
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link that leads nowhere is not the same as no file.
            return match path.symlink_metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                _ => Err(unreadable(&error)),
            };
        }
        Err(error) => return Err(unreadable(&error)),
    };
    let facts = file.metadata().map_err(|error| unreadable(&error))?;
    if !facts.is_file() {
        return Err(PolicyError::NotAFile);
    }
    if exposed(&facts) {
        return Err(PolicyError::Exposed);
    }
    let mut text = Vec::new();
    let most = u64::try_from(MAX_POLICY_BYTES).unwrap_or(u64::MAX);
    file.take(most + 1)
        .read_to_end(&mut text)
        .map_err(|error| unreadable(&error))?;
    if text.len() > MAX_POLICY_BYTES {
        return Err(PolicyError::TooLarge);
    }
    Ok(Some(text))
}

fn unreadable(error: &io::Error) -> PolicyError {
    PolicyError::Unreadable(crate::plain_io::text(error))
}

#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    // A pipe in the file's place must not hold the reader.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(unix)]
fn exposed(facts: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;

    let foreign = ![0, rustix::process::geteuid().as_raw()].contains(&facts.uid());
    foreign || facts.mode() & 0o022 != 0
}

/// The folder's access list keeps others out.
#[cfg(not(unix))]
fn exposed(_facts: &std::fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Effect;

    fn scratch() -> (tempfile::TempDir, PolicyFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = PolicyFile::new(folder.path().join("policy.json"));
        (folder, file)
    }

    fn write(file: &PolicyFile, text: &str) {
        std::fs::write(file.path(), text).unwrap();
    }

    #[test]
    fn no_file_allows_and_a_change_counts_at_once() {
        let (_folder, file) = scratch();
        assert_eq!(*file.current().unwrap(), Policy::built_in());
        write(&file, r#"{"version":1,"default":"deny"}"#);
        assert_eq!(file.current().unwrap().default_effect(), Effect::Deny);
        // As long as before, and within the same tick of the clock.
        write(&file, r#"{"version":1,"default":"ask" }"#);
        assert_eq!(file.current().unwrap().default_effect(), Effect::Ask);
        write(&file, "{");
        assert_eq!(file.current().unwrap_err().id(), "policy-invalid");
        std::fs::remove_file(file.path()).unwrap();
        assert_eq!(file.current(), Err(PolicyError::Gone));
    }

    #[test]
    fn a_file_that_goes_before_the_first_task_is_gone() {
        let (_folder, file) = scratch();
        write(&file, r#"{"version":1,"default":"deny"}"#);
        let started = PolicyFile::new(file.path().to_owned());
        std::fs::remove_file(file.path()).unwrap();
        assert_eq!(started.current(), Err(PolicyError::Gone));
    }

    #[test]
    fn a_file_that_could_not_be_read_and_goes_opens_nothing() {
        let (_folder, file) = scratch();
        std::fs::create_dir(file.path()).unwrap();
        assert!(file.current().is_err());
        std::fs::remove_dir(file.path()).unwrap();
        assert_eq!(file.current(), Err(PolicyError::Gone));
    }

    #[test]
    fn what_is_in_the_way_of_the_file_is_not_no_file() {
        let (_folder, file) = scratch();
        std::fs::create_dir(file.path()).unwrap();
        let error = file.current().unwrap_err();
        assert!(
            ["policy-not-a-file", "policy-unreadable"].contains(&error.id()),
            "{error}"
        );
        std::fs::remove_dir(file.path()).unwrap();
        write(&file, &" ".repeat(MAX_POLICY_BYTES + 1));
        assert_eq!(file.current(), Err(PolicyError::TooLarge));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_write_a_broken_link_and_a_pipe_are_refused() {
        use std::os::unix::fs::PermissionsExt;

        let (folder, file) = scratch();
        write(&file, r#"{"version":1,"default":"allow"}"#);
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o664)).unwrap();
        assert_eq!(file.current(), Err(PolicyError::Exposed));
        std::fs::remove_file(file.path()).unwrap();
        std::os::unix::fs::symlink(folder.path().join("nowhere"), file.path()).unwrap();
        assert_eq!(file.current().unwrap_err().id(), "policy-unreadable");
        std::fs::remove_file(file.path()).unwrap();
        let pipe = std::process::Command::new("mkfifo")
            .arg(file.path())
            .status()
            .unwrap();
        assert!(pipe.success());
        assert_eq!(file.current(), Err(PolicyError::NotAFile));
    }
}
