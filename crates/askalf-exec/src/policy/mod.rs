//! What the device's owner lets tasks do: rules on executor, agent, folder and command.
//!
//! The strictest rule that matches decides, whatever its place in the file: `deny` before `ask` before `allow` before the default.
//! So a rule that is added never opens what another one closes.

mod file;
mod folder;
mod legacy;
mod parse;
mod pattern;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use file::{MAX_POLICY_BYTES, PolicyError, PolicyFile};
use folder::FolderPattern;
pub use pattern::MAX_PATTERN;
use pattern::Pattern;

/// How long a task waits for an approval where the policy names no time.
pub const DEFAULT_APPROVAL_TIMEOUT: Duration = Duration::from_secs(300);

/// What happens to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It runs.
    Allow,
    /// A person is asked first.
    Ask,
    /// It is refused.
    Deny,
}

impl Effect {
    /// Its word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// What becomes of the audit log, and of tasks where it cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditMode {
    /// Nothing is recorded.
    Off,
    /// Everything is recorded; where it cannot be, tasks run all the same and the log of the daemon says so.
    #[default]
    On,
    /// A task runs only once its decision is on the disk.
    Required,
}

impl AuditMode {
    /// Its word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Required => "required",
        }
    }
}

/// Where a policy came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// There is no file.
    BuiltIn,
    /// A file of this version.
    File,
    /// A file that an agent 2.x would read.
    OlderFile,
}

/// A task as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct TaskFacts<'a> {
    /// What runs it.
    pub executor: &'a str,
    /// Id of the agent in whose name it runs.
    pub agent_id: Option<&'a str>,
    /// That agent's name.
    pub agent_name: Option<&'a str>,
    /// The folder it runs in, with symbolic links followed; `None` where it cannot be told.
    pub folder: Option<&'a Path>,
    /// What it would do.
    pub input: &'a str,
}

/// What the policy says about a task, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What happens.
    pub effect: Effect,
    /// What decides: the rule's name, or `default`, `named command`, `allowedPaths`, `folder`.
    pub rule: String,
    /// Why, in the words of whoever wrote the rule, or in ours.
    pub reason: Option<String>,
    /// The program and its arguments that run instead of the input.
    pub command: Option<Vec<String>>,
}

/// The rules of a device.
///
/// ```
/// use std::path::Path;
/// use askalf_exec::{Effect, Policy, TaskFacts};
///
/// let policy = Policy::parse(br#"{
///     "version": 1,
///     "default": "deny",
///     "rules": [
///         {"name": "git", "effect": "allow", "executor": "shell", "command": ["git status", "git log *"]},
///         {"name": "no-force", "effect": "deny", "command": "*--force*"}
///     ]
/// }"#)?;
/// let decide = |input| {
///     let facts = TaskFacts { executor: "shell", agent_id: None, agent_name: None, folder: Some(Path::new("/srv")), input };
///     policy.decide(&facts, &|_| None).effect
/// };
/// assert_eq!(decide("git log -3"), Effect::Allow);
/// assert_eq!(decide("git log --force"), Effect::Deny);
/// assert_eq!(decide("git log; reboot"), Effect::Deny);
/// # Ok::<(), askalf_exec::PolicyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub(crate) origin: Origin,
    pub(crate) default: Effect,
    pub(crate) rules: Vec<Rule>,
    pub(crate) commands: Vec<NamedCommand>,
    /// `allowedPaths` of an older file; empty: no limit.
    pub(crate) allowed_paths: Vec<FolderPattern>,
    pub(crate) approval_timeout: Duration,
    pub(crate) max_timeout: Option<Duration>,
    pub(crate) audit: AuditMode,
}

/// One rule. All of its conditions must hold; a missing one always does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(crate) name: String,
    pub(crate) effect: Effect,
    pub(crate) executors: Option<Vec<Pattern>>,
    pub(crate) agents: Option<Vec<Pattern>>,
    pub(crate) folders: Option<Vec<FolderPattern>>,
    pub(crate) commands: Option<Vec<Pattern>>,
    pub(crate) reason: Option<String>,
}

/// A program and its arguments under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCommand {
    pub(crate) name: String,
    pub(crate) argv: Vec<String>,
}

/// How a rule stands to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    No,
    /// It would, but for a character that a shell acts on, in the place of a `*`.
    ButForOperator,
    Yes,
}

