//! The patterns of rules: text in which `*` stands for any run of characters, also none.
//!
//! Nothing else is special but `\`, which takes its meaning from the character behind it. That makes a pattern a row of
//! literal pieces, each of which is searched for once and leftmost, so that a match takes time in proportion to the text.

/// Longest pattern, in bytes.
pub const MAX_PATTERN: usize = 4096;

/// By these a POSIX shell begins another command, redirects, or puts something else in a word's place. On Windows also what `cmd` and
/// PowerShell have for that.
fn is_operator(char: char) -> bool {
    matches!(
        char,
        ';' | '&' | '|' | '<' | '>' | '$' | '`' | '(' | ')' | '\n' | '\r' | '\0'
    ) || cfg!(windows) && matches!(char, '%' | '^' | '{' | '}' | '@')
}

/// A pattern, ready to be matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    written: String,
    /// The text between stars; always at least one piece, which is then the whole pattern.
    pieces: Vec<String>,
    /// ASCII letters match in both cases.
    any_case: bool,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternFault {
    #[error("a pattern has at most {MAX_PATTERN} bytes")]
    TooLong,
    #[error("a pattern may not be empty; '*' matches anything")]
    Empty,
    #[error("a pattern may not end in a single '\\'; '\\\\' stands for one")]
    OpenEscape,
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, PatternFault> {
        if text.is_empty() {
            return Err(PatternFault::Empty);
        }
        if text.len() > MAX_PATTERN {
            return Err(PatternFault::TooLong);
        }
        let mut pieces = Vec::new();
        let mut piece = String::new();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            match char {
                '*' => pieces.push(std::mem::take(&mut piece)),
                '\\' => piece.push(chars.next().ok_or(PatternFault::OpenEscape)?),
                char => piece.push(char),
            }
        }
        pieces.push(piece);
        Ok(Self {
            written: text.to_owned(),
            pieces,
            any_case: false,
        })
    }

    /// One that matches wherever these pieces stand, one behind the other, in capitals or small letters.
    pub(crate) fn anywhere(written: &str, pieces: Vec<String>) -> Self {
        let mut all = vec![String::new()];
        all.extend(pieces.into_iter().map(|piece| piece.to_ascii_lowercase()));
        all.push(String::new());
        Self {
            written: written.to_owned(),
            pieces: all,
            any_case: true,
        }
    }

    /// As it stands in the file.
    pub(crate) fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether it matches the whole text.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.matches_with(text, |_| true)
    }

    /// Whether it matches the whole text, and no star stands for a character that a shell acts on. The pattern `*` stands for
    /// anything.
    pub(crate) fn matches_plainly(&self, text: &str) -> bool {
        let anything = self.pieces.iter().all(String::is_empty) && self.pieces.len() > 1;
        anything || self.matches_with(text, |gap| !gap.contains(is_operator))
    }

    /// The leftmost place is taken for each piece. Where another one would let `gap` be content, this still says no: too strict at
    /// worst.
    fn matches_with(&self, text: &str, gap: impl Fn(&str) -> bool) -> bool {
        let folded;
        let text = if self.any_case {
            folded = text.to_ascii_lowercase();
            folded.as_str()
        } else {
            text
        };
        let [first, rest @ ..] = self.pieces.as_slice() else {
            return false;
        };
        let [middle @ .., last] = rest else {
            return text == first;
        };
        let between = text
            .strip_prefix(first.as_str())
            .and_then(|rest| rest.strip_suffix(last.as_str()));
        let Some(mut rest) = between else {
            return false;
        };
        for piece in middle {
            let Some((before, behind)) = rest.split_once(piece.as_str()) else {
                return false;
            };
            if !gap(before) {
                return false;
            }
            rest = behind;
        }
        gap(rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(text)
    }

    #[test]
    fn stars_stand_for_anything_and_all_else_for_itself() {
        for (pattern, text, expected) in [
            ("git", "git", true),
            ("git", "git ", false),
            ("git *", "git ", true),
            ("git *", "git", false),
            ("*", "", true),
            ("*", "a\nb", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "a--b--b--c", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("*--force*", "push --force", true),
            ("?", "a", false),
            ("[a]", "[a]", true),
            (r"\*", "*", true),
            (r"\*", "x", false),
            (r"\\", r"\", true),
            ("**", "x", true),
            ("ä*", "äöü", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        assert_eq!(Pattern::parse(""), Err(PatternFault::Empty));
        assert_eq!(Pattern::parse("a\\"), Err(PatternFault::OpenEscape));
        assert_eq!(
            Pattern::parse(&"a".repeat(MAX_PATTERN + 1)),
            Err(PatternFault::TooLong)
        );
    }

    #[test]
    fn no_star_hides_what_a_shell_acts_on() {
        let plainly = |pattern: &str, text: &str| Pattern::parse(pattern).unwrap().matches_plainly(text);
        assert!(plainly("git *", "git log --oneline -3"));
        for text in [
            "git log; id",
            "git $(id)",
            "git `id`",
            "git log\nid",
            "git log | sh",
            "git >x",
            "git & id",
        ] {
            assert!(!plainly("git *", text), "{text}");
        }
        assert!(plainly("make && make test *", "make && make test fast"));
        assert!(
            plainly("a; b", "a; b"),
            "a pattern without a star is what it says"
        );
        assert!(plainly("*", "a; b"), "and a star alone is anything");
        assert!(!plainly("* x *", "a; b x y"));
    }

    /// The definition, by trying everything.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            Some((char, rest)) => text
                .split_first()
                .is_some_and(|(first, behind)| first == char && naive(rest, behind)),
        }
    }

    proptest! {
        #[test]
        fn a_match_is_what_trying_everything_says(pattern in "[ab*]{1,7}", text in "[ab]{0,9}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &text), naive(&chars(&pattern), &chars(&text)));
        }
    }

    #[test]
    fn the_worst_pattern_takes_time_in_proportion_to_the_text() {
        let pattern = Pattern::parse(&"*a".repeat(MAX_PATTERN / 2)).unwrap();
        let text = "a".repeat(MAX_PATTERN / 2 - 1) + &"b".repeat(4 * 1024 * 1024);
        assert!(!pattern.matches(&text));
    }
}
