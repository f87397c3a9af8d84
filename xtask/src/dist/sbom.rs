//! What a program consists of, as CycloneDX 1.6 lists it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use askalf_e2e::workspace_root;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::build::Platform;
use super::{Program, Release, sums};
use crate::cargo;

/// A part of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Component {
    pub name: String,
    pub version: String,
    /// SPDX expression; empty where none is named.
    pub licence: String,
    pub repository: Option<String>,
    /// The folder of its source.
    pub folder: PathBuf,
    /// Of its archive in the registry; ours have none.
    pub sha256: Option<String>,
    /// Package URLs of those that it uses.
    pub uses: BTreeSet<String>,
}

impl Component {
    /// Its package URL, which is also its reference.
    pub(super) fn url(&self) -> String {
        match self.name.as_str() {
            "sqlite" => format!("pkg:generic/sqlite@{}", self.version),
            name => format!("pkg:cargo/{name}@{}", self.version),
        }
    }
}

/// Every crate that is compiled into the program or runs while it is compiled as a macro, the program first; and the C library that
/// one of them brings. Tests and build scripts are not in it.
pub(super) fn components(program: Program, platform: Platform) -> Result<Vec<Component>> {
    let triple = platform.triple()?;
    let wanted = tree(program, &triple)?;
    let metadata = cargo_output(&[
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        &triple,
    ])?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata")?;
    let checksums = checksums(&fs::read_to_string(workspace_root()?.join("Cargo.lock"))?);
    let mut found = select(&metadata, &wanted, &checksums)?;
    add_sqlite(&mut found)?;
    let (first, mut rest): (Vec<_>, Vec<_>) = found.into_iter().partition(|it| it.name == program.name());
    rest.splice(0..0, first);
    Ok(rest)
}

/// Name and version of what `cargo tree` lists.
fn tree(program: Program, triple: &str) -> Result<BTreeSet<(String, String)>> {
    let listed = cargo_output(&[
        "tree",
        "--locked",
        "--package",
        program.name(),
        "--edges",
        "normal",
        "--target",
        triple,
        "--prefix",
        "none",
        "--format",
        "{p}",
    ])?;
    let pair = |line: &str| {
        let mut words = line.split_whitespace();
        Some((
            words.next()?.to_owned(),
            words.next()?.strip_prefix('v')?.to_owned(),
        ))
    };
    Ok(listed.lines().filter_map(pair).collect())
}

fn cargo_output(arguments: &[&str]) -> Result<String> {
    let output = cargo::cargo(arguments)?
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo cannot be run")?;
    if !output.status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |block: &str, name: &str| {
        let line = block
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
        Some(line.trim_matches('"').to_owned())
    };
    lock.split("[[package]]")
        .filter_map(|block| {
            Some((
                (value(block, "name")?, value(block, "version")?),
                value(block, "checksum")?,
            ))
        })
        .collect()
}

fn select(
    metadata: &Value,
    wanted: &BTreeSet<(String, String)>,
    checksums: &BTreeMap<(String, String), String>,
) -> Result<Vec<Component>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut by_id = BTreeMap::new();
    for package in metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?
    {
        let name = text(&package["name"]).context("a package without a name")?;
        let version = text(&package["version"]).context("a package without a version")?;
        let key = (name.clone(), version.clone());
        if !wanted.contains(&key) {
            continue;
        }
        let manifest = PathBuf::from(text(&package["manifest_path"]).context("a package without a folder")?);
        let id = text(&package["id"]).context("a package without an id")?;
        by_id.insert(
            id,
            Component {
                name,
                version,
                licence: text(&package["license"]).unwrap_or_default().replace('/', " OR "),
                repository: text(&package["repository"]),
                folder: manifest.parent().map(PathBuf::from).unwrap_or_default(),
                sha256: checksums.get(&key).cloned(),
                uses: BTreeSet::new(),
            },
        );
    }
    let urls: BTreeMap<String, String> = by_id
        .iter()
        .map(|(id, component)| (id.clone(), component.url()))
        .collect();
    for node in metadata["resolve"]["nodes"]
        .as_array()
        .context("cargo metadata resolves nothing")?
    {
        let Some(component) = node["id"].as_str().and_then(|id| by_id.get_mut(id)) else {
            continue;
        };
        for dependency in node["deps"].as_array().into_iter().flatten() {
            let normal = dependency["dep_kinds"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()));
            if normal && let Some(url) = dependency["pkg"].as_str().and_then(|id| urls.get(id)) {
                component.uses.insert(url.clone());
            }
        }
    }
    let mut found: Vec<Component> = by_id.into_values().collect();
    found.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    Ok(found)
}

