//! A disk of a few mebibytes that a test can fill: a mount in memory.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A mounted disk; gone when this is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// A disk of so many bytes; `None` where the system lets this user mount nothing.
    ///
    /// # Errors
    /// No folder can be made to mount it on.
    pub fn mount(bytes: usize) -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={bytes},mode=0700"),
                "askalf-test",
            ])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        Ok(mounted
            .is_ok_and(|status| status.success())
            .then_some(Self { folder }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills it to the last byte.
    ///
    /// # Errors
    /// It does not get full.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::create(self.filler())?;
        for chunk in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![0; chunk]).is_ok() {
                let size = file.metadata()?.len();
                ensure!(size < 1 << 30, "the disk has no end");
            }
        }
        Ok(())
    }

    /// Gives free what filled it.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("the disk was not full")
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what a test left open must not keep it for ever.
        let _gone = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}
