//! What both command lines do with their definitions: examples in the help, short usage errors, completions.

use std::io::{self, Write};

use askalf_bridge_auth::{Token, TokenShape};
use clap::error::ErrorKind;
use clap::{Command, FromArgMatches, ValueEnum};

use crate::{ExitCode, Failure};

/// What one command line does, and the line: `("end one", "askalf-bridge keys revoke ID")`. What speaks for itself needs no words.
pub type Example = (&'static str, &'static str);

/// The examples of commands, by their words: `keys mint`.
pub type Examples = &'static [(&'static str, &'static [Example])];

/// A shell that completions can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// The GNU Bourne-Again Shell
    Bash,
    /// The Z shell
    Zsh,
    /// The friendly interactive shell
    Fish,
    /// PowerShell
    #[value(name = "powershell")]
    PowerShell,
}

impl Shell {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Bash, Self::Zsh, Self::Fish, Self::PowerShell];

    /// The name of the file that the shell looks for, of the program `program`.
    pub fn file_name(self, program: &str) -> String {
        use clap_complete::Generator as _;
        match self {
            Self::Bash => clap_complete::Shell::Bash.file_name(program),
            Self::Zsh => clap_complete::Shell::Zsh.file_name(program),
            Self::Fish => clap_complete::Shell::Fish.file_name(program),
            Self::PowerShell => clap_complete::Shell::PowerShell.file_name(program),
        }
    }

    /// The script that completes the words of `command` in this shell, under the name `program`.
    pub fn completions(self, program: &'static str, command: &Command) -> Vec<u8> {
        use clap_complete::shells::{Bash, Fish, PowerShell, Zsh};
        let (command, mut script) = (&mut without_hidden(program, command), Vec::new());
        match self {
            Self::Bash => clap_complete::generate(Bash, command, program, &mut script),
            Self::Zsh => clap_complete::generate(Zsh, command, program, &mut script),
            Self::Fish => clap_complete::generate(Fish, command, program, &mut script),
            Self::PowerShell => clap_complete::generate(PowerShell, command, program, &mut script),
        }
        script
    }
}

/// The generators offer hidden commands too.
fn without_hidden(program: &'static str, command: &Command) -> Command {
    let shown = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    // Of the version they ask whether there is one.
    Command::new(program)
        .version(env!("CARGO_PKG_VERSION"))
        .args(command.get_arguments())
        .subcommands(shown)
}

/// Puts the examples under the help of their commands.
pub fn with_examples(command: Command, examples: Examples) -> Command {
    examples.iter().fold(command, |command, (words, examples)| {
        let words: Vec<&str> = words.split(' ').collect();
        add(command, &words, examples)
    })
}

fn add(command: Command, words: &[&str], examples: &[Example]) -> Command {
    match words {
        [] => command.after_help(shown(examples)),
        [word, rest @ ..] => command.mut_subcommand(word, |command| add(command, rest, examples)),
    }
}

fn shown(examples: &[Example]) -> String {
    let mut text = "Examples:".to_owned();
    for (what, line) in examples {
        if !what.is_empty() {
            text.push_str(&format!("\n  # {what}"));
        }
        text.push_str(&format!("\n  {line}"));
    }
    text
}

/// Reads the command line of this process.
///
/// # Errors
/// The code to exit with: the help or the version was asked for and is printed, or the error is.
pub fn parse<T: FromArgMatches>(command: &Command) -> Result<T, std::process::ExitCode> {
    let parsed = command
        .clone()
        .try_get_matches()
        .and_then(|matches| T::from_arg_matches(&matches));
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nobody may be reading it.
            let _unread = error.print();
            ExitCode::Done.into()
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _unread = error.print();
            ExitCode::Usage.into()
        }
        _ => crate::report(Err(usage_failure(
            &error.render().to_string(),
            command.get_name(),
        )
        .into())),
    })
}

/// The problem in one line and one next step, in place of a screen of usage.
fn usage_failure(rendered: &str, program: &str) -> Failure {
    let paragraphs = rendered.split("\n\n").map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        words.join(" ")
    });
    let (mut problem, mut hint, mut command) = (String::new(), String::new(), program.to_owned());
    for paragraph in paragraphs {
        if let Some(text) = paragraph.strip_prefix("error: ") {
            problem = without_keys(text);
        } else if let Some(tip) = paragraph.strip_prefix("tip: ") {
            let tip = tip.split(" tip: ").next().unwrap_or(tip);
            hint = format!("{}; ", without_keys(tip));
        } else if let Some(usage) = paragraph.strip_prefix("Usage: ") {
            let words = usage
                .split(' ')
                .take_while(|word| !word.starts_with(['[', '<', '-', '(', '\'']));
            command = words.collect::<Vec<_>>().join(" ");
        }
    }
    Failure::new(ExitCode::Usage, problem).hint(format!("{hint}see '{command} --help'"))
}

/// The text with quoted words that are keys taken out: what was typed in the wrong place is not shown again.
fn without_keys(text: &str) -> String {
    let parts = text.split('\'').map(|part| match Token::parse(part) {
        Ok(token) if token.shape() != TokenShape::Other => "(a key)",
        _ => part,
    });
    parts.collect::<Vec<_>>().join("'")
}

