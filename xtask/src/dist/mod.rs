//! `cargo xtask dist`: what a release consists of, in `target/dist`. The same commit gives the same bytes, whatever folder it is
//! built in: times are the commit's, paths are named after what they are, and files stand in the order of their names.

mod archives;
mod build;
mod contents;
mod deb;
mod key;
mod licences;
mod parts;
mod sbom;
mod sums;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use askalf_e2e::workspace_root;

use crate::{cargo, tools};
use build::Platform;
pub(crate) use contents::Program;

const USAGE: &str = "cargo xtask dist [--sign-key FILE] [--version-suffix TEXT] [--only deb|tarball|zip] [--out DIR] [--twice]\n   \
                     or: cargo xtask dist --new-key FILE";

/// What is made, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// The folder of the finished files; what was in it is removed.
    pub out: PathBuf,
    /// Signs the checksums.
    pub sign_key: Option<PathBuf>,
    /// Goes behind the version, for packages that only tests install.
    pub version_suffix: String,
    /// What is made, of [`Kind::ALL`].
    pub kinds: Vec<Kind>,
    /// Build everything a second time, in another folder, and compare.
    pub twice: bool,
    /// Take the programs of the development profile, which are built in a tenth of the time: for tests of what is around them.
    pub development: bool,
}

/// Something that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Packages of Debian, linked to its C library.
    Deb,
    /// Static programs for any Linux.
    Tarball,
    /// The agent for Windows.
    Zip,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Deb, Self::Tarball, Self::Zip];

    fn platform(self) -> Platform {
        match self {
            Self::Deb => Platform::Gnu,
            Self::Tarball => Platform::Musl,
            Self::Zip => Platform::Windows,
        }
    }
}

/// The release that is being made.
#[derive(Debug, Clone)]
struct Release {
    version: String,
    /// Seconds since 1970: the time of the commit, of every file in it and of the whole.
    epoch: u64,
}

/// Runs the task.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    if let ["--new-key", file] = arguments {
        return key::make(Path::new(file));
    }
    let options = options(arguments, &cargo::target_folder()?)?;
    let made = make(&options)?;
    for file in &made {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        println!("{:>10} {name}", fs::metadata(file)?.len());
    }
    println!("{} files in {}", made.len(), options.out.display());
    Ok(())
}

fn options(arguments: &[&str], target: &Path) -> Result<Options> {
    let mut options = Options {
        out: target.join("dist"),
        sign_key: None,
        version_suffix: String::new(),
        kinds: Vec::new(),
        twice: false,
        development: false,
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .copied()
                .with_context(|| format!("{word} needs a value\nusage: {USAGE}"))
        };
        match *word {
            "--sign-key" => options.sign_key = Some(value()?.into()),
            "--version-suffix" => options.version_suffix = value()?.to_owned(),
            "--out" => options.out = std::path::absolute(value()?)?,
            "--twice" => options.twice = true,
            "--only" => options.kinds.push(match value()? {
                "deb" => Kind::Deb,
                "tarball" => Kind::Tarball,
                "zip" => Kind::Zip,
                other => bail!("'{other}' is none of deb, tarball and zip"),
            }),
            other => bail!("'{other}' is not known here\nusage: {USAGE}"),
        }
    }
    if options.kinds.is_empty() {
        options.kinds = Kind::ALL.to_vec();
    }
    Ok(options)
}

/// Makes the release and yields its files, by name.
pub(crate) fn make(options: &Options) -> Result<Vec<PathBuf>> {
    require(&options.kinds)?;
    let folder = cargo::target_folder()?.join("dist-build");
    make_in(options, &folder)?;
    if options.twice {
        let other = tempfile::Builder::new().prefix("askalf-dist").tempdir()?;
        let again = Options {
            out: other.path().join("dist"),
            ..options.clone()
        };
        make_in(&again, &other.path().join("build"))?;
        compare(&options.out, &again.out)?;
        println!("built twice, in two folders: every byte is the same");
    }
    sorted_files(&options.out)
}

fn make_in(options: &Options, build_folder: &Path) -> Result<()> {
    let release = release(&options.version_suffix)?;
    if options.out.exists() {
        fs::remove_dir_all(&options.out)?;
    }
    fs::create_dir_all(&options.out)?;
    let pages = parts::Pages::make()?;
    for kind in &options.kinds {
        let platform = kind.platform();
        let built = match options.development {
            true => build::of_development(platform, build_folder)?,
            false => build::build(platform, build_folder, release.epoch)?,
        };
        for program in platform.programs() {
            let mut parts = parts::of(*program, platform, &release, &pages)?;
            if options.development {
                parts.compression = "-Znone";
            }
            let file = built.file(*program);
            match kind {
                Kind::Deb => deb::make(*program, &file, &parts, &release, &options.out)?,
                Kind::Tarball => archives::tarball(*program, &file, &parts, &release, &options.out)?,
                Kind::Zip => archives::zip(*program, &file, &parts, &release, &options.out)?,
            }
            let name = format!(
                "{}-{}-{}.cdx.json",
                program.name(),
                release.version,
                platform.name()?
            );
            fs::write(options.out.join(name), &parts.sbom)?;
        }
    }
    sums::write(&options.out)?;
    if let Some(file) = &options.sign_key {
        key::sign(file, &options.out)?;
    }
    Ok(())
}

