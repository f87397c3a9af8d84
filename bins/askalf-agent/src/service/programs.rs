//! The system's own programs.

use std::process::{Command, Stdio};

use askalf_cli::{ExitCode, Failure, in_plain_words};

/// A command line as a person would type it.
pub(crate) fn line(program: &str, arguments: &[&str]) -> String {
    let words = [program].into_iter().chain(arguments.iter().copied());
    let shown = words.map(|word| match word.contains(' ') {
        true => format!("\"{word}\""),
        false => word.to_owned(),
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// Runs a program to its end; an error says what it said, and `hint` what to do then.
pub(crate) fn succeed(program: &str, arguments: &[&str], hint: &str) -> Result<(), Failure> {
    let line = line(program, arguments);
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Failure::new(
                ExitCode::Failed,
                format!("'{line}' cannot be run: {}", in_plain_words(&error)),
            )
            .hint("install it, or run the command by hand ('--dry-run' shows all of them)")
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(
        ExitCode::Failed,
        format!("'{line}' failed: {}", askalf_cli::one_line(said.trim())),
    )
    .hint(hint.to_owned()))
}