/// The database's own source is compiled in by the crate that wraps it.
fn add_sqlite(found: &mut Vec<Component>) -> Result<()> {
    let Some(wrapper) = found.iter_mut().find(|it| it.name == "libsqlite3-sys") else {
        return Ok(());
    };
    let header = fs::read_to_string(wrapper.folder.join("sqlite3/sqlite3.h"))?;
    let version = header
        .lines()
        .find_map(|line| {
            line.strip_prefix("#define SQLITE_VERSION ")?
                .trim()
                .trim_matches('"')
                .to_owned()
                .into()
        })
        .context("SQLite's header names no version")?;
    let sqlite = Component {
        name: "sqlite".to_owned(),
        version,
        licence: "blessing".to_owned(),
        repository: Some("https://sqlite.org/src".to_owned()),
        folder: wrapper.folder.join("sqlite3"),
        sha256: None,
        uses: BTreeSet::new(),
    };
    wrapper.uses.insert(sqlite.url());
    found.push(sqlite);
    Ok(())
}

/// The document.
pub(super) fn text(program: Program, components: &[Component], release: &Release) -> Result<String> {
    let seconds = i64::try_from(release.epoch)?;
    let time = jiff::Timestamp::from_second(seconds)?;
    let (itself, rest) = components.split_first().context("a program without components")?;
    let mut described = describe(itself);
    described["type"] = "application".into();
    described["version"] = release.version.clone().into();
    described["description"] = program.summary().into();
    let mut document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time.to_string(),
            "lifecycles": [{"phase": "build"}],
            "component": described,
        },
        "components": rest.iter().map(describe).collect::<Vec<_>>(),
        "dependencies": components
            .iter()
            .map(|it| json!({"ref": it.url(), "dependsOn": it.uses}))
            .collect::<Vec<_>>(),
    });
    // The same content has the same number.
    document["serialNumber"] = serial(&document).into();
    Ok(format!("{document:#}\n"))
}

