use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// How the rights that [`expose`] gives are told.
pub(crate) const EXPOSED: &str = "mode 0644";

/// Modification time and inode.
pub(crate) type Stat = (i64, i64, u64);

pub(crate) fn stat(facts: &fs::Metadata) -> Stat {
    (facts.mtime(), facts.mtime_nsec(), facts.ino())
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

pub(crate) fn make_private(path: &Path) {
    chmod(path, 0o600);
}

/// Lets everybody read it.
pub(crate) fn expose(path: &Path) {
    chmod(path, 0o644);
}

/// Fails unless nobody but the user has any right on a file or folder.
pub(crate) fn assert_private(path: &Path) {
    let expected = if path.is_dir() { 0o700 } else { 0o600 };
    assert_eq!(mode(path), expected, "{}", path.display());
}

/// How what a person is told to do with an exposed file begins.
pub(crate) fn private_hint(path: &str) -> String {
    format!("run `chmod 600 {path}`; if others may have read it, run `askalf-agent pair` with a new key too")
}
