//! `cargo xtask test-packages`: the packages of a release, installed, upgraded, removed and purged in a Debian of their own, with
//! what is there before and after; the archives unpacked and run.

mod archives;
mod booted;
mod installed;
mod listing;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::dist::{self, Kind, Options};
use crate::{cargo, rootfs, tools};

/// Two versions of everything.
#[derive(Debug)]
pub(crate) struct Made {
    first: Vec<PathBuf>,
    second: Vec<PathBuf>,
    /// The public half of the key that they are signed with.
    public_key: PathBuf,
}

impl Made {
    fn find(files: &[PathBuf], begin: &str, end: &str) -> Result<PathBuf> {
        let fits = |file: &&PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(begin) && name.ends_with(end)
        };
        files
            .iter()
            .find(fits)
            .cloned()
            .with_context(|| format!("no {begin}...{end} was made"))
    }

    /// A file of the first version.
    fn one(&self, begin: &str, end: &str) -> Result<PathBuf> {
        Self::find(&self.first, begin, end)
    }

    /// Both packages of the version before, and of the one after.
    fn debs(&self) -> Result<[[PathBuf; 2]; 2]> {
        let both = |files: &[PathBuf]| -> Result<[PathBuf; 2]> {
            Ok([
                Self::find(files, "askalf-agent_", ".deb")?,
                Self::find(files, "askalf-bridge_", ".deb")?,
            ])
        };
        Ok([both(&self.first)?, both(&self.second)?])
    }
}

/// Runs the task: everything, or the parts that are named. With `--dev` the packages hold programs of the development profile.
pub(crate) fn test(arguments: &[&str]) -> Result<()> {
    const PARTS: [&str; 3] = ["debs", "booted", "archives"];
    let (flags, arguments): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|word| **word == "--dev");
    let development = !flags.is_empty();
    let arguments = match (development, arguments.is_empty()) {
        // Archives are for systems that have nothing of this one's.
        (true, true) => vec!["debs", "booted"],
        _ => arguments,
    };
    if let Some(other) = arguments.iter().find(|part| !PARTS.contains(*part)) {
        bail!("'{other}' is none of {}", PARTS.join(", "));
    }
    let wanted = |part: &str| arguments.is_empty() || arguments.contains(&part);
    ensure!(
        tools::is_root(),
        "packages are installed by root: run this as root"
    );
    let mut needed = rootfs::tools();
    if wanted("archives") {
        needed.extend([tools::wine(), tools::unzip(), tools::openssl_program()]);
    }
    tools::require(&needed)?;

    let made = make(wanted("archives"), development)?;
    sizes(&made.first)?;
    if wanted("debs") {
        println!("\nPackages, in a Debian that is not booted:");
        installed::test(&made)?;
    }
    if wanted("archives") {
        println!("\nArchives:");
        archives::test(&made)?;
    }
    if wanted("booted") {
        println!("\nPackages, in a Debian that boots:");
        booted::test(&made)?;
    }
    Ok(())
}

/// Makes two versions of the packages, and the archives of the first, signed.
fn make(archives: bool, development: bool) -> Result<Made> {
    let folder = cargo::target_folder()?.join("test-packages");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let key = folder.join("release.key");
    let key_text = key.to_str().context("the target folder's name is not UTF-8")?;
    dist::run(&["--new-key", key_text])?;
    let options = |name: &str, kinds: &[Kind]| Options {
        out: folder.join(name),
        sign_key: Some(key.clone()),
        version_suffix: if name == "first" {
            String::new()
        } else {
            "+t2".to_owned()
        },
        kinds: kinds.to_vec(),
        twice: false,
        development,
    };
    let kinds: &[Kind] = if archives { &Kind::ALL } else { &[Kind::Deb] };
    Ok(Made {
        first: dist::make(&options("first", kinds))?,
        second: dist::make(&options("second", &[Kind::Deb]))?,
        public_key: folder.join("release.key.pub"),
    })
}

fn sizes(files: &[PathBuf]) -> Result<()> {
    for file in files {
        let kib = fs::metadata(file)?.len().div_ceil(1024);
        println!("{kib:>8} KiB  {}", name(file));
    }
    Ok(())
}

fn name(file: &Path) -> String {
    file.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn say(text: &str) {
    println!("   {text}");
}