impl Policy {
    /// What holds where there is no file: whatever the device's executors can do is allowed, as its owner let the bridge
    /// dispatch to it by pairing it.
    pub fn built_in() -> Self {
        Self {
            origin: Origin::BuiltIn,
            default: Effect::Allow,
            rules: Vec::new(),
            commands: Vec::new(),
            allowed_paths: Vec::new(),
            approval_timeout: DEFAULT_APPROVAL_TIMEOUT,
            max_timeout: None,
            audit: AuditMode::default(),
        }
    }

    /// Reads the text of a policy file, of this version or of an agent 2.x. `docs/policy.md` describes both.
    ///
    /// # Errors
    /// [`PolicyError::TooLarge`] and [`PolicyError::Invalid`].
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        parse::parse(text)
    }

    /// Where it came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// What happens to a task that no rule names.
    pub fn default_effect(&self) -> Effect {
        self.default
    }

    /// The rules, in the order of the file.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The named commands.
    pub fn commands(&self) -> &[NamedCommand] {
        &self.commands
    }

    /// `allowedPaths` of an older file, as they stand there.
    pub fn allowed_paths(&self) -> impl Iterator<Item = &str> {
        self.allowed_paths.iter().map(FolderPattern::as_str)
    }

    /// How long a task waits for an approval.
    pub fn approval_timeout(&self) -> Duration {
        self.approval_timeout
    }

    /// Longest run of any task.
    pub fn max_timeout(&self) -> Option<Duration> {
        self.max_timeout
    }

    /// Whether decisions are recorded.
    pub fn audit(&self) -> AuditMode {
        self.audit
    }

    /// What happens to this task. `real_path` follows the symbolic links of a folder that a rule names; `None` where there is no
    /// such folder.
    ///
    /// Takes time in proportion to the task's input and the number of patterns, whatever they are.
    pub fn decide(&self, facts: &TaskFacts<'_>, real_path: &dyn Fn(&Path) -> Option<PathBuf>) -> Decision {
        let command = self.named_command(facts);
        let argv = || command.map(|command| command.argv.clone());
        // Spaces around a name change nothing of what runs: nor may they lead past a rule on it.
        let facts = &TaskFacts {
            input: command.map_or(facts.input, |command| &command.name),
            ..*facts
        };
        if let Some(reason) = self.unknown_folder(facts) {
            return Decision::new(Effect::Deny, "folder", Some(reason));
        }
        let mut strictest: Option<&Rule> = None;
        let mut nearly: Option<&Rule> = None;
        for rule in &self.rules {
            match rule.matches(facts, real_path) {
                Match::Yes if strictest.is_none_or(|so_far| so_far.effect < rule.effect) => {
                    strictest = Some(rule);
                }
                Match::ButForOperator if nearly.is_none() => nearly = Some(rule),
                Match::Yes | Match::ButForOperator | Match::No => {}
            }
        }
        let outside = self.outside_allowed_paths(facts, real_path);
        match strictest {
            Some(rule) if rule.effect == Effect::Deny => Decision::by(rule, None),
            _ if outside.is_some() => Decision::new(Effect::Deny, "allowedPaths", outside),
            Some(rule) => Decision::by(rule, argv()),
            None => match command {
                Some(command) => Decision {
                    command: argv(),
                    ..Decision::new(
                        Effect::Allow,
                        "named command",
                        Some(format!("'{}' is a named command", command.name)),
                    )
                },
                None => Decision::new(self.default, "default", self.default_reason(nearly)),
            },
        }
    }

    /// The same for a task of this device: its folder is looked up on the disk, from `default`, and yielded with the decision.
    ///
    /// Blocks.
    pub fn decide_here(
        &self,
        facts: &TaskFacts<'_>,
        default: &Path,
        named: Option<&Path>,
    ) -> (Decision, Option<PathBuf>) {
        let folder = folder::real_folder(default, named);
        let facts = TaskFacts {
            folder: folder.as_deref(),
            ..*facts
        };
        let decision = self.decide(&facts, &|path| path.canonicalize().ok());
        (decision, folder)
    }

    /// A shell task whose input is the name of a command.
    fn named_command(&self, facts: &TaskFacts<'_>) -> Option<&NamedCommand> {
        if facts.executor != "shell" {
            return None;
        }
        let name = facts.input.trim();
        self.commands.iter().find(|command| command.name == name)
    }

    /// Rules on folders say nothing about a folder that is not known, which must not open anything.
    fn unknown_folder(&self, facts: &TaskFacts<'_>) -> Option<String> {
        let by_folder = self.rules.iter().any(|rule| rule.folders.is_some());
        (facts.folder.is_none() && (by_folder || !self.allowed_paths.is_empty())).then(|| {
            "the task's folder does not exist or cannot be looked at, and the policy has rules on folders"
                .to_owned()
        })
    }

    /// What an agent 2.x looked at are the paths in the input; the folder counts here too.
    fn outside_allowed_paths(
        &self,
        facts: &TaskFacts<'_>,
        real_path: &dyn Fn(&Path) -> Option<PathBuf>,
    ) -> Option<String> {
        if self.allowed_paths.is_empty() {
            return None;
        }
        let allowed = |path: &Path| {
            self.allowed_paths
                .iter()
                .any(|pattern| pattern.matches(path, real_path))
        };
        if facts.folder.is_none_or(|folder| !allowed(folder)) {
            return Some("the task's folder is outside of allowedPaths".to_owned());
        }
        legacy::paths_in(facts.input)
            .any(|path| !allowed(Path::new(path)))
            .then(|| "a path in the task is outside of allowedPaths".to_owned())
    }

    fn default_reason(&self, nearly: Option<&Rule>) -> Option<String> {
        let nearly = nearly?;
        (self.default != Effect::Allow).then(|| {
            format!(
                "rule '{}' would allow it, but '*' stands for no character that a shell acts on",
                nearly.name
            )
        })
    }
}

