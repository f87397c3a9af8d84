//! Errors as a person reads them: what is wrong, and what to do next.

use std::fmt;
use std::io::{self, Write};

use crate::{ExitCode, colour};

/// An error on its way to a person.
#[derive(Debug)]
pub struct Failure {
    code: ExitCode,
    problem: String,
    hint: Option<String>,
}

impl Failure {
    /// An error that ends the command with `code`.
    pub fn new(code: ExitCode, problem: impl fmt::Display) -> Self {
        Self {
            code,
            problem: problem.to_string(),
            hint: None,
        }
    }

    /// What the command exits with.
    pub fn code(&self) -> ExitCode {
        self.code
    }

    /// What to do next.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The same error with what to do next.
    #[must_use]
    pub fn hint(self, hint: impl fmt::Display) -> Self {
        Self {
            hint: Some(hint.to_string()),
            ..self
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.problem)
    }
}

impl std::error::Error for Failure {}

/// Ends a command: prints the error, if it is one, on standard error, and yields the code to exit with.
pub fn report(result: anyhow::Result<ExitCode>) -> std::process::ExitCode {
    let error = match result {
        Ok(code) => return code.into(),
        Err(error) => error,
    };
    let failure = error.downcast_ref::<Failure>();
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        text.push_str(&format!(": {cause}"));
    }
    tell(
        ("error", colour::ERROR),
        &text,
        failure.and_then(Failure::hint_text),
    );
    failure.map_or(ExitCode::Failed, |failure| failure.code).into()
}

/// Tells a person on standard error of something that does not end the command, and what to do about it.
pub fn warn(problem: impl fmt::Display, hint: impl fmt::Display) {
    tell(
        ("warning", colour::WARNING),
        &problem.to_string(),
        Some(&hint.to_string()),
    );
}

fn tell((word, code): (&str, &str), text: &str, hint: Option<&str>) {
    let coloured = colour::may_colour(&io::stderr());
    let mut lines = format!("{}{text}\n", colour::label(word, code, coloured));
    if let Some(hint) = hint {
        lines.push_str(&format!(
            "{}{hint}\n",
            colour::label("hint", colour::HINT, coloured)
        ));
    }
    // Nobody may be reading it; the exit code says the same.
    let _unread = io::stderr().lock().write_all(lines.as_bytes());
}
