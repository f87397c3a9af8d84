//! The policy file of an agent 2.x: seven fields, no version.
//!
//! That agent took a damaged file for none. Here it is refused like any other, and so is a field that is not one of the seven.

use std::time::Duration;

use serde::Deserialize;

use super::folder::FolderPattern;
use super::parse::invalid;
use super::pattern::Pattern;
use super::{AuditMode, DEFAULT_APPROVAL_TIMEOUT, Effect, Origin, Policy, PolicyError, Rule};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an object: the policy")]
struct Document {
    #[serde(default)]
    require_approval: Option<bool>,
    #[serde(default)]
    trusted_agents: Vec<String>,
    #[serde(default)]
    blocked_patterns: Vec<String>,
    #[serde(default)]
    allowed_paths: Vec<String>,
    #[serde(default)]
    max_timeout_ms: Option<u64>,
    /// What tasks print is not this file's affair any more.
    #[serde(default)]
    sanitize_output: Option<bool>,
    #[serde(default)]
    audit_log: Option<bool>,
}

impl Document {
    fn is_empty(&self) -> bool {
        let flags = [self.require_approval, self.sanitize_output, self.audit_log];
        let lists = [&self.trusted_agents, &self.blocked_patterns, &self.allowed_paths];
        flags.iter().all(Option::is_none)
            && lists.iter().all(|list| list.is_empty())
            && self.max_timeout_ms.is_none()
    }
}

pub(super) fn parse(text: &[u8]) -> Result<Policy, PolicyError> {
    let document: Document = serde_json::from_slice(text).map_err(|error| match invalid(&error) {
        PolicyError::Invalid {
            line,
            column,
            problem,
        } => PolicyError::Invalid {
            line,
            column,
            problem: format!(
                "{problem}; the file has no \"version\": 1, so it is read as an agent 2.x would"
            ),
        },
        other => other,
    })?;
    if document.is_empty() {
        return Err(PolicyError::Invalid {
            line: 1,
            column: 1,
            problem: "there is nothing in it; a policy begins with \"version\": 1 and \"default\"".to_owned(),
        });
    }
    let mut rules = Vec::new();
    for (number, written) in document.blocked_patterns.iter().enumerate() {
        rules.push(Rule {
            commands: Some(blocked(written)?),
            reason: Some("blockedPatterns".to_owned()),
            ..empty_rule(format!("blocked-{}", number + 1), Effect::Deny)
        });
    }
    let ask = document.require_approval == Some(true);
    if ask && !document.trusted_agents.is_empty() {
        let agents: Result<Vec<_>, _> = document
            .trusted_agents
            .iter()
            .map(|name| Pattern::parse(&name.replace('\\', "\\\\").replace('*', "\\*")))
            .collect();
        rules.push(Rule {
            agents: Some(agents.map_err(|fault| PolicyError::older("trustedAgents", fault.to_string()))?),
            ..empty_rule("trusted-agents".to_owned(), Effect::Allow)
        });
    }
    let allowed_paths: Result<Vec<_>, _> = document
        .allowed_paths
        .iter()
        .map(|path| FolderPattern::parse(path))
        .collect();
    Ok(Policy {
        origin: Origin::OlderFile,
        default: if ask { Effect::Ask } else { Effect::Allow },
        rules,
        commands: Vec::new(),
        allowed_paths: allowed_paths
            .map_err(|fault| PolicyError::older("allowedPaths", fault.to_string()))?,
        approval_timeout: DEFAULT_APPROVAL_TIMEOUT,
        max_timeout: document.max_timeout_ms.map(Duration::from_millis),
        audit: match document.audit_log {
            Some(false) => AuditMode::Off,
            Some(true) | None => AuditMode::On,
        },
    })
}

fn empty_rule(name: String, effect: Effect) -> Rule {
    Rule {
        name,
        effect,
        executors: None,
        agents: None,
        folders: None,
        commands: None,
        reason: None,
    }
}

