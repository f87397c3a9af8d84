//! Errors as a person reads them: what is wrong, and what to do next.

use std::fmt;

use crate::ExitCode;

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
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!(": {cause}"));
    }
    if let Some(hint) = failure.and_then(|failure| failure.hint.as_ref()) {
        text.push_str(&format!("\nhint: {hint}"));
    }
    #[expect(clippy::print_stderr, reason = "this is where errors reach the person")]
    {
        eprintln!("{text}");
    }
    failure.map_or(ExitCode::Failed, |failure| failure.code).into()
}
