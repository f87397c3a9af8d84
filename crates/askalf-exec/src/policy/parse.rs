//! Reading the text of a policy file.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::folder::FolderPattern;
use super::pattern::Pattern;
use super::{
    AuditMode, DEFAULT_APPROVAL_TIMEOUT, Effect, MAX_POLICY_BYTES, NamedCommand, Origin, Policy, PolicyError,
    Rule, legacy,
};

/// Most rules, and most named commands.
const MOST_RULES: usize = 512;
/// Most patterns of one condition, and most arguments of a command.
const MOST_PATTERNS: usize = 256;
/// Longest name and reason, in characters.
const MAX_NAME: usize = 64;
const MAX_REASON: usize = 200;

pub(super) fn parse(text: &[u8]) -> Result<Policy, PolicyError> {
    if text.len() > MAX_POLICY_BYTES {
        return Err(PolicyError::TooLarge);
    }
    // Editors on Windows begin a file with it.
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let probe: Probe = serde_json::from_slice(text).map_err(|error| invalid(&error))?;
    if probe.version.is_none() {
        return legacy::parse(text);
    }
    let document: Document = serde_json::from_slice(text).map_err(|error| invalid(&error))?;
    Ok(document.into())
}

pub(super) fn invalid(error: &serde_json::Error) -> PolicyError {
    let told = error.to_string();
    // The place is told apart from the problem.
    let problem = told
        .rsplit_once(" at line ")
        .map_or(told.as_str(), |(problem, _)| problem);
    PolicyError::Invalid {
        line: error.line(),
        column: error.column(),
        problem: problem.to_owned(),
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object: the policy")]
struct Probe {
    #[serde(default)]
    version: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an object: the policy")]
struct Document {
    #[serde(rename = "version", deserialize_with = "version")]
    _version: (),
    #[serde(deserialize_with = "effect")]
    default: Effect,
    #[serde(default, deserialize_with = "rules")]
    rules: Vec<Rule>,
    #[serde(default, deserialize_with = "commands")]
    commands: Vec<NamedCommand>,
    #[serde(default, deserialize_with = "approval_timeout")]
    approval_timeout_seconds: Option<Duration>,
    #[serde(default, deserialize_with = "max_timeout")]
    max_timeout_minutes: Option<Duration>,
    #[serde(default, deserialize_with = "audit")]
    audit: AuditMode,
}

impl From<Document> for Policy {
    fn from(document: Document) -> Self {
        Self {
            origin: Origin::File,
            default: document.default,
            rules: document.rules,
            commands: document.commands,
            allowed_paths: Vec::new(),
            approval_timeout: document
                .approval_timeout_seconds
                .unwrap_or(DEFAULT_APPROVAL_TIMEOUT),
            max_timeout: document.max_timeout_minutes,
            audit: document.audit,
        }
    }
}

/// Reads a text by `read`. What is wrong with it is told from within the visitor: only there is the reader still at its place.
fn text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    struct Text<F>(F);
    impl<T, F: FnOnce(&str) -> Result<T, String>> Visitor<'_> for Text<F> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a text")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.0)(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Text(read))
}

/// The same for a whole number.
fn number<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(u64) -> Result<T, String>,
) -> Result<T, D::Error> {
    struct Number<F>(F);
    impl<T, F: FnOnce(u64) -> Result<T, String>> Visitor<'_> for Number<F> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a whole number")
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
            (self.0)(number).map_err(E::custom)
        }
    }
    deserializer.deserialize_u64(Number(read))
}

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    number(deserializer, |version| match version {
        1 => Ok(()),
        other => Err(format!(
            "version {other} is not known here: this agent reads version 1"
        )),
    })
}

fn effect<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Effect, D::Error> {
    text(deserializer, |word| {
        [Effect::Allow, Effect::Ask, Effect::Deny]
            .into_iter()
            .find(|effect| effect.as_str() == word)
            .ok_or_else(|| "an effect is \"allow\", \"ask\" or \"deny\"".to_owned())
    })
}

fn audit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AuditMode, D::Error> {
    text(deserializer, |word| {
        [AuditMode::Off, AuditMode::On, AuditMode::Required]
            .into_iter()
            .find(|mode| mode.as_str() == word)
            .ok_or_else(|| "audit is \"off\", \"on\" or \"required\"".to_owned())
    })
}

fn approval_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let seconds = within(deserializer, 1, 86_400, "approvalTimeoutSeconds")?;
    Ok(Some(Duration::from_secs(seconds)))
}

fn max_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let minutes = within(deserializer, 1, 1_440, "maxTimeoutMinutes")?;
    Ok(Some(Duration::from_secs(minutes * 60)))
}

fn within<'de, D: Deserializer<'de>>(
    deserializer: D,
    least: u64,
    most: u64,
    name: &str,
) -> Result<u64, D::Error> {
    number(deserializer, |number| {
        (least..=most)
            .contains(&number)
            .then_some(number)
            .ok_or_else(|| format!("{name} is from {least} to {most}"))
    })
}

