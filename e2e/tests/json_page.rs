//! docs/json.md against what the programs print.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, Output, until, workspace_root};
use serde_json::Value;

/// A field of the page.
#[derive(Debug, Clone)]
struct Field {
    may_be_missing: bool,
    /// Keys of its own stand in it.
    is_map: bool,
}

type Fields = BTreeMap<String, Field>;

/// The commands of the page, each with its fields by path.
fn page() -> Result<BTreeMap<String, Fields>> {
    let text = fs::read_to_string(workspace_root()?.join("docs/json.md"))?;
    let mut commands: BTreeMap<String, Fields> = BTreeMap::new();
    let mut command = None;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("### `") {
            let name = heading.trim_end_matches('`').to_owned();
            ensure!(
                commands.insert(name.clone(), Fields::new()).is_none(),
                "{name} stands there twice"
            );
            command = Some(name);
        } else if let (Some(row), Some(command)) = (line.strip_prefix("| `"), &command) {
            let (name, rest) = row.split_once('`').context("a field without an end")?;
            let field = Field {
                may_be_missing: rest.starts_with('?'),
                is_map: rest.contains("| map: "),
            };
            let fields = commands.get_mut(command).context("a field of no command")?;
            fields.insert(name.to_owned(), field);
        }
    }
    Ok(commands)
}

/// The paths of all fields in a document; what is in a map is its own.
fn paths_in(value: &Value, path: &str, fields: &Fields, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| paths_in(item, path, fields, found)),
        Value::Object(object) => {
            for (name, inner) in object {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                found.insert(path.clone());
                if !fields.get(&path).is_some_and(|field| field.is_map) {
                    paths_in(inner, &path, fields, found);
                }
            }
        }
        _ => {}
    }
}