fn release(suffix: &str) -> Result<Release> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+.~".contains(c);
    ensure!(
        suffix.chars().all(allowed),
        "a suffix of a version has letters, digits, '+', '.' and '~'"
    );
    let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(epoch) => epoch,
        Err(_) => output(
            Command::new("git")
                .args(["log", "-1", "--format=%ct"])
                .current_dir(workspace_root()?),
        )
        .context("outside a clone, name the time of the release with SOURCE_DATE_EPOCH")?,
    };
    Ok(Release {
        version: format!("{}{suffix}", env!("CARGO_PKG_VERSION")),
        epoch: epoch
            .trim()
            .parse()
            .context("SOURCE_DATE_EPOCH is not a number of seconds")?,
    })
}

fn require(kinds: &[Kind]) -> Result<()> {
    let mut needed = vec![tools::c_compiler(), tools::git()];
    for kind in kinds {
        match kind {
            Kind::Deb => needed.extend(tools::deb()),
            Kind::Tarball => needed.extend(tools::musl()),
            Kind::Zip => needed.extend(tools::windows().into_iter().chain([tools::zip()])),
        }
    }
    tools::require(&needed)
}

fn compare(one: &Path, other: &Path) -> Result<()> {
    let names = |folder: &Path| -> Result<Vec<_>> {
        Ok(sorted_files(folder)?
            .iter()
            .filter_map(|file| file.file_name().map(ToOwned::to_owned))
            .collect())
    };
    ensure!(names(one)? == names(other)?, "two builds made different files");
    for name in names(one)? {
        ensure!(
            fs::read(one.join(&name))? == fs::read(other.join(&name))?,
            "{} differs between two builds",
            name.display()
        );
    }
    Ok(())
}

fn sorted_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

/// Runs a command to its end, however long that takes, and yields what it prints; an error shows what it said.
fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} cannot be run"))?;
    ensure!(
        output.status.success(),
        "{name} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_is_made_is_chosen_and_everything_where_nothing_is() {
        let options = |words: &[&str]| options(words, Path::new("/target"));
        let chosen = options(&["--only", "deb", "--only", "zip", "--version-suffix", "+t1"]).unwrap();
        assert_eq!(chosen.kinds, [Kind::Deb, Kind::Zip]);
        assert_eq!(
            (chosen.version_suffix.as_str(), chosen.out.as_path()),
            ("+t1", Path::new("/target/dist"))
        );
        assert_eq!(options(&[]).unwrap().kinds, Kind::ALL);
        let error = options(&["--only", "rpm"]).unwrap_err().to_string();
        assert_eq!(error, "'rpm' is none of deb, tarball and zip");
        assert!(
            options(&["--sign-key"])
                .unwrap_err()
                .to_string()
                .starts_with("--sign-key needs a value")
        );
    }

    #[test]
    fn a_suffix_does_not_leave_the_version() {
        assert!(release("/../x").is_err());
    }

    /// Parts with a file of each kind.
    fn parts() -> parts::Parts {
        let one = |name: &str| BTreeMap::from([(name.to_owned(), name.to_owned())]);
        let bytes = |name: &str| BTreeMap::from([(name.to_owned(), name.as_bytes().to_vec())]);
        parts::Parts {
            units: one("askalf-agent.service"),
            archive_units: one("askalf-agent.service"),
            defaults: one("askalf-agent"),
            users: vec!["askalf-agent".to_owned()],
            completions: bytes("askalf-agent.bash"),
            manual: bytes("askalf-agent.1"),
            next: "    echo next".to_owned(),
            install: "install".to_owned(),
            copyright: "copyright".to_owned(),
            changelog: "changelog".to_owned(),
            debian_changelog: "entry".to_owned(),
            apache: "apache".to_owned(),
            mit: "mit".to_owned(),
            licences: "licences".to_owned(),
            sbom: "{}".to_owned(),
            compression: "-Zxz",
        }
    }

    #[test]
    fn the_same_release_packs_to_the_same_bytes_in_any_folder_and_at_any_time() {
        if let Err(error) =
            tools::missing_of(&tools::deb().into_iter().chain([tools::zip()]).collect::<Vec<_>>())
        {
            println!("not run: packing twice: {error:#}");
            return;
        }
        let release = Release {
            version: "1.2.3".to_owned(),
            epoch: 1_700_000_000,
        };
        let pack = |program: &Path| {
            let out = tempfile::tempdir().unwrap();
            let agent = Program::Agent;
            deb::make(agent, program, &parts(), &release, out.path()).unwrap();
            archives::tarball(agent, program, &parts(), &release, out.path()).unwrap();
            archives::zip(agent, program, &parts(), &release, out.path()).unwrap();
            sums::write(out.path()).unwrap();
            out
        };
        let one = pack(Path::new("/bin/true"));
        // Copied in another second, by another name, with another mode and time.
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy");
        fs::write(&copy, fs::read("/bin/true").unwrap()).unwrap();
        let other = pack(&copy);
        compare(one.path(), other.path()).unwrap();
        let names: Vec<_> = sorted_files(one.path()).unwrap();
        assert_eq!(names.len(), 4, "{names:?}");

        fs::write(other.path().join(sums::FILE), "").unwrap();
        let error = compare(one.path(), other.path()).unwrap_err().to_string();
        assert_eq!(error, "SHA256SUMS differs between two builds");
    }
}
