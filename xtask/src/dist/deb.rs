//! Packages of Debian. Control files and scripts are templates under `packaging/deb`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use askalf_e2e::workspace_root;

use super::parts::Parts;
use super::tree::{Content, Tree};
use super::{Program, Release, contents, output};

/// What dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Makes `NAME_VERSION_ARCHITECTURE.deb`.
pub(super) fn make(
    program: Program,
    binary: &Path,
    parts: &Parts,
    release: &Release,
    out: &Path,
) -> Result<()> {
    let stage = tempfile::tempdir()?;
    let root = stage.path().join("root");
    let tree = contents::of_debian(program, Content::Copy(binary.to_owned()), parts)?;
    tree.lay(&root, release.epoch)?;

    let architecture = output(Command::new("dpkg").arg("--print-architecture"))?;
    let facts = Facts {
        version: version(&release.version),
        architecture: architecture.trim().to_owned(),
        depends: libraries(binary)?,
        size: tree
            .paths()
            .map(|path| kibibytes(&root.join(path)))
            .sum::<Result<u64>>()?,
    };
    let templates = workspace_root()?.join("packaging/deb");
    let read =
        |file: &Path| fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()));
    let mut control = Tree::default();
    let text = read(&templates.join(program.name()).join("control"))?;
    control.file("control", Content::text(&facts.fill(&text)));
    control.file("md5sums", Content::text(&md5sums(&root, &tree)?));
    let conffiles: String = tree
        .paths()
        .filter(|path| path.starts_with("etc/"))
        .map(|path| format!("/{path}\n"))
        .collect();
    if !conffiles.is_empty() {
        control.file("conffiles", Content::text(&conffiles));
    }
    let units: Vec<&str> = parts.units.keys().map(String::as_str).collect();
    for script in SCRIPTS {
        let text = read(&templates.join(script))?;
        let text = text
            .replace("@NAME@", program.name())
            .replace("@USERS@", &parts.users.join(" "))
            .replace("@UNITS@", &started(&units).join(" "))
            .replace("@ALL_UNITS@", &units.join(" "))
            .replace("@NEXT@", parts.next.trim_end());
        control.program(script, Content::text(&text));
    }
    control.lay(&root.join("DEBIAN"), release.epoch)?;
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;

    let name = format!("{}_{}_{}.deb", program.name(), facts.version, facts.architecture);
    output(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", parts.compression, "--build"])
            .arg(&root)
            .arg(out.join(name))
            .env("SOURCE_DATE_EPOCH", release.epoch.to_string()),
    )?;
    Ok(())
}

struct Facts {
    version: String,
    architecture: String,
    depends: String,
    size: u64,
}

impl Facts {
    fn fill(&self, template: &str) -> String {
        template
            .replace("@VERSION@", &self.version)
            .replace("@ARCHITECTURE@", &self.architecture)
            .replace("@LIBRARIES@", &self.depends)
            .replace("@SIZE@", &self.size.to_string())
    }
}

/// Debian sorts a `~` before everything, and so a version before its release.
pub(super) fn version(version: &str) -> String {
    version.replacen('-', "~", 1)
}

/// The units that are enabled and started: those of a socket and of the service. A template is started by its socket.
fn started<'a>(units: &[&'a str]) -> Vec<&'a str> {
    units.iter().copied().filter(|unit| !unit.contains('@')).collect()
}

fn kibibytes(file: &Path) -> Result<u64> {
    Ok(fs::metadata(file)?.len().div_ceil(1024))
}

fn md5sums(root: &Path, tree: &Tree) -> Result<String> {
    // Not those that an administrator may change.
    let files = tree.paths().filter(|path| !path.starts_with("etc/"));
    output(Command::new("md5sum").arg("--").args(files).current_dir(root))
}

/// The packages of the libraries that a program is linked to, with the versions whose symbols it uses.
fn libraries(binary: &Path) -> Result<String> {
    let folder = tempfile::tempdir()?;
    // It wants to run in a source package.
    fs::create_dir(folder.path().join("debian"))?;
    fs::write(
        folder.path().join("debian/control"),
        "Source: askalf\n\nPackage: askalf\nArchitecture: any\n",
    )?;
    let said = output(
        Command::new("dpkg-shlibdeps")
            .arg("-O")
            .arg(binary)
            .current_dir(folder.path()),
    )?;
    let depends = said.trim().strip_prefix("shlibs:Depends=");
    Ok(depends.context("dpkg-shlibdeps names no library")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_before_a_release_sorts_before_it() {
        assert_eq!(version("1.2.0"), "1.2.0");
        assert_eq!(version("1.2.0-rc.1"), "1.2.0~rc.1");
        assert_eq!(version("1.2.0+t1"), "1.2.0+t1");
    }

    #[test]
    fn a_template_is_never_started() {
        assert_eq!(
            started(&["a.service", "a.socket", "task@.service"]),
            ["a.service", "a.socket"]
        );
    }

    #[test]
    fn a_template_of_a_control_file_is_filled() {
        let facts = Facts {
            version: "1.0".to_owned(),
            architecture: "arm64".to_owned(),
            depends: "libc6 (>= 2.34)".to_owned(),
            size: 7,
        };
        assert_eq!(
            facts.fill("Version: @VERSION@\nArchitecture: @ARCHITECTURE@\nDepends: @LIBRARIES@, passwd\nInstalled-Size: @SIZE@\n"),
            "Version: 1.0\nArchitecture: arm64\nDepends: libc6 (>= 2.34), passwd\nInstalled-Size: 7\n"
        );
    }
}
