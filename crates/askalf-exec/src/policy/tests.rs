use super::*;

fn policy(text: &str) -> Policy {
    Policy::parse(text.as_bytes()).unwrap()
}

fn facts(input: &str) -> TaskFacts<'_> {
    TaskFacts {
        executor: "shell",
        agent_id: Some("a1"),
        agent_name: Some("Deployer"),
        folder: Some(Path::new(if cfg!(windows) { "C:/srv/app" } else { "/srv/app" })),
        input,
    }
}

fn decide(policy: &Policy, facts: &TaskFacts<'_>) -> (Effect, String) {
    let decision = policy.decide(facts, &|_| None);
    (decision.effect, decision.rule)
}

#[test]
fn the_strictest_rule_wins_whatever_its_place() {
    let rules = [
        r#"{"name":"a","effect":"allow","command":"make *"}"#,
        r#"{"name":"b","effect":"ask","command":"* deploy*"}"#,
        r#"{"name":"c","effect":"deny","command":"*prod*"}"#,
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let list = order.map(|at| rules[at]).join(",");
        let policy = policy(&format!(r#"{{"version":1,"default":"deny","rules":[{list}]}}"#));
        for (input, effect, rule) in [
            ("make test", Effect::Allow, "a"),
            ("make deploy", Effect::Ask, "b"),
            ("make deploy-prod", Effect::Deny, "c"),
            ("ls", Effect::Deny, "default"),
        ] {
            assert_eq!(
                decide(&policy, &facts(input)),
                (effect, rule.to_owned()),
                "{input}"
            );
        }
    }
}

#[test]
fn all_conditions_must_hold_and_each_has_alternatives() {
    let policy = policy(
        r#"{"version":1,"default":"allow","rules":[
            {"name":"x","effect":"deny","executor":["shell","claude"],"agent":"Deploy*","command":"rm*","reason":"no"}]}"#,
    );
    let all = facts("rm x");
    assert_eq!(decide(&policy, &all), (Effect::Deny, "x".into()));
    for other in [
        TaskFacts {
            executor: "codex",
            ..all
        },
        TaskFacts {
            agent_name: Some("Other"),
            ..all
        },
        TaskFacts {
            agent_name: None,
            agent_id: None,
            ..all
        },
        TaskFacts { input: "ls", ..all },
    ] {
        assert_eq!(decide(&policy, &other).0, Effect::Allow, "{other:?}");
    }
    let by_id = TaskFacts {
        agent_id: Some("Deploy1"),
        agent_name: None,
        ..all
    };
    assert_eq!(
        decide(&policy, &by_id).0,
        Effect::Deny,
        "the id counts as the name does"
    );
    assert_eq!(
        policy.decide(&all, &|_| None).refusal(),
        "refused by the device's policy: rule 'x' (no). Its owner can change policy.json; 'askalf-agent policy check' explains"
    );
}

#[test]
fn an_allow_rule_lets_no_second_command_through_and_says_so() {
    let policy = policy(
        r#"{"version":1,"default":"deny","rules":[{"name":"git","effect":"allow","command":"git *"}]}"#,
    );
    let decision = policy.decide(&facts("git log && reboot"), &|_| None);
    assert_eq!(
        (decision.effect, decision.rule.as_str()),
        (Effect::Deny, "default")
    );
    assert!(
        decision.refusal().contains("rule 'git' would allow it"),
        "{decision:?}"
    );
    let prose = TaskFacts {
        executor: "claude",
        ..facts("git (please); thanks")
    };
    assert_eq!(decide(&policy, &prose).0, Effect::Allow, "no shell reads it");
}

#[test]
fn with_everything_denied_a_named_command_still_runs_without_a_shell() {
    let program = if cfg!(windows) {
        "C:/bin/deploy.exe"
    } else {
        "/bin/deploy"
    };
    let policy = policy(&format!(
        r#"{{"version":1,"default":"deny","commands":{{"deploy":["{program}","--yes"]}},
            "rules":[{{"name":"claude","effect":"allow","executor":"claude"}}]}}"#
    ));
    let decision = policy.decide(&facts(" deploy\n"), &|_| None);
    assert_eq!(decision.effect, Effect::Allow);
    assert_eq!(decision.command.unwrap(), [program, "--yes"]);
    for input in ["deploy --no", "deploy; id", "Deploy"] {
        assert_eq!(
            decide(&policy, &facts(input)),
            (Effect::Deny, "default".into()),
            "{input}"
        );
    }
    let prose = policy.decide(
        &TaskFacts {
            executor: "claude",
            ..facts("deploy")
        },
        &|_| None,
    );
    assert_eq!(prose.command, None, "a name is a command for the shell alone");
}

