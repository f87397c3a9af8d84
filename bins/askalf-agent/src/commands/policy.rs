//! `policy`: the rules in effect; `policy check`: what they say about a task.

use askalf_cli::{ExitCode, Failure, Table, one_line, print};
use askalf_cred::Home;
use askalf_exec::{Effect, Origin, Policy, PolicyError, TaskFacts};
use serde_json::{Map, Value, json};

use super::show_json;
use crate::cli::{self, PolicyCheck, PolicyCommand};
use crate::guard::policy_file;
use crate::task_place::TaskPlace;

pub(crate) fn policy(home: &Home, arguments: cli::Policy) -> anyhow::Result<ExitCode> {
    let file = policy_file(home);
    let policy = file.current().map_err(|error| failure(&error))?;
    match arguments.command {
        Some(PolicyCommand::Check(question)) => check(home, &policy, &question),
        None => {
            let path = file.path().display().to_string();
            if arguments.json {
                show_json(&as_json(&policy, &path))?;
            } else {
                print(&describe(&policy, &path))?;
            }
            Ok(ExitCode::Done)
        }
    }
}

fn failure(error: &PolicyError) -> Failure {
    Failure::new(ExitCode::Configuration, format!("every task is refused: {error}")).hint(error.hint())
}

fn check(home: &Home, policy: &Policy, question: &PolicyCheck) -> anyhow::Result<ExitCode> {
    let facts = TaskFacts {
        executor: &question.executor,
        agent_id: question.agent.as_deref(),
        agent_name: question.agent.as_deref(),
        folder: None,
        input: &question.input,
    };
    let (decision, folder) = policy.decide_here(
        &facts,
        &TaskPlace::of_home(home)?.folder(home),
        question.cwd.as_deref(),
    );
    let (word, code) = match decision.effect {
        Effect::Allow => ("allowed", ExitCode::Done),
        Effect::Ask => ("needs an approval", ExitCode::TryAgain),
        Effect::Deny => ("refused", ExitCode::Permission),
    };
    let folder = folder.map(|folder| folder.display().to_string());
    if question.json {
        show_json(&json!({
            "effect": decision.effect.as_str(),
            "rule": decision.rule,
            "reason": decision.reason,
            "command": decision.command,
            "folder": folder,
        }))?;
        return Ok(code);
    }
    let mut text = format!("{word}: {}\n", decision.rule_shown());
    for (name, value) in [
        ("reason", decision.reason),
        ("runs", decision.command.map(|argv| argv.join(" "))),
        ("folder", folder),
    ] {
        if let Some(value) = value {
            text.push_str(&format!("{name:<7} {}\n", one_line(&value)));
        }
    }
    print(&text)?;
    Ok(code)
}

fn describe(policy: &Policy, path: &str) -> String {
    let origin = match policy.origin() {
        Origin::BuiltIn => format!("{path} does not exist: what the executors can do is allowed"),
        Origin::File => path.to_owned(),
        Origin::OlderFile => format!("{path}, in the format of agent 2.x"),
    };
    let mut text = format!("{:<10} {origin}\n", "policy");
    let minutes = policy.max_timeout().map(|most| format!("{} s", most.as_secs()));
    let paths: Vec<&str> = policy.allowed_paths().collect();
    for (name, value) in [
        ("default", policy.default_effect().as_str()),
        ("audit", policy.audit().as_str()),
        (
            "approval",
            &format!("within {} s", policy.approval_timeout().as_secs()),
        ),
        ("longest", minutes.as_deref().unwrap_or_default()),
        ("paths", &paths.join(", ")),
    ] {
        if !value.is_empty() {
            text.push_str(&format!("{name:<10} {value}\n"));
        }
    }
    if !policy.rules().is_empty() {
        let mut table = Table::new(&["RULE", "EFFECT", "WHERE", "REASON"]);
        for rule in policy.rules() {
            let conditions: Vec<String> = rule
                .conditions()
                .iter()
                .map(|(name, patterns)| format!("{name} {}", patterns.join(" or ")))
                .collect();
            let conditions = match conditions.as_slice() {
                [] => "always".to_owned(),
                all => all.join(", "),
            };
            table.row(vec![
                rule.name().to_owned(),
                rule.effect().as_str().to_owned(),
                conditions,
                rule.reason().unwrap_or_default().to_owned(),
            ]);
        }
        text.push_str(&format!("\n{}", table.render()));
    }
    if !policy.commands().is_empty() {
        let mut table = Table::new(&["COMMAND", "RUNS"]);
        for command in policy.commands() {
            table.row(vec![command.name().to_owned(), command.argv().join(" ")]);
        }
        text.push_str(&format!("\n{}", table.render()));
    }
    text
}

fn as_json(policy: &Policy, path: &str) -> Value {
    let rules: Vec<Value> = policy
        .rules()
        .iter()
        .map(|rule| {
            let mut fields = Map::new();
            fields.insert("name".to_owned(), rule.name().into());
            fields.insert("effect".to_owned(), rule.effect().as_str().into());
            for (name, patterns) in rule.conditions() {
                fields.insert(name.to_owned(), patterns.into());
            }
            if let Some(reason) = rule.reason() {
                fields.insert("reason".to_owned(), reason.into());
            }
            fields.into()
        })
        .collect();
    let commands: Map<String, Value> = policy
        .commands()
        .iter()
        .map(|command| (command.name().to_owned(), command.argv().into()))
        .collect();
    json!({
        "path": path,
        "origin": match policy.origin() {
            Origin::BuiltIn => "built-in",
            Origin::File => "file",
            Origin::OlderFile => "older-file",
        },
        "default": policy.default_effect().as_str(),
        "rules": rules,
        "commands": commands,
        "allowed_paths": policy.allowed_paths().collect::<Vec<_>>(),
        "approval_timeout_seconds": policy.approval_timeout().as_secs(),
        "max_timeout_seconds": policy.max_timeout().map(|most| most.as_secs()),
        "audit": policy.audit().as_str(),
    })
}
