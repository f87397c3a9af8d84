use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A failed call on a file, in words that a person can read.
///
/// `Display` is one clause, such as `cannot open /home/a/.askalf/keyfile: permission denied`. It holds no error number
/// and nothing of what the file contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoFault {
    action: &'static str,
    path: PathBuf,
    kind: io::ErrorKind,
    code: Option<i32>,
    reason: String,
}

impl IoFault {
    pub(crate) fn new(action: &'static str, path: &Path, error: &io::Error) -> Self {
        Self {
            action,
            path: path.to_path_buf(),
            kind: error.kind(),
            code: error.raw_os_error(),
            reason: plain_reason(error),
        }
    }

    /// The file or folder that the call was made on.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The class of the error, for a program.
    pub fn kind(&self) -> io::ErrorKind {
        self.kind
    }

    /// The operating system's number of the error, for a log: never for a person.
    pub fn os_code(&self) -> Option<i32> {
        self.code
    }

    /// Whether the caller lacks a right that another user or another mount would have.
    pub fn is_permission(&self) -> bool {
        matches!(
            self.kind,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
        )
    }

    /// Whether the disk or the quota is full.
    pub fn is_full(&self) -> bool {
        matches!(
            self.kind,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }

    /// Whether another program has the file open in a way that keeps ours out, which only Windows does.
    fn is_held(&self) -> bool {
        // ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION
        cfg!(windows) && matches!(self.code, Some(32 | 33))
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        if self.is_full() {
            return "free some space on that disk, then run the command again".into();
        }
        if self.is_held() {
            return "another program holds that file: close it, or exempt the folder from its scans, then run the command again"
                .into();
        }
        match self.kind {
            io::ErrorKind::PermissionDenied if cfg!(windows) => {
                "run the command as the user that owns the folder, or correct its owner and permissions"
                    .into()
            }
            io::ErrorKind::PermissionDenied => {
                "run the command as the user that owns the folder, or correct its owner and mode".into()
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                "mount that disk for writing, then run the command again".into()
            }
            _ => "check that disk and folder, then run the command again".into(),
        }
    }
}

impl fmt::Display for IoFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot {} {}: {}",
            self.action,
            self.path.display(),
            self.reason
        )
    }
}

impl std::error::Error for IoFault {}

/// The error's text in lower case, without the number that std appends and the full stop that Windows puts before it.
fn plain_reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.trim_end_matches('.').chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => "unknown error".into(),
    }
}

/// A path as it can be pasted into a POSIX shell; on Windows into its two shells.
pub(crate) fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let signs = if cfg!(windows) { r"\._-+:" } else { "/._-+@%:," };
    let plain = |c: char| c.is_ascii_alphanumeric() || signs.contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else if cfg!(windows) {
        // No name of Windows holds such a quote.
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(windows)]
    #[test]
    fn a_fault_reads_as_words_without_a_number() {
        let fault = IoFault::new("open", Path::new(r"C:\keyfile"), &io::Error::from_raw_os_error(5));
        let text = fault.to_string();
        assert!(text.starts_with(r"cannot open C:\keyfile: access "), "{text}");
        assert!(!text.contains("os error") && !text.ends_with('.'), "{text}");
        assert!(fault.is_permission());
        let held = IoFault::new(
            "open",
            Path::new(r"C:\keyfile"),
            &io::Error::from_raw_os_error(32),
        );
        assert!(
            held.hint().starts_with("another program holds that file"),
            "{}",
            held.hint()
        );
    }

    #[cfg(windows)]
    #[test]
    fn a_shell_word_is_quoted_only_where_it_must_be() {
        assert_eq!(
            shell_word(Path::new(r"C:\Users\a\keyfile")),
            r"C:\Users\a\keyfile"
        );
        assert_eq!(shell_word(Path::new(r"C:\a b\it's")), r#""C:\a b\it's""#);
    }

    #[cfg(unix)]
    #[test]
    fn a_fault_reads_as_words_without_a_number() {
        let fault = IoFault::new("open", Path::new("/x/keyfile"), &io::Error::from_raw_os_error(13));
        assert_eq!(fault.to_string(), "cannot open /x/keyfile: permission denied");
        assert_eq!(fault.os_code(), Some(13));
        assert!(fault.is_permission());
    }

    #[cfg(unix)]
    #[test]
    fn each_kind_has_its_class_and_its_remedy() {
        use io::ErrorKind::*;
        for (kind, is_permission, is_full, remedy) in [
            (PermissionDenied, true, false, "as the user that owns the folder"),
            (ReadOnlyFilesystem, true, false, "mount that disk for writing"),
            (StorageFull, false, true, "free some space"),
            (QuotaExceeded, false, true, "free some space"),
            (NotFound, false, false, "check that disk and folder"),
        ] {
            let fault = IoFault::new("open", Path::new("/x/keyfile"), &kind.into());
            assert_eq!(
                (fault.is_permission(), fault.is_full()),
                (is_permission, is_full),
                "{kind}"
            );
            assert!(fault.hint().contains(remedy), "{kind}: {}", fault.hint());
        }
        // A number that means a file held by another program elsewhere.
        let pipe = IoFault::new("write", Path::new("/x"), &io::Error::from_raw_os_error(32));
        assert!(pipe.hint().starts_with("check that disk"), "{}", pipe.hint());
    }

    #[cfg(unix)]
    #[test]
    fn a_shell_word_is_quoted_only_where_it_must_be() {
        assert_eq!(
            shell_word(Path::new("/home/a/.askalf/keyfile")),
            "/home/a/.askalf/keyfile"
        );
        assert_eq!(shell_word(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