#[test]
fn a_named_command_can_be_asked_for_or_denied() {
    let program = if cfg!(windows) { "C:/x.exe" } else { "/x" };
    let policy = policy(&format!(
        r#"{{"version":1,"default":"allow","commands":{{"a":["{program}"],"b":["{program}"]}},
            "rules":[{{"name":"r","effect":"ask","command":"a"}},{{"name":"s","effect":"deny","command":"b"}}]}}"#
    ));
    let asked = policy.decide(&facts("a"), &|_| None);
    assert_eq!((asked.effect, asked.command.is_some()), (Effect::Ask, true));
    let denied = policy.decide(&facts("b"), &|_| None);
    assert_eq!((denied.effect, denied.command), (Effect::Deny, None));
    for (input, effect) in [
        (" a", Effect::Ask),
        ("a\n", Effect::Ask),
        ("\tb", Effect::Deny),
        ("\u{a0}b", Effect::Deny),
    ] {
        let decision = policy.decide(&facts(input), &|_| None);
        assert_eq!(decision.effect, effect, "spaces lead past no rule: {input:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_told_is_refused_where_folders_count() {
    let by_folder =
        policy(r#"{"version":1,"default":"allow","rules":[{"name":"w","effect":"deny","cwd":"/etc"}]}"#);
    let unknown = TaskFacts {
        folder: None,
        ..facts("ls")
    };
    assert_eq!(decide(&by_folder, &unknown), (Effect::Deny, "folder".into()));
    assert_eq!(decide(&by_folder, &facts("ls")).0, Effect::Allow);
    let elsewhere = policy(r#"{"version":1,"default":"allow"}"#);
    assert_eq!(decide(&elsewhere, &unknown).0, Effect::Allow);
}

#[cfg(unix)]
#[test]
fn an_older_file_holds_as_it_did() {
    let policy = policy(
        r#"{"requireApproval":true,"trustedAgents":["Deployer"],"blockedPatterns":["rm -rf /"],
            "allowedPaths":["/srv"],"maxTimeoutMs":60000,"sanitizeOutput":true,"auditLog":false}"#,
    );
    assert_eq!(policy.origin(), Origin::OlderFile);
    assert_eq!(policy.max_timeout(), Some(Duration::from_secs(60)));
    assert_eq!(policy.audit(), AuditMode::Off);
    for (agent, input, effect, rule) in [
        ("Deployer", "ls; id", Effect::Allow, "trusted-agents"),
        ("Other", "ls", Effect::Ask, "default"),
        ("Deployer", "cd x; RM -RF /", Effect::Deny, "blocked-1"),
        ("Deployer", "cat /etc/passwd", Effect::Deny, "allowedPaths"),
        ("Deployer", "cat /srv/x", Effect::Allow, "trusted-agents"),
    ] {
        let facts = TaskFacts {
            agent_name: Some(agent),
            ..facts(input)
        };
        assert_eq!(
            decide(&policy, &facts),
            (effect, rule.to_owned()),
            "{agent}: {input}"
        );
    }
    let outside = TaskFacts {
        folder: Some(Path::new("/home")),
        ..facts("ls")
    };
    assert_eq!(decide(&policy, &outside).1, "allowedPaths");
}

#[test]
fn a_mistake_is_told_with_its_place_and_opens_nothing() {
    for (text, told) in [
        ("", "line 1, column 0: EOF while parsing a value"),
        ("null", "invalid type: null"),
        (
            "{\n  \"version\": 2,\n  \"default\": \"deny\"}",
            "line 2, column 14: version 2 is not known",
        ),
        (
            "{\n\"version\": 1,\n  \"default\": \"alow\"\n}",
            "line 3, column 19: an effect is",
        ),
        (r#"{"version":1}"#, "missing field `default`"),
        (
            r#"{"version":1,"default":"permit"}"#,
            "an effect is \"allow\", \"ask\" or \"deny\"",
        ),
        (
            r#"{"version":1,"default":"deny","rule":[]}"#,
            "unknown field `rule`",
        ),
        (
            "{\"version\":1,\"default\":\"deny\",\"rules\":[\n{\"name\":\"a\",\"effect\":\"deny\",\"commnd\":\"x\"}]}",
            "line 2, column",
        ),
        (
            r#"{"version":1,"default":"deny","rules":[{"name":"a","effect":"deny"},{"name":"a","effect":"deny"}]}"#,
            "two rules of the name 'a'",
        ),
        (
            r#"{"version":1,"default":"deny","rules":[{"name":"default","effect":"deny"}]}"#,
            "no rule may be called 'default'",
        ),
        (
            r#"{"version":1,"default":"deny","rules":[{"name":"a","effect":"deny","command":[]}]}"#,
            "matches nothing",
        ),
        (
            r#"{"version":1,"default":"deny","rules":[{"name":"a","effect":"deny","cwd":"../x"}]}"#,
            "from the root",
        ),
        (
            r#"{"version":1,"default":"deny","commands":{"a":["ls"]}}"#,
            "whole path",
        ),
        (
            r#"{"version":1,"default":"deny","commands":{"a":[]}}"#,
            "at least a program",
        ),
        (
            r#"{"version":1,"default":"deny","maxTimeoutMinutes":0}"#,
            "from 1 to 1440",
        ),
        (
            r#"{"version":1,"default":"deny","default":"allow"}"#,
            "duplicate field",
        ),
        ("{}", "there is nothing in it"),
        (r#"{"rules":[]}"#, "the file has no \"version\": 1"),
        (r#"{"blockedPatterns":["a+"]}"#, "more of a regular expression"),
    ] {
        let error = Policy::parse(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(told), "{text}: {error}");
        assert_eq!(error.id(), "policy-invalid");
    }
}