/// What was printed, by the heading that it belongs to.
#[derive(Debug, Default)]
struct Printed(Vec<(&'static str, Value)>);

impl Printed {
    fn add(&mut self, heading: &'static str, output: Output) -> Result<Value> {
        let value: Value =
            serde_json::from_str(&output.stdout).with_context(|| format!("{heading}: {output:?}"))?;
        ensure!(output.stdout.lines().count() == 1, "{heading}: more than a line");
        self.0.push((heading, value.clone()));
        Ok(value)
    }
}

#[test]
fn the_page_names_every_field_and_no_other() -> Result<()> {
    let page = page()?;
    let mut printed = Printed::default();
    of_agent_and_bridge(&mut printed)?;
    of_bridge_that_rests(&mut printed)?;

    let mut faults = Vec::new();
    for (command, fields) in &page {
        let documents: Vec<&Value> = printed
            .0
            .iter()
            .filter(|(heading, _)| heading == command)
            .map(|(_, value)| value)
            .collect();
        if documents.is_empty() {
            faults.push(format!("{command}: nothing was printed to compare with"));
            continue;
        }
        let mut found = BTreeSet::new();
        for document in &documents {
            paths_in(document, "", fields, &mut found);
        }
        faults.extend(
            found
                .iter()
                .filter(|path| !fields.contains_key(*path))
                .map(|path| format!("{command}: '{path}' is printed and not on the page")),
        );
        faults.extend(
            fields
                .iter()
                .filter(|(path, field)| !field.may_be_missing && !found.contains(*path))
                .map(|(path, _)| format!("{command}: '{path}' is on the page and not printed")),
        );
    }
    for (heading, _) in &printed.0 {
        if !page.contains_key(*heading) {
            faults.push(format!("{heading} is not on the page"));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

fn of_agent_and_bridge(printed: &mut Printed) -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "laptop")?;

    printed.add("askalf-agent status", agent.run(&["status", "--json"])?)?;
    printed.add("askalf-agent doctor", agent.run(&["doctor", "--json"])?)?;
    printed.add(
        "askalf-agent install-service",
        agent.run(&["install-service", "--user", "--dry-run", "--json"])?,
    )?;
    printed.add(
        "askalf-agent uninstall-service",
        agent.run(&["uninstall-service", "--user", "--dry-run", "--json"])?,
    )?;
    printed.add("askalf-agent scan", agent.run(&["scan", "--json"])?)?;
    printed.add(
        "askalf-agent cred status",
        agent.run(&["cred", "status", "--json"])?,
    )?;
    printed.add(
        "askalf-agent cred status",
        agent.run(&["cred", "verify", "--json"])?,
    )?;
    printed.add("askalf-agent cred hash", agent.run(&["cred", "hash", "--mint"])?)?;

    bridge.dispatch("laptop", "echo one")?.expect_code(0)?;
    bridge.dispatch("laptop", "exit 3")?.expect_code(3)?;
    let audit = agent.run(&["audit", "--json"])?;
    printed.add("askalf-agent audit", audit)?;
    printed.add(
        "askalf-agent audit --verify",
        agent.run(&["audit", "--verify", "--json"])?,
    )?;
    // A line is taken out: then there is a break to tell of.
    let log = agent.home().join("audit.log");
    let lines = fs::read_to_string(&log)?;
    let lines: Vec<&str> = lines.split_inclusive('\n').collect();
    fs::write(&log, [&lines[..1], &lines[2..]].concat().concat())?;
    printed.add(
        "askalf-agent audit --verify",
        agent.run(&["audit", "--verify", "--json"])?,
    )?;
    let listed = printed.add(
        "askalf-bridge executions list",
        bridge.run(&["executions", "list", "--json"])?,
    )?;
    let execution = listed[0]["id"].as_str().context("no execution")?.to_owned();
    printed.add(
        "askalf-bridge executions show",
        bridge.run(&["executions", "show", &execution, "--json"])?,
    )?;

    let policy = r#"{"version": 1, "default": "allow", "commands": {"now": ["/usr/bin/date"]},
        "rules": [{"name": "asks", "effect": "ask", "command": "sleep*", "reason": "it is late"}]}"#;
    fs::write(agent.home().join("policy.json"), policy)?;
    printed.add("askalf-agent policy", agent.run(&["policy", "--json"])?)?;
    printed.add(
        "askalf-agent policy check",
        agent.run(&["policy", "check", "now", "--json"])?,
    )?;
    let asked = bridge
        .run(&["dispatch", "laptop", "--detach", "--", "sleep 60"])?
        .expect_code(0)?;
    let asked = asked.stdout.trim();
    until("a task that waits for an approval", || {
        let waiting = agent.run(&["approvals", "--json"])?.json()?;
        Ok(waiting.get(0).map(|_| ()))
    })?;
    printed.add(
        "askalf-agent approvals list",
        agent.run(&["approvals", "list", "--json"])?,
    )?;
    printed.add(
        "askalf-agent approvals show",
        agent.run(&["approvals", "show", asked, "--json"])?,
    )?;
    printed.add(
        "askalf-bridge executions show",
        bridge.run(&["executions", "cancel", asked, "--json"])?,
    )?;

    let minted = printed.add(
        "askalf-bridge keys mint",
        bridge.run(&["keys", "mint", "--name", "second", "--json"])?,
    )?;
    let key = minted["id"].as_str().context("no key")?.to_owned();
    let token = minted["key"].as_str().context("no token")?.to_owned();
    printed.add(
        "askalf-bridge keys mint",
        bridge.run(&["keys", "rotate", &key, "--json"])?,
    )?;
    printed.add(
        "askalf-bridge keys list",
        bridge.run(&["keys", "list", "--json"])?,
    )?;
    printed.add(
        "askalf-bridge keys show",
        bridge.run(&["keys", "show", &key, "--json"])?,
    )?;
    printed.add(
        "askalf-bridge keys verify --repair",
        bridge.run_with_input(&["keys", "verify", "--repair", "--json", "-"], token.as_bytes())?,
    )?;
    printed.add(
        "askalf-bridge keys verify --repair",
        bridge.run_with_input(
            &["keys", "verify", "--repair", "--json", "-"],
            askalf_e2e::KEY.as_bytes(),
        )?,
    )?;
    printed.add(
        "askalf-bridge keys show",
        bridge.run(&["keys", "revoke", &key, "--json"])?,
    )?;
    printed.add(
        "askalf-bridge keys show",
        bridge.run_with_input(
            &["keys", "import", "--name", "third", "--json", "-"],
            askalf_e2e::KEY.as_bytes(),
        )?,
    )?;
    printed.add(
        "askalf-bridge keys rotate --device",
        bridge.run(&["keys", "rotate", "--device", "laptop", "--json"])?,
    )?;
    printed.add(
        "askalf-bridge keys rotations",
        bridge.run(&["keys", "rotations", "--json"])?,
    )?;
    let stranger = Agent::new()?;
    stranger
        .pair(
            &bridge.url(),
            "stranger",
            "sk_live_5123456789abcdefghijABCDEFGHIJ01",
        )?
        .expect_code(78)?;
    until("the refused check being listed", || {
        let listed = bridge.run(&["keys", "attempts", "--json"])?.json()?;
        Ok(listed.get(0).map(|_| ()))
    })?;
    printed.add(
        "askalf-bridge keys attempts",
        bridge.run(&["keys", "attempts", "--json"])?,
    )?;

    let code = printed.add(
        "askalf-bridge pair-code new",
        bridge.run(&["pair-code", "new", "--name", "fourth", "--json"])?,
    )?;
    printed.add(
        "askalf-bridge pair-code list",
        bridge.run(&["pair-code", "list", "--json"])?,
    )?;
    let code = code["id"].as_str().context("no code")?;
    printed.add(
        "askalf-bridge pair-code withdraw",
        bridge.run(&["pair-code", "withdraw", code, "--json"])?,
    )?;

    printed.add(
        "askalf-bridge users list",
        bridge.run(&["users", "list", "--json"])?,
    )?;
    let anna = ["users", "add", "anna", "--email", "anna@example.org", "--json"];
    printed.add("askalf-bridge users list", bridge.run(&anna)?)?;
    printed.add(
        "askalf-bridge devices list",
        bridge.run(&["devices", "list", "--json"])?,
    )?;
    printed.add(
        "askalf-bridge devices show",
        bridge.run(&["devices", "show", &device, "--json"])?,
    )?;
    printed.add(
        "askalf-bridge devices show",
        bridge.run(&["devices", "disconnect", &device, "--json"])?,
    )?;
    printed.add("askalf-bridge status", bridge.run(&["status", "--json"])?)?;
    printed.add("askalf-bridge audit", bridge.run(&["audit", "--json"])?)?;
    Ok(())
}

/// What needs no bridge that runs, and no agent either.
fn of_bridge_that_rests(printed: &mut Printed) -> Result<()> {
    let mut bridge = Bridge::start()?;
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("copy");
    let copy = copy.to_str().context("a path that is not UTF-8")?;
    printed.add("askalf-bridge backup", bridge.run(&["backup", copy, "--json"])?)?;
    bridge.terminate()?;
    printed.add("askalf-bridge migrate", bridge.run(&["migrate", "--json"])?)?;
    printed.add(
        "askalf-bridge restore",
        bridge.run(&["restore", copy, "--force", "--json"])?,
    )?;
    printed.add(
        "askalf-bridge check-config",
        bridge.run(&["check-config", "--listen", "192.0.2.1:1", "--json"])?,
    )?;

    let agent = Agent::new()?;
    let connect = ["connect", "-", "--url", "https://bridge.example", "--no-verify"];
    agent
        .run_with_input(&connect, askalf_e2e::KEY.as_bytes())?
        .expect_code(0)?;
    printed.add(
        "askalf-agent cred rotate-key",
        agent.run(&["cred", "rotate-key", "--json"])?,
    )?;
    let empty = Agent::new()?;
    printed.add(
        "askalf-agent audit --verify",
        empty.run(&["audit", "--verify", "--json"])?,
    )?;
    Ok(())
}
