//! The licences of what is compiled into a program: who, under what, and the texts that they come with, each once.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;

use super::Program;
use super::build::Platform;
use super::sbom::Component;

/// How the names of such files begin.
const NAMES: [&str; 6] = [
    "LICENSE",
    "LICENCE",
    "COPYING",
    "COPYRIGHT",
    "NOTICE",
    "UNLICENSE",
];

/// Where Debian keeps the licence of what is linked in beside crates.
const MUSL: &str = "/usr/share/doc/musl-dev/copyright";

/// The text for a program; `components` begins with it.
pub(super) fn text(program: Program, platform: Platform, components: &[Component]) -> Result<String> {
    let mut texts = Texts::default();
    let mut list = String::new();
    for component in components.iter().filter(|it| !it.name.starts_with("askalf-")) {
        let numbers = texts.of_folder(&component.folder)?;
        let licence = if component.licence.is_empty() {
            "see its text"
        } else {
            &component.licence
        };
        writeln!(list, "{} {}: {licence}", component.name, component.version)?;
        if let Some(repository) = &component.repository {
            writeln!(list, "    {repository}")?;
        }
        match numbers.as_slice() {
            [] => writeln!(list, "    comes without a text")?,
            numbers => writeln!(list, "    texts: {}", numbers.join(", "))?,
        }
    }
    let mut runtime = String::from(
        "The standard library of Rust: MIT OR Apache-2.0, https://github.com/rust-lang/rust\n\
         The unwinder of GCC: GPL-3.0-or-later WITH GCC-exception-3.1\n",
    );
    if platform == Platform::Musl {
        let number = texts.add(&fs::read_to_string(MUSL)?);
        writeln!(
            runtime,
            "The C library musl: MIT, https://musl.libc.org\n    texts: {number}"
        )?;
    }
    let mut all = format!(
        "{} contains works of others. It is itself licensed under MIT OR Apache-2.0.\n\n{list}\n{runtime}",
        program.name()
    );
    for (index, text) in texts.0.iter().enumerate() {
        write!(all, "\n==== {} ====\n\n{text}\n", index + 1)?;
    }
    Ok(all)
}

/// Texts in the order in which they came.
#[derive(Debug, Default)]
struct Texts(Vec<String>);

impl Texts {
    /// The number of a text; lines that end or begin otherwise make no other one.
    fn add(&mut self, text: &str) -> String {
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        let text = lines.join("\n").trim_matches('\n').to_owned();
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let same = self.0.iter().position(|known| words(known) == words(&text));
        let index = same.unwrap_or_else(|| {
            self.0.push(text);
            self.0.len() - 1
        });
        (index + 1).to_string()
    }

    fn of_folder(&mut self, folder: &Path) -> Result<Vec<String>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .to_uppercase();
            if path.is_file() && NAMES.iter().any(|begin| name.starts_with(begin)) {
                files.push(path);
            }
        }
        files.sort();
        let mut numbers = Vec::new();
        for file in files {
            let number = self.add(&String::from_utf8_lossy(&fs::read(file)?));
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_two_bring_stands_there_once() {
        let folder = tempfile::tempdir().unwrap();
        let component = |name: &str, files: &[(&str, &str)]| {
            let folder = folder.path().join(name);
            fs::create_dir(&folder).unwrap();
            for (file, text) in files {
                fs::write(folder.join(file), text).unwrap();
            }
            Component {
                name: name.to_owned(),
                version: "1.0.0".to_owned(),
                licence: "MIT".to_owned(),
                repository: None,
                folder,
                sha256: None,
                uses: std::collections::BTreeSet::new(),
            }
        };
        let components = [
            component("askalf-agent", &[("LICENSE", "ours")]),
            component(
                "a",
                &[("LICENSE-MIT", "Copyright A\n\nMay be used.\n"), ("README", "no")],
            ),
            component(
                "b",
                &[
                    ("license.md", "Copyright A\r\n\r\n  May be used."),
                    ("NOTICE", "B"),
                ],
            ),
            component("c", &[]),
        ];
        assert_eq!(
            text(Program::Agent, Platform::Gnu, &components).unwrap(),
            "askalf-agent contains works of others. It is itself licensed under MIT OR Apache-2.0.\n\n\
             a 1.0.0: MIT\n    texts: 1\n\
             b 1.0.0: MIT\n    texts: 2, 1\n\
             c 1.0.0: MIT\n    comes without a text\n\n\
             The standard library of Rust: MIT OR Apache-2.0, https://github.com/rust-lang/rust\n\
             The unwinder of GCC: GPL-3.0-or-later WITH GCC-exception-3.1\n\
             \n==== 1 ====\n\nCopyright A\n\nMay be used.\n\
             \n==== 2 ====\n\nB\n"
        );
    }
}
