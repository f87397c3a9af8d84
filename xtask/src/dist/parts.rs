//! The texts that go into the packages of a program beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use askalf_e2e::workspace_root;

use super::build::Platform;
use super::{Program, Release, deb, licences, sbom};
use crate::pages;

/// Everything in the packages of a program but the program.
#[derive(Debug)]
pub(super) struct Parts {
    /// Units of systemd, by file name.
    pub units: BTreeMap<String, String>,
    /// The same, for archives: there the program stands under `/usr/local/bin`.
    pub archive_units: BTreeMap<String, String>,
    /// What administrators set, by the name of a file in `/etc/default`.
    pub defaults: BTreeMap<String, String>,
    /// System users; the first is the service's, whose home is kept.
    pub users: Vec<String>,
    /// Completions by file name.
    pub completions: BTreeMap<String, Vec<u8>>,
    /// Manual pages by file name.
    pub manual: BTreeMap<String, Vec<u8>>,
    /// What to do after the first installation of a package.
    pub next: String,
    pub install: String,
    pub copyright: String,
    pub changelog: String,
    /// One entry, in Debian's form, that leads to it.
    pub debian_changelog: String,
    pub apache: String,
    pub mit: String,
    pub licences: String,
    pub sbom: String,
    /// How a package of Debian is compressed.
    pub compression: &'static str,
}

/// As the control files name them.
const MAINTAINER: &str = "The askalf maintainers <maintainers@askalf.invalid>";

/// Files of both programs by name: what is made of their command lines.
#[derive(Debug)]
pub(super) struct Pages {
    manual: BTreeMap<String, Vec<u8>>,
    completions: BTreeMap<String, Vec<u8>>,
    /// The agent's.
    units: BTreeMap<String, Vec<u8>>,
}

impl Pages {
    pub(super) fn make() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [manual, completions, units] =
            ["man", "completions", "units"].map(|name| folder.path().join(name));
        pages::man(&manual)?;
        pages::completions(&completions)?;
        pages::units(&units)?;
        Ok(Self {
            manual: files(&manual)?,
            completions: files(&completions)?,
            units: files(&units)?,
        })
    }
}

fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        found.insert(
            entry.file_name().to_string_lossy().into_owned(),
            fs::read(entry.path())?,
        );
    }
    Ok(found)
}

/// Those of one program: what is named after it.
fn of_program(program: Program, files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let ours = |name: &str| name.trim_start_matches('_').starts_with(program.name());
    files
        .iter()
        .filter(|(name, _)| ours(name))
        .map(|(name, bytes)| (name.clone(), bytes.clone()))
        .collect()
}

/// Those of a program.
pub(super) fn of(program: Program, platform: Platform, release: &Release, pages: &Pages) -> Result<Parts> {
    let root = workspace_root()?;
    let read =
        |file: &str| fs::read_to_string(root.join(file)).with_context(|| format!("{file} cannot be read"));
    let name = program.name();
    let components = sbom::components(program, platform)?;
    let (mut units, mut archive_units, mut defaults) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut users = vec![name.to_owned()];
    match program {
        Program::Agent => {
            for (unit, text) in &pages.units {
                units.insert(unit.clone(), String::from_utf8(text.clone())?);
            }
            // Whom its tasks run as. In an archive the program makes users and units itself.
            users.push("askalf-task".to_owned());
        }
        Program::Bridge => {
            let unit = read("packaging/askalf-bridge.service")?;
            archive_units.insert(
                "askalf-bridge.service".to_owned(),
                unit.replace("/usr/bin/", "/usr/local/bin/"),
            );
            units.insert("askalf-bridge.service".to_owned(), unit);
            defaults.insert(name.to_owned(), read("packaging/askalf-bridge.default")?);
        }
    }
    Ok(Parts {
        units,
        archive_units,
        defaults,
        users,
        completions: of_program(program, &pages.completions),
        manual: of_program(program, &pages.manual),
        next: read(&format!("packaging/deb/{name}/next"))?,
        install: read(&match platform {
            Platform::Windows => format!("packaging/{name}.windows.txt"),
            Platform::Gnu | Platform::Musl => format!("packaging/{name}.linux.txt"),
        })?,
        copyright: copyright(&read("packaging/deb/copyright")?, &read("LICENSE-MIT")?),
        changelog: read("CHANGELOG.md")?,
        debian_changelog: debian_changelog(program, release)?,
        apache: read("LICENSE-APACHE")?,
        mit: read("LICENSE-MIT")?,
        licences: licences::text(program, platform, &components)?,
        sbom: sbom::text(program, &components, release)?,
        compression: "-Zxz",
    })
}

fn debian_changelog(program: Program, release: &Release) -> Result<String> {
    let time = jiff::Timestamp::from_second(i64::try_from(release.epoch)?)?;
    Ok(format!(
        "{} ({}) stable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- {MAINTAINER}  {}\n",
        program.name(),
        deb::version(&release.version),
        time.strftime("%a, %d %b %Y %H:%M:%S +0000")
    ))
}

/// The MIT licence in place, with a space before each line and a dot on empty ones, as Debian's format wants it.
fn copyright(template: &str, mit: &str) -> String {
    let lines = mit.trim().lines().map(|line| match line.trim() {
        "" => " .".to_owned(),
        line => format!(" {line}"),
    });
    template.replace("@MIT@", &lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_folded_as_debian_wants_it() {
        assert_eq!(
            copyright("License: MIT\n@MIT@\n", "a\n\nb\n"),
            "License: MIT\n a\n .\n b\n"
        );
    }

    #[test]
    fn the_entry_of_a_release_is_dated_by_it() {
        let release = Release {
            version: "1.2.0-rc.1".to_owned(),
            epoch: 1_700_000_000,
        };
        assert_eq!(
            debian_changelog(Program::Agent, &release).unwrap(),
            "askalf-agent (1.2.0~rc.1) stable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- \
             The askalf maintainers <maintainers@askalf.invalid>  Tue, 14 Nov 2023 22:13:20 +0000\n"
        );
    }
}
