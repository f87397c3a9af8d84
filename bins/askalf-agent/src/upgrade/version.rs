//! Which of two agents is the newer one.

use std::path::Path;
use std::process::{Command, Stdio};

use askalf_cli::{ExitCode, Failure};

/// A version as its numbers; what follows a dash comes before the numbers alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    numbers: [u64; 3],
    is_release: bool,
    suffix: String,
}

impl Version {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.split_once('+').map_or(text, |(version, _build)| version);
        let (numbers, suffix) = text.split_once('-').unwrap_or((text, ""));
        let numbers: Vec<u64> = numbers
            .split('.')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        Some(Self {
            numbers: numbers.try_into().ok()?,
            is_release: suffix.is_empty(),
            suffix: suffix.to_owned(),
        })
    }
}

/// What a program says of its version. It is run for that: one that does not start here is no upgrade.
pub(crate) fn version_of(program: &Path) -> Result<String, Failure> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let failure = |why: String| {
        Failure::new(
            ExitCode::Failed,
            format!("the program in the package does not run here: {why}"),
        )
        .hint("take the package that was made for this system and processor")
    };
    let output = output.map_err(|error| failure(askalf_cli::in_plain_words(&error)))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .trim()
        .strip_prefix("askalf-agent ")
        .filter(|version| output.status.success() && Version::parse(version).is_some());
    version
        .map(str::to_owned)
        .ok_or_else(|| failure("it does not tell its version".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_follow_each_other_by_their_numbers() {
        let order = [
            "0.1.0-rc1",
            "0.1.0",
            "0.1.2",
            "0.1.10",
            "0.2.0-a",
            "0.2.0-b",
            "1.0.0",
        ];
        let versions: Vec<Version> = order.iter().map(|text| Version::parse(text).unwrap()).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert_eq!(Version::parse("1.0.0+build"), Version::parse("1.0.0"));
        for text in ["", "1", "1.2", "1.2.x", "1.2.3.4", "v1.2.3"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
