//! Everything that is in a root file system, to compare before and after.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;

/// What is not the packages' business: mounts, logs, caches, and the package manager's own records.
const LEFT_OUT: [&str; 11] = [
    "dev",
    "proc",
    "run",
    "sys",
    "tmp",
    "packages",
    "var/cache",
    "var/lib/dpkg",
    "var/lib/systemd/catalog",
    "var/log",
    "var/tmp",
];

/// A file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of a file; where a link leads.
    content: Vec<u8>,
}

/// Paths from the root, without a `/` in front.
pub(super) type Listing = BTreeMap<String, Seen>;

/// Lists what is there. Contents are kept of what packages may change: `etc` and `var`.
pub(super) fn of(root: &Path) -> Result<Listing> {
    let mut listing = Listing::new();
    below(root, "", &mut listing)?;
    Ok(listing)
}

fn below(folder: &Path, path: &str, listing: &mut Listing) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = if path.is_empty() {
            name.into_owned()
        } else {
            format!("{path}/{name}")
        };
        if LEFT_OUT.contains(&path.as_str()) {
            continue;
        }
        let facts = entry.path().symlink_metadata()?;
        let content = if facts.is_symlink() {
            fs::read_link(entry.path())?
                .to_string_lossy()
                .into_owned()
                .into_bytes()
        } else if facts.is_file() && (path.starts_with("etc/") || path.starts_with("var/")) {
            fs::read(entry.path())?
        } else {
            Vec::new()
        };
        if facts.is_dir() {
            below(&entry.path(), &path, listing)?;
        }
        listing.insert(
            path,
            Seen {
                mode: facts.mode(),
                uid: facts.uid(),
                gid: facts.gid(),
                content,
            },
        );
    }
    Ok(())
}

/// The paths that are only in the second one, and those that differ, with what was there before.
pub(super) fn added(before: &Listing, after: &Listing) -> Vec<String> {
    after
        .keys()
        .filter(|path| !before.contains_key(*path))
        .cloned()
        .collect()
}

/// The paths that are in both and are not the same.
pub(super) fn changed(before: &Listing, after: &Listing) -> Vec<String> {
    let differs = |(path, seen): &(&String, &Seen)| before.get(*path).is_some_and(|old| old != *seen);
    after
        .iter()
        .filter(differs)
        .map(|(path, _)| path.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_what_changed_is_told_apart() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/default")).unwrap();
        fs::create_dir_all(root.path().join("var/log")).unwrap();
        fs::write(root.path().join("etc/passwd"), "root").unwrap();
        let before = of(root.path()).unwrap();
        fs::write(root.path().join("etc/passwd"), "root, user").unwrap();
        fs::write(root.path().join("etc/default/x"), "").unwrap();
        fs::write(root.path().join("var/log/x"), "").unwrap();
        let after = of(root.path()).unwrap();
        assert_eq!(added(&before, &after), ["etc/default/x"]);
        assert_eq!(changed(&before, &after), ["etc/passwd"]);
        assert_eq!(added(&after, &before), Vec::<String>::new());
    }
}
