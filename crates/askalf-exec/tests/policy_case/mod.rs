//! What one input of the fuzz target `policy` means, and what must hold for it. The fuzz target and the replay of its corpus share it.
//!
//! Up to the first NUL byte it is a policy.json; between the next ones stand the task's executor, agent, folder and input.

use std::path::Path;

use askalf_exec::{Decision, Effect, Policy, TaskFacts};

pub(crate) fn check(data: &[u8]) {
    let mut parts = data.splitn(5, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let text = part();
    let rest: Vec<String> = (0..4)
        .map(|_| String::from_utf8_lossy(part()).into_owned())
        .collect();
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(error) => {
            let told = error.to_string();
            assert!(
                told.starts_with("policy.json") && !error.hint().is_empty(),
                "{told}"
            );
            assert!(!told.contains("struct "), "a person reads this: {told}");
            return;
        }
    };
    let [executor, agent, folder, input] = rest.as_slice() else {
        return;
    };
    let facts = TaskFacts {
        executor,
        agent_id: Some(agent),
        agent_name: None,
        folder: Some(Path::new(folder)),
        input,
    };
    let decide = |facts: &TaskFacts<'_>| policy.decide(facts, &|path| Some(path.to_owned()));
    let decision = decide(&facts);
    holds(&policy, &facts, &decision);
    // Without a folder nothing is easier than with one.
    let nowhere = decide(&TaskFacts {
        folder: None,
        ..facts
    });
    if nowhere.effect == Effect::Allow {
        let by_folder = policy
            .rules()
            .iter()
            .any(|rule| rule.conditions().iter().any(|(name, _)| *name == "cwd"));
        assert!(!by_folder && policy.allowed_paths().count() == 0, "{nowhere:?}");
    }
}

fn holds(policy: &Policy, facts: &TaskFacts<'_>, decision: &Decision) {
    assert!(!decision.refusal().is_empty());
    // A decision names what made it.
    match policy.rules().iter().find(|rule| rule.name() == decision.rule) {
        Some(rule) => assert_eq!(rule.effect(), decision.effect),
        None => match decision.rule.as_str() {
            "default" => assert_eq!(decision.effect, policy.default_effect()),
            "allowedPaths" => assert_eq!(decision.effect, Effect::Deny),
            "named command" => assert_eq!(decision.effect, Effect::Allow),
            other => panic!("nobody is called {other}"),
        },
    }
    // What runs in the input's place is written in the policy, for the shell alone, and never where it is refused.
    if let Some(argv) = &decision.command {
        assert_eq!(facts.executor, "shell");
        assert_ne!(decision.effect, Effect::Deny);
        let named = policy
            .commands()
            .iter()
            .find(|it| it.name() == facts.input.trim());
        assert_eq!(named.map(|command| command.argv()), Some(argv.as_slice()));
    }
    // A rule without conditions that denies denies everything.
    let denies_all = policy
        .rules()
        .iter()
        .any(|rule| rule.effect() == Effect::Deny && rule.conditions().is_empty());
    assert!(!denies_all || decision.effect == Effect::Deny);
}
