//! Rules of the user, one a line. There is no pattern language to get wrong: a rule is exact text, a prefix with a run of characters
//! behind it, or a name whose value is secret. So every rule is linear, and so are all of them together.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use super::char_set::{ALNUM, ANY_BASE64, BASE64URL, CAPITALS, CharSet, DOTTED, HEX, WORD};
use super::literal::{Literal, SHORTEST};
use super::matcher::Matcher;
use super::pattern::{Pattern, What};
use super::task::own_kind;

/// Rules beside the built-in ones. Lines that are empty or begin with `#` say nothing; the others are
///
/// - `text KIND TEXT`: this very text, to the end of the line; eight bytes or more.
/// - `token KIND PREFIX CLASS LEAST`: this prefix (3 to 32 characters) and at least `LEAST` (8 to 64) characters of the class behind it,
///   with all that follow: `alnum`, `word`, `hex`, `capitals`, `base64`, `base64url` or `dotted` (base64url and dots).
/// - `name KIND NAME`: the value of whatever ends with this name (3 to 32 letters, digits, `_`, `-`), in any letter case.
///
/// `KIND`, 1 to 32 lower-case letters, digits and `-`, stands in the mark.
///
/// ```
/// use askalf_exec::redact::{RedactionRules, Secrets};
///
/// let rules = RedactionRules::parse("token acme acme_ hex 16\nname licence LICENCE_CODE\n")?;
/// let redaction = Secrets::new(&rules).redaction(None);
/// assert_eq!(
///     redaction.text("acme_0123456789abcdef and licence_code=1234-5678"),
///     "[redacted:acme] and licence_code=[redacted:licence]"
/// );
/// # Ok::<(), askalf_exec::redact::RedactionRulesError>(())
/// ```
#[derive(Default)]
pub struct RedactionRules {
    rules: Vec<Rule>,
}

enum Rule {
    Text(Literal),
    Token {
        kind: String,
        prefix: String,
        rest: CharSet,
        least: usize,
    },
    Name {
        kind: String,
        name: String,
    },
}

impl RedactionRules {
    /// Most bytes of a file of rules.
    pub const MAX_BYTES: usize = 64 * 1024;
    /// Most rules.
    pub const MAX_RULES: usize = 256;

    /// Reads the text of a file of rules.
    ///
    /// # Errors
    /// The first line that is no rule, or a bound that is exceeded.
    pub fn parse(text: &str) -> Result<Self, RedactionRulesError> {
        if text.len() > Self::MAX_BYTES {
            return Err(RedactionRulesError::TooLarge);
        }
        let mut rules = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = index + 1;
            let rule = rule(line).map_err(|fault| RedactionRulesError::Line { number, fault })?;
            rules.push(rule);
        }
        if rules.len() > Self::MAX_RULES {
            return Err(RedactionRulesError::TooMany);
        }
        Ok(Self { rules })
    }

    pub(super) fn add_to(&self, matcher: &mut Matcher) {
        for rule in &self.rules {
            match rule {
                Rule::Text(literal) => matcher.add_literal(literal),
                Rule::Token {
                    kind,
                    prefix,
                    rest,
                    least,
                } => matcher.add(Pattern {
                    kind: own_kind(kind),
                    head: Zeroizing::new(prefix.as_bytes().to_vec()),
                    anchor: 0,
                    what: What::Token {
                        rest: *rest,
                        least: *least,
                    },
                }),
                Rule::Name { kind, name } => matcher.add(Pattern {
                    kind: own_kind(kind),
                    head: Zeroizing::new(name.as_bytes().to_vec()),
                    anchor: 0,
                    what: What::Value,
                }),
            }
        }
    }
}

/// How many, and none of their text.
impl fmt::Debug for RedactionRules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RedactionRules({})", self.rules.len())
    }
}

fn rule(line: &str) -> Result<Rule, RuleFault> {
    let (word, rest) = split(line);
    let (kind, rest) = split(rest);
    if !matches!(word, "text" | "token" | "name") {
        return Err(RuleFault::Word);
    }
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=32).contains(&kind.len()) || !kind.bytes().all(lower) {
        return Err(RuleFault::Kind);
    }
    let kind = kind.to_owned();
    match word {
        "text" if rest.len() >= SHORTEST => Ok(Rule::Text(Literal::new(kind, rest))),
        "text" => Err(RuleFault::Text),
        "name" => {
            let part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            if !(3..=32).contains(&rest.len()) || !rest.bytes().all(part) {
                return Err(RuleFault::Name);
            }
            let name = rest.to_owned();
            Ok(Rule::Name { kind, name })
        }
        _ => {
            let (prefix, rest) = split(rest);
            if !(3..=32).contains(&prefix.len()) || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(RuleFault::Prefix);
            }
            let (class, least) = split(rest);
            let rest = class_of(class).ok_or(RuleFault::Class)?;
            let least = least.parse().ok().filter(|least| (8..=64).contains(least));
            Ok(Rule::Token {
                kind,
                prefix: prefix.to_owned(),
                rest,
                least: least.ok_or(RuleFault::Least)?,
            })
        }
    }
}

