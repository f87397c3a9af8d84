//! Test counts, summed from what the test harnesses print.

use std::fmt;

/// How many tests ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Test binaries and documents.
    pub suites: u64,
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
}

impl Totals {
    /// Adds the counts of a line, where it is a harness's last: `test result: ok. 3 passed; 0 failed; 1 ignored; ...`,
    /// with or without colours.
    pub(crate) fn add_line(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ") else {
            return;
        };
        let count = |word: &str| -> u64 {
            let before = counts.split_once(word).map(|(before, _)| before.trim_end());
            before
                .and_then(|before| before.rsplit(' ').next())
                .and_then(|count| count.parse().ok())
                .unwrap_or(0)
        };
        self.suites += 1;
        self.passed += count(" passed");
        self.failed += count(" failed");
        self.ignored += count(" ignored");
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} passed, {} failed, {} ignored in {} suites",
            self.passed, self.failed, self.ignored, self.suites
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_over_suites() {
        let mut totals = Totals::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test the test result: is odd ... ok",
            "test result: \u{1b}[31mFAILED\u{1b}[m. 12 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            totals.add_line(line);
        }
        assert_eq!((totals.passed, totals.failed, totals.ignored), (15, 2, 1));
        assert_eq!(
            Totals { suites: 2, ..totals }.to_string(),
            "15 passed, 2 failed, 1 ignored in 2 suites"
        );
    }
}