/// Prints the completions of a program. A reader that has gone is no error.
///
/// # Errors
/// They cannot be written.
pub fn print_completions(shell: Shell, program: &'static str, command: &Command) -> anyhow::Result<ExitCode> {
    let script = shell.completions(program, command);
    match io::stdout().lock().write_all(&script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::Done),
    }
}

/// Every command that is shown, with its words: for tests of the definitions and for pages.
pub fn all_commands(command: &Command) -> Vec<(String, &Command)> {
    let mut found = Vec::new();
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        let name = inner.get_name();
        found.push((name.to_owned(), inner));
        let deeper = all_commands(inner).into_iter();
        found.extend(deeper.map(|(words, command)| (format!("{name} {words}"), command)));
    }
    found
}

/// What is wrong with the examples of a program: a command that runs something and has none, or a line that it would not take.
/// For tests of the definitions.
pub fn faults_of_examples(command: &Command, examples: Examples) -> Vec<String> {
    let mut faults = Vec::new();
    for (words, inner) in all_commands(command) {
        let has_examples = examples.iter().any(|(name, _)| *name == words);
        if !inner.is_subcommand_required_set() && !has_examples {
            faults.push(format!("'{words}' has no example"));
        }
    }
    for (words, examples) in examples {
        for (_, line) in *examples {
            // What the shell does with the rest is not the program's.
            let line = line.split(" | ").last().unwrap_or(line);
            let line = line.split([';', '<', '>']).next().unwrap_or(line);
            let start = format!("{} {words}", command.get_name());
            if !line.starts_with(&start) {
                faults.push(format!("'{line}' is no line of '{words}'"));
            } else if let Err(error) = command.clone().try_get_matches_from(shell_words(line)) {
                faults.push(format!("'{line}' is not taken: {error}"));
            }
        }
    }
    faults
}

/// Splits at spaces outside single quotes: as much as the examples need.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (index, part) in line.trim().split('\'').enumerate() {
        for (nth, piece) in part.split(' ').enumerate() {
            if index % 2 == 1 && nth > 0 {
                words.last_mut().into_iter().for_each(|word| word.push(' '));
            } else if nth > 0 {
                words.push(String::new());
            }
            words.last_mut().into_iter().for_each(|word| word.push_str(piece));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn command() -> Command {
        Command::new("tool").subcommand_required(true).subcommand(
            Command::new("cut")
                .arg(Arg::new("what").required(true))
                .arg(Arg::new("at").long("at")),
        )
    }

    fn failure(words: &[&str]) -> (String, String) {
        let error = command().try_get_matches_from(words).unwrap_err();
        let failure = usage_failure(&error.render().to_string(), "tool");
        (
            failure.to_string(),
            failure.hint_text().unwrap_or_default().to_owned(),
        )
    }

    #[test]
    fn a_usage_error_is_one_line_and_names_the_help_of_its_command() {
        assert_eq!(
            failure(&["tool", "cut"]),
            (
                "the following required arguments were not provided: <what>".into(),
                "see 'tool cut --help'".into()
            )
        );
        assert_eq!(
            failure(&["tool", "cut", "rope", "--att", "1"]),
            (
                "unexpected argument '--att' found".into(),
                "a similar argument exists: '--at'; see 'tool cut --help'".into()
            )
        );
        assert_eq!(
            failure(&["tool", "cuts"]),
            (
                "unrecognized subcommand 'cuts'".into(),
                "a similar subcommand exists: 'cut'; see 'tool --help'".into()
            )
        );
    }

    #[test]
    fn completions_offer_what_is_shown_and_nothing_hidden() {
        let command = command().subcommand(Command::new("unseen").hide(true));
        for shell in Shell::ALL {
            let script = String::from_utf8(shell.completions("tool", &command)).unwrap();
            assert!(
                script.contains("cut") && !script.contains("unseen"),
                "{shell:?}: {script}"
            );
        }
    }

    #[test]
    fn a_key_in_the_wrong_place_is_not_shown_again() {
        let key = "sk_live_0123456789abcdefghijABCDEFGHIJ01";
        let (problem, hint) = failure(&["tool", "cut", "rope", key]);
        assert_eq!(problem, "unexpected argument '(a key)' found");
        assert!(!hint.contains(key), "{hint}");
    }

    #[test]
    fn examples_stand_under_their_command_and_faults_of_them_are_found() {
        const GOOD: Examples = &[(
            "cut",
            &[("in the middle", "tool cut 'a rope' --at 1"), ("", "tool cut x")],
        )];
        const BAD: Examples = &[("cut", &[("", "tool cut"), ("", "saw wood")])];
        let help = with_examples(command(), GOOD)
            .find_subcommand_mut("cut")
            .unwrap()
            .render_help()
            .to_string();
        assert!(
            help.ends_with("\nExamples:\n  # in the middle\n  tool cut 'a rope' --at 1\n  tool cut x\n"),
            "{help}"
        );
        assert_eq!(faults_of_examples(&command(), GOOD), Vec::<String>::new());
        assert_eq!(faults_of_examples(&command(), BAD).len(), 2);
        assert_eq!(faults_of_examples(&command(), &[]), ["'cut' has no example"]);
    }
}