/// The old agent took these for regular expressions that may match anywhere, in capitals or small letters. What of such an expression is read here:
/// text, `\` before a punctuation mark, `.*`, and `|` between alternatives. Anything else is refused rather than
/// read as something that it did not mean.
fn blocked(written: &str) -> Result<Vec<Pattern>, PolicyError> {
    // It named the fork bomb by its text, which is an expression of another meaning.
    if written == ":(){:|:&};:" {
        return Ok(vec![Pattern::anywhere(written, vec![written.to_owned()])]);
    }
    let unreadable = || {
        PolicyError::older(
            "blockedPatterns",
            format!(
                "'{written}' is more of a regular expression than is read here; write a rule with '*' instead"
            ),
        )
    };
    let mut alternatives = Vec::new();
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut chars = written.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' => {
                let escaped = chars.next().filter(char::is_ascii_punctuation);
                piece.push(escaped.ok_or_else(unreadable)?);
            }
            '.' => {
                chars.next_if_eq(&'*').ok_or_else(unreadable)?;
                pieces.push(std::mem::take(&mut piece));
            }
            '|' => {
                pieces.push(std::mem::take(&mut piece));
                alternatives.push(std::mem::take(&mut pieces));
            }
            '(' | ')' | '[' | ']' | '{' | '}' | '*' | '+' | '?' | '^' | '$' => return Err(unreadable()),
            char => piece.push(char),
        }
    }
    pieces.push(piece);
    alternatives.push(pieces);
    if alternatives
        .iter()
        .any(|pieces| pieces.iter().all(String::is_empty))
    {
        // It would have blocked everything.
        return Err(unreadable());
    }
    Ok(alternatives
        .into_iter()
        .map(|pieces| Pattern::anywhere(written, pieces))
        .collect())
}

/// What looks like an absolute path in a text.
pub(super) fn paths_in(input: &str) -> impl Iterator<Item = &str> {
    let mut rest = input;
    std::iter::from_fn(move || {
        let from = &rest[rest.find('/')?..];
        let end = from
            .find(|char: char| !(char.is_ascii_alphanumeric() || "_-./".contains(char)))
            .unwrap_or(from.len());
        let (path, behind) = from.split_at(end.max(1));
        rest = behind;
        Some(path)
    })
    .filter(|path| path.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(pattern: &str, input: &str) -> bool {
        blocked(pattern).unwrap().iter().any(|it| it.matches(input))
    }

    #[test]
    fn the_expressions_that_people_wrote_still_block() {
        for (pattern, input, expected) in [
            ("rm -rf /", "sudo RM -RF / ", true),
            (r"rm -rf \*", "rm -rf *", true),
            (r"rm -rf \*", "rm -rf x", false),
            (r"mkfs\.", "mkfs.ext4 /dev/sda", true),
            (r"curl.*\|.*sh", "curl http://x | bash", true),
            (r"curl.*\|.*sh", "curl http://x", false),
            ("halt|reboot", "please reboot", true),
            (":(){:|:&};:", ":(){:|:&};:", true),
        ] {
            assert_eq!(blocks(pattern, input), expected, "{pattern} on {input}");
        }
    }

    #[test]
    fn what_is_not_read_is_refused_and_not_guessed() {
        for pattern in ["a+", "(a|b)", "[ab]", "a.c", r"\d", "^a", "a{2}", "", "a|"] {
            let error = blocked(pattern).unwrap_err();
            assert_eq!(error.id(), "policy-invalid", "{pattern}");
        }
    }

    #[test]
    fn paths_are_found_in_a_command() {
        let found = |input| paths_in(input).collect::<Vec<_>>();
        assert_eq!(found("cat /etc/passwd > '/tmp/x y'"), ["/etc/passwd", "/tmp/x"]);
        assert!(found("ls -l / a").is_empty());
    }
}