fn class_of(name: &str) -> Option<CharSet> {
    Some(match name {
        "alnum" => ALNUM,
        "word" => WORD,
        "hex" => HEX,
        "capitals" => CAPITALS,
        "base64" => ANY_BASE64,
        "base64url" => BASE64URL,
        "dotted" => DOTTED,
        _ => return None,
    })
}

/// The first word and the rest.
fn split(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// Why rules are not taken. No text of a rule is in it: that may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RedactionRulesError {
    /// More than [`RedactionRules::MAX_BYTES`].
    #[error("the rules have more than 65536 bytes")]
    TooLarge,
    /// More than [`RedactionRules::MAX_RULES`].
    #[error("there are more than 256 rules")]
    TooMany,
    /// A line that is no rule.
    #[error("line {number}: {fault}")]
    Line {
        /// Its number, from 1.
        number: usize,
        /// What is wrong with it.
        fault: RuleFault,
    },
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RuleFault {
    /// Its first word is no kind of rule.
    #[error("a rule begins with 'text', 'token' or 'name'")]
    Word,
    /// The mark's word.
    #[error("the kind is 1 to 32 lower-case letters, digits and '-'")]
    Kind,
    /// Too short.
    #[error("the text has fewer than 8 bytes")]
    Text,
    /// The name.
    #[error("the name is 3 to 32 letters, digits, '_' and '-'")]
    Name,
    /// The prefix.
    #[error("the prefix is 3 to 32 visible ASCII characters")]
    Prefix,
    /// The class of characters.
    #[error("the class is alnum, word, hex, capitals, base64, base64url or dotted")]
    Class,
    /// The least number of characters.
    #[error("the least number of characters is 8 to 64")]
    Least,
}

impl RedactionRulesError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooLarge | Self::TooMany => "merge rules: one prefix or name can stand for many secrets",
            Self::Line { .. } => {
                "mend the line: text KIND TEXT, token KIND PREFIX CLASS LEAST, or name KIND NAME"
            }
        }
    }

    /// A stable id.
    pub fn id(&self) -> &'static str {
        match self {
            Self::TooLarge => "redaction-rules-too-large",
            Self::TooMany => "redaction-rules-too-many",
            Self::Line { .. } => "redaction-rules-line",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Secrets;

    fn redact(rules: &str, text: &str) -> String {
        let rules = RedactionRules::parse(rules).unwrap();
        Secrets::new(&rules).redaction(None).text(text)
    }

    #[test]
    fn each_kind_of_rule_leaves_out_what_it_names() {
        let rules = "# ours\n\n  text pin  correct horse\ntoken acme ACME. dotted 8\nname code door-code\n";
        assert_eq!(
            redact(
                rules,
                "correct horse; ACME.1234567.8, acme.12345678; FRONT-DOOR-CODE: 4711"
            ),
            "[redacted:pin]; [redacted:acme], acme.12345678; FRONT-DOOR-CODE: [redacted:code]"
        );
    }

    #[test]
    fn a_line_that_is_no_rule_is_named_without_its_text() {
        for (line, fault) in [
            ("regex x .*", RuleFault::Word),
            ("text Secret! hunter2hunter2", RuleFault::Kind),
            ("text pin hunter2", RuleFault::Text),
            ("name pin hunter2 hunter2", RuleFault::Name),
            ("token pin hu hex 8", RuleFault::Prefix),
            ("token pin hunter2 any 8", RuleFault::Class),
            ("token pin hunter2 hex 7", RuleFault::Least),
            ("token pin hunter2 hex", RuleFault::Least),
        ] {
            let error = RedactionRules::parse(&format!("# first\n{line}\n")).unwrap_err();
            assert_eq!(error, RedactionRulesError::Line { number: 2, fault }, "{line}");
            let said = format!("{error} {error:?} {}", error.hint());
            assert!(said.contains("line 2: ") && !said.contains("hunter2"), "{said}");
        }
        let many = "name a abc\n".repeat(257);
        assert_eq!(
            RedactionRules::parse(&many).unwrap_err(),
            RedactionRulesError::TooMany
        );
        let large = "#".repeat(65_537);
        assert_eq!(
            RedactionRules::parse(&large).unwrap_err(),
            RedactionRulesError::TooLarge
        );
    }
}
