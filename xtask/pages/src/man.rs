//! A man page of each command.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::Man;

/// What stands under the help, which keeps its lines.
const EXTRA: &str = "NOTES AND EXAMPLES";

/// Writes `PROGRAM.1` and `PROGRAM-COMMAND.1` for all commands that are shown.
pub(crate) fn write_pages(command: Command, folder: &Path) -> Result<()> {
    // As pages of their own the commands need no page on 'help'.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let source = format!(
        "{} {}",
        command.get_name(),
        command.get_version().unwrap_or_default()
    );
    write_below(&command, &source, folder)
}

fn write_below(command: &Command, source: &str, folder: &Path) -> Result<()> {
    let man = Man::new(command.clone())
        .source(source.to_owned())
        .manual("askalf");
    let path = folder.join(man.get_filename());
    let mut page = Vec::new();
    render(&man, command, &mut page)?;
    fs::write(&path, page).with_context(|| format!("{} cannot be written", path.display()))?;
    command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
        .try_for_each(|inner| write_below(inner, source, folder))
}

/// As [`Man::render`] does, but for the lines under the help, which it would fill to paragraphs.
fn render(man: &Man, command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if command.get_subcommands().any(|inner| !inner.is_hide_set()) {
        man.render_subcommands_section(page)?;
    }
    if let Some(text) = command.get_after_help() {
        writeln!(page, ".SH \"{EXTRA}\"\n.nf")?;
        for line in text.to_string().lines() {
            writeln!(page, "{}", escaped(line))?;
        }
        writeln!(page, ".fi")?;
    }
    writeln!(page, ".SH \"SEE ALSO\"\n{}", see_also(command))
}

/// A line that roff prints as it stands.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    // At the start of a line these two make a request of it.
    if line.starts_with(['.', '\'']) {
        format!("\\&{line}")
    } else {
        line
    }
}

/// The page of the program, and the other program's.
fn see_also(command: &Command) -> String {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let (program, other) = if name.starts_with("askalf-agent") {
        ("askalf-agent", "askalf-bridge")
    } else {
        ("askalf-bridge", "askalf-agent")
    };
    let page = |name: &str| format!("\\fB{}\\fR(1)", name.replace('-', "\\-"));
    if name == program {
        page(other)
    } else {
        format!("{}, {}", page(program), page(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(command: Command) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        write_pages(command, folder.path()).unwrap();
        let mut pages: Vec<(String, String)> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        pages.sort();
        pages
    }

    #[test]
    fn every_command_that_is_shown_has_a_page_with_its_examples() {
        for command in [askalf_agent::command(), askalf_bridge::command()] {
            let program = command.get_name().to_owned();
            let pages = pages(command.clone());
            let mut wanted: Vec<String> = askalf_cli::all_commands(&command)
                .iter()
                .map(|(words, _)| format!("{program}-{}.1", words.replace(' ', "-")))
                .chain([format!("{program}.1")])
                .collect();
            wanted.sort();
            let names: Vec<String> = pages.iter().map(|(name, _)| name.clone()).collect();
            assert_eq!(names, wanted);
            for (name, text) in pages {
                assert!(text.contains(".SH NAME\n"), "{name}: {text}");
                assert!(!text.contains("runner"), "a hidden command in {name}: {text}");
            }
        }
    }

    #[test]
    fn lines_of_examples_stay_lines() {
        let pages = pages(askalf_bridge::command());
        let (_, text) = pages
            .iter()
            .find(|(name, _)| name == "askalf-bridge-keys-revoke.1")
            .unwrap();
        let example = "\n.nf\nExamples:\n  askalf\\-bridge keys revoke ID\n.fi\n";
        assert!(text.contains(example), "{text}");
        assert!(
            text.ends_with(".SH \"SEE ALSO\"\n\\fBaskalf\\-bridge\\fR(1), \\fBaskalf\\-agent\\fR(1)\n"),
            "{text}"
        );
    }

    #[test]
    fn a_line_that_looks_like_a_request_is_printed() {
        assert_eq!(escaped(".so a\\b"), "\\&.so a\\eb");
    }
}
