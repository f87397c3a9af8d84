//! Files as they stand in a package, before they are packed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

/// Where the content of a file comes from.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Copy(PathBuf),
    Bytes(Vec<u8>),
}

impl Content {
    pub(super) fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }

    /// Compressed, without name and time.
    pub(super) fn gzip(bytes: &[u8]) -> Result<Self> {
        let mut child = Command::new("gzip")
            .args(["-9", "--no-name"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("gzip cannot be run")?;
        let mut input = child.stdin.take().context("no input of gzip")?;
        // It reads and writes at once: neither waits for the other.
        let output = std::thread::scope(|scope| {
            let writing = scope.spawn(move || input.write_all(bytes));
            let output = child.wait_with_output();
            match writing.join() {
                Ok(written) => written.and(output),
                Err(_) => Err(std::io::ErrorKind::Other.into()),
            }
        })?;
        ensure!(output.status.success(), "gzip failed");
        Ok(Self::Bytes(output.stdout))
    }
}

/// Files by their path, without a `/` in front.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, (u32, Content)>,
}

impl Tree {
    pub(super) fn file(&mut self, path: &str, content: Content) {
        self.files.insert(path.to_owned(), (0o644, content));
    }

    pub(super) fn program(&mut self, path: &str, content: Content) {
        self.files.insert(path.to_owned(), (0o755, content));
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Writes them under a folder, each with its mode; every file and folder gets the time.
    pub(super) fn lay(&self, folder: &Path, epoch: u64) -> Result<()> {
        fs::create_dir_all(folder)?;
        for (path, (mode, content)) in &self.files {
            let file = folder.join(path);
            if let Some(parent) = file.parent() {
                fs::create_dir_all(parent)?;
            }
            match content {
                Content::Copy(from) => {
                    fs::copy(from, &file).with_context(|| format!("{} cannot be copied", from.display()))?;
                }
                Content::Bytes(bytes) => fs::write(&file, bytes)?,
            }
            fs::set_permissions(&file, fs::Permissions::from_mode(*mode))?;
        }
        settle(folder, epoch)
    }
}

/// Gives a folder and all below it the time, and folders a mode that does not depend on who builds.
fn settle(folder: &Path, epoch: u64) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            settle(&path, epoch)?;
        } else {
            set_time(&path, epoch)?;
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    set_time(folder, epoch)
}

fn set_time(path: &Path, epoch: u64) -> Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch);
    File::open(path)?.set_modified(time)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn every_file_and_folder_has_its_mode_and_the_one_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        tree.program("usr/bin/a", Content::text("#!/bin/sh\n"));
        tree.file("usr/share/b", Content::text("b"));
        tree.lay(folder.path(), 1_000).unwrap();
        let seen = |path: &str| {
            let metadata = folder.path().join(path).metadata().unwrap();
            (metadata.mode() & 0o7777, metadata.mtime())
        };
        assert_eq!(seen("usr/bin/a"), (0o755, 1_000));
        assert_eq!(seen("usr/share/b"), (0o644, 1_000));
        assert_eq!(seen("usr/share"), (0o755, 1_000));
        assert_eq!(seen(""), (0o755, 1_000));
        assert_eq!(tree.paths().collect::<Vec<_>>(), ["usr/bin/a", "usr/share/b"]);
    }

    #[test]
    fn what_is_compressed_is_the_same_at_any_time_and_larger_than_a_pipe_holds() {
        let text: Vec<u8> = (0..300_000_u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        let Content::Bytes(packed) = Content::gzip(&text).unwrap() else {
            panic!("compressed content is not in memory");
        };
        assert_eq!(packed[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3]);
        assert!(packed.len() > 200_000);
    }
}
