//! The two programs, and what stands where in their packages.

use anyhow::Result;

use super::parts::Parts;
use super::tree::{Content, Tree};

/// A program that is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Agent,
    Bridge,
}

impl Program {
    /// Its name: of the package, the binary and the user.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Agent => "askalf-agent",
            Self::Bridge => "askalf-bridge",
        }
    }

    /// Its line in a list of packages.
    pub(super) fn summary(self) -> &'static str {
        match self {
            Self::Agent => "device agent of the askalf workforce platform",
            Self::Bridge => "bridge between askalf devices and their platform",
        }
    }
}

/// What a package of Debian puts where.
pub(super) fn of_debian(program: Program, binary: Content, parts: &Parts) -> Result<Tree> {
    let name = program.name();
    let mut tree = Tree::default();
    tree.program(&format!("usr/bin/{name}"), binary);
    for (unit, text) in &parts.units {
        tree.file(&format!("usr/lib/systemd/system/{unit}"), Content::text(text));
    }
    for (file, text) in &parts.defaults {
        tree.file(&format!("etc/default/{file}"), Content::text(text));
    }
    for (file, text) in &parts.completions {
        let path = match file.rsplit_once('.') {
            Some((_, "bash")) => format!("usr/share/bash-completion/completions/{name}"),
            Some((_, "fish")) => format!("usr/share/fish/vendor_completions.d/{file}"),
            None => format!("usr/share/zsh/vendor-completions/{file}"),
            Some(_) => continue,
        };
        tree.file(&path, Content::Bytes(text.clone()));
    }
    for (page, text) in &parts.manual {
        tree.file(&format!("usr/share/man/man1/{page}.gz"), Content::gzip(text)?);
    }
    let documents = format!("usr/share/doc/{name}");
    tree.file(&format!("{documents}/copyright"), Content::text(&parts.copyright));
    tree.file(
        &format!("{documents}/changelog.gz"),
        Content::gzip(parts.debian_changelog.as_bytes())?,
    );
    tree.file(
        &format!("{documents}/CHANGELOG.md.gz"),
        Content::gzip(parts.changelog.as_bytes())?,
    );
    tree.file(
        &format!("{documents}/THIRD-PARTY.gz"),
        Content::gzip(parts.licences.as_bytes())?,
    );
    tree.file(
        &format!("{documents}/sbom.cdx.json.gz"),
        Content::gzip(parts.sbom.as_bytes())?,
    );
    Ok(tree)
}

/// What an archive holds.
pub(super) fn of_archive(program: Program, binary: Content, parts: &Parts, windows: bool) -> Tree {
    let name = program.name();
    let mut tree = Tree::default();
    let exe = if windows { ".exe" } else { "" };
    tree.program(&format!("{name}{exe}"), binary);
    for (file, text) in &parts.completions {
        if windows == file.ends_with(".ps1") {
            tree.file(&format!("completions/{file}"), Content::Bytes(text.clone()));
        }
    }
    if !windows {
        for (page, text) in &parts.manual {
            tree.file(&format!("man/man1/{page}"), Content::Bytes(text.clone()));
        }
        for (unit, text) in &parts.archive_units {
            tree.file(&format!("systemd/{unit}"), Content::text(text));
        }
    }
    tree.file("INSTALL.txt", Content::text(&parts.install));
    tree.file("CHANGELOG.md", Content::text(&parts.changelog));
    tree.file("LICENSE-APACHE", Content::text(&parts.apache));
    tree.file("LICENSE-MIT", Content::text(&parts.mit));
    tree.file("THIRD-PARTY.txt", Content::text(&parts.licences));
    tree.file("sbom.cdx.json", Content::text(&parts.sbom));
    tree
}