fn rules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Rule>, D::Error> {
    struct Rules;
    impl<'de> Visitor<'de> for Rules {
        type Value = Vec<Rule>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a list of rules")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Rule>, A::Error> {
            let mut rules: Vec<Rule> = Vec::new();
            let mut names = HashSet::new();
            while let Some(rule) = list.next_element::<WrittenRule>()? {
                if rules.len() >= MOST_RULES {
                    return Err(de::Error::custom(format_args!(
                        "there are at most {MOST_RULES} rules"
                    )));
                }
                let rule = Rule::from(rule);
                if !names.insert(rule.name.clone()) {
                    return Err(de::Error::custom(format_args!(
                        "there are two rules of the name '{}'",
                        rule.name
                    )));
                }
                rules.push(rule);
            }
            Ok(rules)
        }
    }
    deserializer.deserialize_seq(Rules)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an object: a rule")]
struct WrittenRule {
    #[serde(deserialize_with = "rule_name")]
    name: String,
    #[serde(deserialize_with = "effect")]
    effect: Effect,
    #[serde(default, deserialize_with = "patterns")]
    executor: Option<Vec<Pattern>>,
    #[serde(default, deserialize_with = "patterns")]
    agent: Option<Vec<Pattern>>,
    #[serde(default, deserialize_with = "patterns")]
    cwd: Option<Vec<FolderPattern>>,
    #[serde(default, deserialize_with = "patterns")]
    command: Option<Vec<Pattern>>,
    #[serde(default, deserialize_with = "reason")]
    reason: Option<String>,
}

impl From<WrittenRule> for Rule {
    fn from(rule: WrittenRule) -> Self {
        Self {
            name: rule.name,
            effect: rule.effect,
            executors: rule.executor,
            agents: rule.agent,
            folders: rule.cwd,
            commands: rule.command,
            reason: rule.reason,
        }
    }
}

/// What stands for a decision that no rule made, in the audit log too.
const TAKEN_NAMES: [&str; 4] = ["default", "named command", "allowedPaths", "folder"];

fn rule_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text(deserializer, |name| {
        if TAKEN_NAMES.contains(&name) {
            return Err(format!("no rule may be called '{name}'"));
        }
        plain(name, MAX_NAME, "a name")
    })
}

fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    text(deserializer, |reason| {
        plain(reason, MAX_REASON, "a reason").map(Some)
    })
}

/// A text that can stand in a log line.
fn plain(text: &str, most: usize, what: &str) -> Result<String, String> {
    let count = text.chars().count();
    if count == 0 || count > most || text.trim() != text || text.chars().any(char::is_control) {
        return Err(format!(
            "{what} has 1 to {most} characters, no line breaks, and no spaces around it"
        ));
    }
    Ok(text.to_owned())
}

/// What a condition is made of.
trait Condition: Sized {
    fn read(text: &str) -> Result<Self, String>;
}

impl Condition for Pattern {
    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|fault| fault.to_string())
    }
}

impl Condition for FolderPattern {
    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|fault| fault.to_string())
    }
}

/// One pattern, or a list of them.
fn patterns<'de, D: Deserializer<'de>, C: Condition>(deserializer: D) -> Result<Option<Vec<C>>, D::Error> {
    struct Patterns<C>(std::marker::PhantomData<C>);
    impl<'de, C: Condition> Visitor<'de> for Patterns<C> {
        type Value = Vec<C>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a pattern or a list of patterns")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<C>, E> {
            Ok(vec![C::read(text).map_err(E::custom)?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<C>, A::Error> {
            let mut patterns = Vec::new();
            while let Some(text) = list.next_element::<String>()? {
                if patterns.len() >= MOST_PATTERNS {
                    return Err(de::Error::custom(format_args!(
                        "a condition has at most {MOST_PATTERNS} patterns"
                    )));
                }
                patterns.push(C::read(&text).map_err(de::Error::custom)?);
            }
            if patterns.is_empty() {
                return Err(de::Error::custom(
                    "a condition without patterns matches nothing: leave it out to match everything",
                ));
            }
            Ok(patterns)
        }
    }
    deserializer
        .deserialize_any(Patterns(std::marker::PhantomData))
        .map(Some)
}

fn commands<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NamedCommand>, D::Error> {
    struct Commands;
    impl<'de> Visitor<'de> for Commands {
        type Value = Vec<NamedCommand>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object of names and lists of words")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<NamedCommand>, A::Error> {
            let mut commands = Vec::new();
            let mut names = HashSet::new();
            while let Some((name, argv)) = map.next_entry::<String, Vec<String>>()? {
                if commands.len() >= MOST_RULES {
                    return Err(de::Error::custom(format_args!(
                        "there are at most {MOST_RULES} commands"
                    )));
                }
                if !names.insert(name.clone()) {
                    return Err(de::Error::custom(format_args!(
                        "there are two commands of the name '{name}'"
                    )));
                }
                commands.push(NamedCommand {
                    name: plain(&name, MAX_NAME, "the name of a command").map_err(de::Error::custom)?,
                    argv: argv_of(argv).map_err(de::Error::custom)?,
                });
            }
            Ok(commands)
        }
    }
    deserializer.deserialize_map(Commands)
}

fn argv_of(argv: Vec<String>) -> Result<Vec<String>, &'static str> {
    let program = argv.first().ok_or("a command has at least a program")?;
    if !std::path::Path::new(program).is_absolute() {
        return Err("a command's program is named by its whole path, from the root");
    }
    if argv.len() > MOST_PATTERNS {
        return Err("a command has at most 255 arguments");
    }
    if argv.iter().any(|word| word.contains('\0')) {
        return Err("a command's words hold no NUL");
    }
    Ok(argv)
}
