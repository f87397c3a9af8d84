//! The findings as people and programs read them.

use askalf_cli::{ExitCode, one_line};
use serde::Serialize;

use super::finding::{Finding, Outcome};
use super::subject::Subject;
use crate::clock::unix_ms;

/// `doctor --json`; docs/operations.md has its schema.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    /// In milliseconds since the Unix epoch.
    time: u64,
    home: String,
    bridge: Option<String>,
    exit_code: u8,
    checks: Vec<Finding>,
}

impl Report {
    pub(super) fn new(subject: &Subject, checks: Vec<Finding>, code: ExitCode) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            time: unix_ms(),
            home: one_line(&subject.home().path().display().to_string()),
            bridge: subject.endpoint().map(ToString::to_string),
            exit_code: code.number(),
            checks,
        }
    }

    /// A line for each check, and below it what to do.
    pub(super) fn text(&self, colour: bool) -> String {
        let mut text = String::new();
        let width = self.checks.iter().map(|check| check.id.len()).max().unwrap_or(0);
        for check in &self.checks {
            let word = format!("{:<7}", check.outcome.as_str());
            let word = if colour { paint(check.outcome, &word) } else { word };
            text.push_str(&format!("{word}  {:<width$}  {}\n", check.id, check.saw));
            let more = check.fixed.iter().map(|done| format!("repaired: {done}"));
            let next = (!check.next.is_empty()).then(|| format!("next: {}", check.next));
            for line in more.chain(next) {
                text.push_str(&format!("{:<1$}  {line}\n", "", width + 9));
            }
        }
        let count = |outcome| {
            let found = self.checks.iter().filter(|check| check.outcome == outcome);
            found.count()
        };
        let say = |number: usize, what: &str| match number {
            0 => format!("no {what}s"),
            1 => format!("1 {what}"),
            more => format!("{more} {what}s"),
        };
        text.push_str(&format!(
            "{}, {}\n",
            say(count(Outcome::Problem), "problem"),
            say(count(Outcome::Warning), "warning")
        ));
        text
    }
}

fn paint(outcome: Outcome, word: &str) -> String {
    let colour = match outcome {
        Outcome::Ok => 32,
        Outcome::Warning => 33,
        Outcome::Problem => 31,
        Outcome::Skipped => 2,
    };
    format!("\u{1b}[{colour}m{word}\u{1b}[0m")
}