impl Decision {
    fn new(effect: Effect, rule: &str, reason: Option<String>) -> Self {
        Self {
            effect,
            rule: rule.to_owned(),
            reason,
            command: None,
        }
    }

    fn by(rule: &Rule, command: Option<Vec<String>>) -> Self {
        Self {
            command,
            ..Self::new(rule.effect, &rule.name, rule.reason.clone())
        }
    }

    /// Why a task is refused and how to change that, for whoever dispatched it.
    pub fn refusal(&self) -> String {
        let reason = self
            .reason
            .as_deref()
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default();
        format!(
            "refused by the device's policy: {}{reason}. Its owner can change policy.json; 'askalf-agent policy check' explains",
            self.rule_shown()
        )
    }

    /// What decides, for a person.
    pub fn rule_shown(&self) -> String {
        match self.rule.as_str() {
            "default" => "no rule names it, and the default decides".to_owned(),
            "named command" | "allowedPaths" | "folder" => self.rule.clone(),
            name => format!("rule '{name}'"),
        }
    }
}

impl Rule {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it says.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Why, in its writer's words.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Its conditions: the field's name in the file, and the patterns as they stand there.
    pub fn conditions(&self) -> Vec<(&'static str, Vec<&str>)> {
        let mut conditions = Vec::new();
        for (name, list) in [
            ("executor", &self.executors),
            ("agent", &self.agents),
            ("command", &self.commands),
        ] {
            if let Some(list) = list {
                conditions.push((name, list.iter().map(Pattern::as_str).collect()));
            }
        }
        if let Some(folders) = &self.folders {
            conditions.push(("cwd", folders.iter().map(FolderPattern::as_str).collect()));
        }
        conditions
    }

    fn matches(&self, facts: &TaskFacts<'_>, real_path: &dyn Fn(&Path) -> Option<PathBuf>) -> Match {
        let any = |patterns: &Option<Vec<Pattern>>, texts: &[&str]| {
            patterns.as_ref().is_none_or(|patterns| {
                patterns
                    .iter()
                    .any(|pattern| texts.iter().any(|text| pattern.matches(text)))
            })
        };
        let agents = [facts.agent_id, facts.agent_name].map(Option::unwrap_or_default);
        let in_folder = self.folders.as_ref().is_none_or(|folders| {
            facts
                .folder
                .is_some_and(|folder| folders.iter().any(|pattern| pattern.matches(folder, real_path)))
        });
        if !any(&self.executors, &[facts.executor]) || !any(&self.agents, &agents) || !in_folder {
            return Match::No;
        }
        let Some(commands) = &self.commands else {
            return Match::Yes;
        };
        // A shell runs what stands behind an operator too: `git *` must not let `git log; reboot` through.
        let strict = self.effect == Effect::Allow && facts.executor == "shell";
        if strict
            && commands
                .iter()
                .any(|pattern| pattern.matches_plainly(facts.input))
        {
            return Match::Yes;
        }
        match commands.iter().any(|pattern| pattern.matches(facts.input)) {
            true if strict => Match::ButForOperator,
            true => Match::Yes,
            false => Match::No,
        }
    }
}

impl NamedCommand {
    /// The input that runs it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The program and its arguments.
    pub fn argv(&self) -> &[String] {
        &self.argv
    }
}

#[cfg(test)]
mod tests;
