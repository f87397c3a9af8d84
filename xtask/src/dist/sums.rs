//! `SHA256SUMS`: a line for each file, as `sha256sum --check` reads them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Its name.
pub(super) const FILE: &str = "SHA256SUMS";

/// Writes it for the files that are in the folder.
pub(super) fn write(folder: &Path) -> Result<()> {
    let mut text = String::new();
    for file in super::sorted_files(folder)? {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .context("a file without a name")?;
        writeln!(text, "{}  {name}", hex(&Sha256::digest(fs::read(&file)?)))?;
    }
    fs::write(folder.join(FILE), text)?;
    Ok(())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_usual_program_finds_them_right() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b"), "abc").unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        write(folder.path()).unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join(FILE)).unwrap(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n\
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b\n"
        );
        let checked = Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet", FILE])
            .current_dir(folder.path())
            .status()
            .unwrap();
        assert!(checked.success());
    }
}
