//! The secrets that are known, shared by all tasks, and what one task adds to them.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use askalf_proto::Credentials;
use serde_json::Value;
use zeroize::Zeroizing;

use super::literal::Literal;
use super::matcher::Matcher;
use super::redactor::Redactor;
use super::rules::RedactionRules;

/// Most exact secrets that are remembered; a later one takes the place of the one that was named longest ago.
const MOST_KNOWN: usize = 16;

/// What must not get out, beside the shapes that are built in: rules of the user, and exact secrets of which more may become known at
/// any time. A clone is the same set.
///
/// ```
/// use askalf_exec::redact::Secrets;
///
/// let secrets = Secrets::default();
/// let redaction = secrets.redaction(None);
/// // A key that becomes known later is covered in tasks that run already.
/// secrets.cover("agent-key", "correct-horse-battery");
/// assert_eq!(redaction.text("key: correct-horse-battery."), "key: [redacted:agent-key].");
/// ```
#[derive(Clone)]
pub struct Secrets(Arc<Shared>);

struct Shared {
    rules: Mutex<Arc<Matcher>>,
    /// How many exact secrets ever became known.
    count: AtomicU64,
    known: Mutex<Vec<(u64, Literal)>>,
}

impl Secrets {
    /// The built-in shapes and these rules.
    pub fn new(rules: &RedactionRules) -> Self {
        Self(Arc::new(Shared {
            rules: Mutex::new(with_built_in(rules)),
            count: AtomicU64::new(0),
            known: Mutex::default(),
        }))
    }

    /// These rules in the place of those before them, for tasks that start from now on. Secrets that are known stay so.
    pub fn replace_rules(&self, rules: &RedactionRules) {
        *self.rules() = with_built_in(rules);
    }

    /// From now on, in running tasks too, `text` is replaced by `[redacted:kind]` wherever it stands. Text below eight bytes is not:
    /// it stands in ordinary output by chance. The latest 16 are remembered.
    pub fn cover(&self, kind: &'static str, text: &str) {
        let literal = Literal::new(kind, text);
        let mut known = self.known();
        if let Some(at) = known.iter().position(|(_, old)| *old == literal) {
            // It is in use: those that are not are forgotten before it.
            known[at..].rotate_left(1);
            return;
        }
        let number = self.0.count.load(Ordering::Relaxed) + 1;
        known.push((number, literal));
        if known.len() > MOST_KNOWN {
            known.remove(0);
        }
        self.0.count.store(number, Ordering::Release);
    }

    /// What holds for one task. Of its credentials the whole is secret, line by line, and where they are JSON each string of
    /// eight bytes or more.
    pub fn redaction(&self, credentials: Option<&Credentials>) -> Redaction {
        let mut matcher = Arc::clone(&self.rules()).copied();
        if let Some(credentials) = credentials {
            let text = credentials.expose_secret();
            matcher.add_literal(&Literal::new("credential", text));
            if let Ok(value) = serde_json::from_str(text) {
                add_strings(&mut matcher, value);
            }
        }
        let mut redaction = Redaction {
            secrets: self.clone(),
            matcher: Arc::new(matcher),
            seen: 0,
        };
        redaction.refresh();
        redaction
    }

    fn rules(&self) -> MutexGuard<'_, Arc<Matcher>> {
        self.0.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Vec<(u64, Literal)>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_built_in(rules: &RedactionRules) -> Arc<Matcher> {
    let mut matcher = Matcher::built_in();
    rules.add_to(&mut matcher);
    Arc::new(matcher)
}

/// The built-in shapes alone.
impl Default for Secrets {
    fn default() -> Self {
        Self::new(&RedactionRules::default())
    }
}

/// How many, none of them.
impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secrets({} known)", self.known().len())
    }
}

fn add_strings(matcher: &mut Matcher, value: Value) {
    match value {
        Value::String(text) => {
            let text = Zeroizing::new(text);
            matcher.add_literal(&Literal::new("credential", &text));
        }
        Value::Array(values) => values.into_iter().for_each(|value| add_strings(matcher, value)),
        Value::Object(fields) => fields
            .into_iter()
            .for_each(|(_, value)| add_strings(matcher, value)),
        _ => {}
    }
}

/// What must not get out of one task.
#[derive(Clone)]
pub struct Redaction {
    secrets: Secrets,
    matcher: Arc<Matcher>,
    /// So many of the exact secrets are in the matcher.
    seen: u64,
}

impl Redaction {
    /// For one stream of the task.
    pub fn stream(&self) -> Redactor {
        let mut redaction = self.clone();
        redaction.refresh();
        Redactor::new(redaction)
    }

    /// A text that is whole, redacted.
    pub fn text(&self, text: &str) -> String {
        let mut stream = self.stream();
        let mut out = stream.push(text);
        out += &stream.finish();
        out
    }

    pub(super) fn matcher(&self) -> &Arc<Matcher> {
        &self.matcher
    }

    /// Takes up what became known since.
    pub(super) fn refresh(&mut self) {
        let count = self.secrets.0.count.load(Ordering::Acquire);
        if count == self.seen {
            return;
        }
        let mut latest = count;
        let mut matcher = self.matcher.copied();
        let known = self.secrets.known();
        for (number, literal) in known.iter().filter(|(number, _)| *number > self.seen) {
            matcher.add_literal(literal);
            latest = latest.max(*number);
        }
        drop(known);
        self.matcher = Arc::new(matcher);
        self.seen = latest;
    }
}

impl fmt::Debug for Redaction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Redaction(..)")
    }
}

/// The kind of a user's rule.
pub(super) fn own_kind(name: &str) -> Cow<'static, str> {
    Cow::Owned(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_rules_count_for_the_next_task_and_what_is_known_stays_known() {
        let secrets = Secrets::new(&RedactionRules::parse("text pin correct-horse").unwrap());
        secrets.cover("agent-key", "battery-staple");
        let running = secrets.redaction(None);
        secrets.replace_rules(&RedactionRules::parse("text code other-words").unwrap());
        let said = "correct-horse other-words battery-staple";
        assert_eq!(
            running.text(said),
            "[redacted:pin] other-words [redacted:agent-key]"
        );
        assert_eq!(
            secrets.redaction(None).text(said),
            "correct-horse [redacted:code] [redacted:agent-key]"
        );
    }
}