fn describe(component: &Component) -> Value {
    let url = component.url();
    let mut described = json!({
        "type": "library",
        "bom-ref": url,
        "name": component.name,
        "version": component.version,
        "purl": url,
    });
    if !component.licence.is_empty() {
        described["licenses"] = json!([{"expression": component.licence}]);
    }
    if let Some(sum) = &component.sha256 {
        described["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    if let Some(repository) = &component.repository {
        described["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    described
}

/// A UUID of version 8, RFC 9562: bits of a digest.
fn serial(document: &Value) -> String {
    let digest = Sha256::digest(document.to_string());
    let mut bytes: Vec<u8> = digest.iter().copied().take(16).collect();
    if let Some(byte) = bytes.get_mut(6) {
        *byte = *byte & 0x0f | 0x80;
    }
    if let Some(byte) = bytes.get_mut(8) {
        *byte = *byte & 0x3f | 0x80;
    }
    let hex = sums::hex(&bytes);
    let parts: Vec<&str> = [0..8, 8..12, 12..16, 16..20, 20..32]
        .into_iter()
        .filter_map(|range| hex.get(range))
        .collect();
    format!("urn:uuid:{}", parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        Release {
            version: "1.2.3".to_owned(),
            epoch: 1_700_000_000,
        }
    }

    /// What the schema of CycloneDX 1.6 requires, and that every reference leads somewhere.
    fn validate(document: &Value) {
        assert_eq!(document["bomFormat"], "CycloneDX");
        assert_eq!(document["specVersion"], "1.6");
        assert!(document["version"].as_u64().unwrap() >= 1);
        let serial = document["serialNumber"]
            .as_str()
            .unwrap()
            .strip_prefix("urn:uuid:")
            .unwrap();
        let lengths: Vec<usize> = serial.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(
            serial
                .chars()
                .all(|c| c == '-' || c.is_ascii_hexdigit() && !c.is_ascii_uppercase())
        );
        document["metadata"]["timestamp"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap();
        let itself = &document["metadata"]["component"];
        let rest = document["components"].as_array().unwrap();
        let mut references = BTreeSet::new();
        for component in std::iter::once(itself).chain(rest) {
            for field in ["type", "name", "version", "purl"] {
                assert!(
                    !component[field].as_str().unwrap().is_empty(),
                    "{component} lacks {field}"
                );
            }
            assert!(
                component["licenses"][0]["expression"].is_string(),
                "{component} has no licence"
            );
            assert!(
                references.insert(component["bom-ref"].as_str().unwrap()),
                "{component} is there twice"
            );
            for hash in component["hashes"].as_array().into_iter().flatten() {
                assert_eq!(
                    (hash["alg"].as_str(), hash["content"].as_str().unwrap().len()),
                    (Some("SHA-256"), 64)
                );
            }
        }
        let dependencies = document["dependencies"].as_array().unwrap();
        assert_eq!(dependencies.len(), references.len());
        for dependency in dependencies {
            assert!(references.contains(dependency["ref"].as_str().unwrap()));
            for used in dependency["dependsOn"].as_array().unwrap() {
                assert!(
                    references.contains(used.as_str().unwrap()),
                    "{used} is not among the components"
                );
            }
        }
    }

    #[test]
    fn the_lists_of_both_programs_are_valid_and_whole() {
        for program in [Program::Agent, Program::Bridge] {
            let components = components(program, Platform::Gnu).unwrap();
            assert_eq!(components[0].name, program.name());
            let document: Value =
                serde_json::from_str(&text(program, &components, &release()).unwrap()).unwrap();
            validate(&document);
            assert_eq!(document["metadata"]["component"]["version"], "1.2.3");
            let names: BTreeSet<&str> = components.iter().map(|it| it.name.as_str()).collect();
            for part in ["tokio", "ring", "sqlite", "askalf-proto"] {
                assert!(names.contains(part), "{part} is not listed");
            }
            for foreign in ["proptest", "windows-sys", "cc"] {
                assert!(!names.contains(foreign), "{foreign} is not in the program");
            }
            for component in components
                .iter()
                .filter(|it| !it.name.starts_with("askalf-") && it.name != "sqlite")
            {
                assert!(component.sha256.is_some(), "{} has no checksum", component.name);
            }
            // Everything but the program itself is used by something.
            let used: BTreeSet<&String> = components.iter().flat_map(|it| &it.uses).collect();
            for component in &components[1..] {
                assert!(used.contains(&component.url()), "nothing uses {}", component.name);
            }
        }
    }

    #[test]
    fn the_same_parts_have_the_same_text_and_others_another_number() {
        let component = |name: &str| Component {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: "MIT".to_owned(),
            repository: None,
            folder: PathBuf::new(),
            sha256: None,
            uses: BTreeSet::new(),
        };
        let number = |names: &[&str]| {
            let components: Vec<Component> = names.iter().map(|name| component(name)).collect();
            let text = text(Program::Agent, &components, &release()).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()["serialNumber"].clone()
        };
        assert_eq!(number(&["a", "b"]), number(&["a", "b"]));
        assert_ne!(number(&["a", "b"]), number(&["a", "c"]));
    }
}
