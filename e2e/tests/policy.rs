//! The device's own policy and its audit log, through the real binaries.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, run, until};
use serde_json::Value;

const NOBODY: u32 = 65534;

/// Runs what follows as a user that owns nothing.
const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

fn write_policy(agent: &Agent, policy: &str) -> Result<()> {
    let path = agent.home().join("policy.json");
    fs::write(&path, policy)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    Ok(())
}

fn audit(agent: &Agent) -> Result<Vec<Value>> {
    let lines = agent.run(&["audit", "--json"])?.json()?;
    lines.as_array().cloned().context("no array")
}

fn events(agent: &Agent) -> Result<Vec<String>> {
    Ok(audit(agent)?
        .iter()
        .map(|line| line["event"].as_str().unwrap_or_default().to_owned())
        .collect())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_task_that_the_policy_refuses_does_not_run_and_says_why() -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    bridge.dispatch(&device, "echo before")?.expect_code(0)?;
    write_policy(
        &agent,
        r#"{"version":1,"default":"allow","maxTimeoutMinutes":1,
            "rules":[{"name":"no-touch","effect":"deny","command":"*touch*","reason":"nothing is made here"}],
            "commands":{"greet":["/bin/echo","hello; no shell"]}}"#,
    )?;
    let proof = agent.home().join("made");
    let input = format!("touch {}", proof.display());
    let refused = bridge.dispatch(&device, &input)?;
    ensure!(
        refused.code != 0 && refused.stderr.contains("rule 'no-touch'"),
        "{refused:?}"
    );
    ensure!(!proof.exists());
    let row = bridge.wait_ended(&bridge.execution_of(&input)?)?;
    ensure!(row["status"] == "failed" && row["cause"] == "refused", "{row}");
    ensure!(
        row["error"]
            .as_str()
            .is_some_and(|error| error.contains("nothing is made here")),
        "{row}"
    );
    let greeted = bridge.dispatch(&device, "greet")?.expect_code(0)?;
    ensure!(greeted.stdout.contains("hello; no shell"), "{greeted:?}");

    let checked = agent.run(&["policy", "check", &input])?.expect_code(77)?;
    ensure!(
        checked.stdout.starts_with("refused: rule 'no-touch'"),
        "{checked:?}"
    );
    agent.run(&["policy", "check", "ls"])?.expect_code(0)?;
    let rules = agent.run(&["policy", "--json"])?.json()?;
    ensure!(rules["rules"][0]["command"][0] == "*touch*", "{rules}");
    ensure!(agent.status()?["policy"] == "1 rule, else allow");

    let lines = audit(&agent)?;
    let denied = lines
        .iter()
        .find(|line| line["event"] == "denied")
        .context("no refusal")?;
    ensure!(
        denied["input"] == input.as_str() && denied["rule"] == "no-touch",
        "{denied}"
    );
    let on_disk = fs::read_to_string(agent.home().join("audit.log"))?;
    ensure!(!on_disk.contains("/made"), "an input lies readable on the disk");
    agent.run(&["audit", "--verify"])?.expect_code(0)?;

    // One character of one line.
    fs::write(
        agent.home().join("audit.log"),
        on_disk.replacen("denied", "allowed", 1),
    )?;
    let found = agent.run(&["audit", "--verify"])?.expect_code(1)?;
    ensure!(found.stdout.contains("BROKEN"), "{found:?}");
    Ok(())
}

#[test]
fn a_policy_with_a_mistake_refuses_everything_and_the_status_says_so() -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    write_policy(&agent, "{\n  \"version\": 1,\n  \"default\": \"alow\"\n}")?;
    let refused = bridge.dispatch(&device, "true")?;
    ensure!(
        refused.code != 0 && refused.stderr.contains("policy.json, line 3, column"),
        "{refused:?}"
    );
    let shown = agent.run(&["policy"])?.expect_code(78)?;
    ensure!(
        shown.stderr.contains("line 3") && shown.stderr.contains("hint:"),
        "{shown:?}"
    );
    let status = agent.status()?;
    ensure!(
        status["state"] == "online"
            && status["policy"]
                .as_str()
                .is_some_and(|text| text.starts_with("every task is refused")),
        "{status}"
    );
    write_policy(&agent, r#"{"version":1,"default":"allow"}"#)?;
    bridge.dispatch(&device, "true")?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_killed_agent_leaves_a_log_that_holds_and_goes_on() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    let dispatch = bridge.dispatch_streaming(&device, &[], "echo shell $$; sleep 600")?;
    dispatch.labelled_pid("shell")?;
    agent.kill()?;
    // As if it had been killed within a line.
    let log = agent.home().join("audit.log");
    let mut text = fs::read(&log)?;
    text.extend_from_slice(b"{\"seq\":4,\"ti");
    fs::write(&log, text)?;
    let cut = agent.run(&["audit", "--verify", "--json"])?.json()?;
    ensure!(cut["ok"] == true && cut["unfinished"] == true, "{cut}");

    agent.start()?;
    bridge.dispatch(&device, "true")?.expect_code(0)?;
    let found = agent.run(&["audit", "--verify", "--json"])?.json()?;
    ensure!(found["ok"] == true && found["torn"] == 1, "{found}");
    ensure!(
        events(&agent)?
            == [
                "opened", "allowed", "started", "opened", "allowed", "started", "ended"
            ],
        "{:?}",
        events(&agent)?
    );
    let head = format!(
        "{}:{}",
        found["head"]["seq"],
        found["head"]["head"].as_str().context("no head")?
    );
    agent
        .run(&["audit", "--verify", "--anchored", &head])?
        .expect_code(0)?;
    let text = fs::read_to_string(&log)?;
    let shorter: Vec<&str> = text.lines().collect();
    fs::write(&log, format!("{}\n", shorter[..shorter.len() - 1].join("\n")))?;
    agent.run(&["audit", "--verify"])?.expect_code(0)?;
    let cut = agent
        .run(&["audit", "--verify", "--anchored", &head])?
        .expect_code(1)?;
    ensure!(cut.stdout.contains("lines were cut off its end"), "{cut:?}");
    Ok(())
}

/// An agent whose daemon, and so its tasks, run as a user of its own.
fn agent_of_nobody(bridge: &Bridge) -> Result<Agent> {
    let (mut agent, _) = Agent::paired(bridge, "web-01")?;
    let outer = agent.home().parent().context("a home in a folder")?.to_owned();
    fs::set_permissions(&outer, fs::Permissions::from_mode(0o711))?;
    write_policy(
        &agent,
        r#"{"version":1,"default":"ask","approvalTimeoutSeconds":120,
            "rules":[{"name":"own","effect":"allow","command":"*"},{"name":"deploys","effect":"ask","command":"echo deploy*"}]}"#,
    )?;
    give(agent.home())?;
    let home = agent.home().to_owned();
    agent.set_variable("HOME", home);
    agent.wrap(&AS_NOBODY);
    Ok(agent)
}

fn give(path: &std::path::Path) -> Result<()> {
    chown(path, Some(NOBODY), Some(NOBODY))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path())?;
        }
    }
    Ok(())
}

fn waiting(agent: &Agent) -> Result<String> {
    until("a task that waits", || {
        let list = agent.run(&["approvals", "--json"])?.json()?;
        Ok(list[0]["execution"].as_str().map(str::to_owned))
    })
}

#[test]
fn root_approves_and_the_agents_own_user_may_not() -> Result<()> {
    if !is_root() {
        eprintln!("skipped: only root can run the agent as another user");
        return Ok(());
    }
    let bridge = Bridge::start()?;
    let mut agent = agent_of_nobody(&bridge)?;
    let device = agent.start()?;
    let dispatch = bridge.dispatch_streaming(&device, &[], "echo deploy 1")?;
    let id = waiting(&agent)?;
    let shown = agent.run(&["approvals", "show", &id])?.expect_code(0)?;
    ensure!(shown.stdout.contains("echo deploy 1"), "{shown:?}");

    // The daemon's user, by itself and out of a task.
    let command = agent.command(&["approvals", "approve", &id]);
    let mut as_nobody = Command::new(AS_NOBODY[0]);
    as_nobody
        .args(&AS_NOBODY[1..])
        .arg(command.get_program())
        .args(command.get_args())
        .env("ASKALF_HOME", agent.home())
        .current_dir("/");
    let own = run("approve", &mut as_nobody, b"")?.expect_code(77)?;
    ensure!(
        own.stderr.contains("the agent's own user may not decide"),
        "{own:?}"
    );
    let by_task = format!(
        "{} --home {} approvals approve {id}",
        command.get_program().to_string_lossy(),
        agent.home().display()
    );
    let task = bridge.dispatch(&device, &by_task)?;
    ensure!(task.code == 77, "{task:?}");

    agent.run(&["approvals", "approve", &id])?.expect_code(0)?;
    let done = dispatch.end()?;
    ensure!(done.code == 0 && done.stdout.contains("deploy 1"), "{done:?}");
    let late = agent.run(&["approvals", "deny", &id])?.expect_code(1)?;
    ensure!(late.stderr.contains("it was decided"), "{late:?}");

    let dispatch = bridge.dispatch_streaming(&device, &[], "echo deploy 2")?;
    agent
        .run(&["approvals", "deny", &waiting(&agent)?])?
        .expect_code(0)?;
    let denied = dispatch.end()?;
    ensure!(
        denied.code != 0 && denied.stderr.contains("was asked and refused it"),
        "{denied:?}"
    );
    let by: Vec<_> = audit(&agent)?
        .into_iter()
        .filter(|line| !line["by"].is_null())
        .collect();
    ensure!(
        by.len() == 2 && by[0]["event"] == "approval-given" && by[0]["by"] == "user 0",
        "{by:?}"
    );
    ensure!(agent.terminate()? == 0);
    Ok(())
}

#[test]
fn an_agent_of_root_cannot_be_answered_by_root() -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    write_policy(&agent, r#"{"version":1,"default":"ask"}"#)?;
    let dispatch = bridge.dispatch_streaming(&device, &[], "echo deploy")?;
    let id = waiting(&agent)?;
    let refused = agent.run(&["approvals", "approve", &id])?.expect_code(77)?;
    ensure!(
        refused.stderr.contains("the agent's own user may not decide") && refused.stderr.contains("terminal"),
        "{refused:?}"
    );
    bridge.run(&["executions", "cancel", &id])?.expect_code(0)?;
    let row = bridge.wait_ended(&id)?;
    ensure!(row["status"] == "cancelled", "{row}");
    ensure!(dispatch.end()?.code != 0);
    Ok(())
}

/// A daemon on a terminal of its own, and somebody at it.
struct AtTerminal {
    terminal: Child,
    screen: BufReader<ChildStdout>,
}

impl AtTerminal {
    fn start(agent: &Agent) -> Result<Self> {
        let daemon = agent.command(&["daemon"]);
        let line = format!("exec {} daemon", daemon.get_program().to_string_lossy());
        let mut terminal = Command::new("script")
            .args(["-qfec", &line, "/dev/null"])
            .env("ASKALF_HOME", agent.home())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let screen = BufReader::new(terminal.stdout.take().context("no screen")?);
        Ok(Self { terminal, screen })
    }

    fn wait_shown(&mut self, text: &str) -> Result<()> {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            let count = self.screen.by_ref().take(1).read_to_end(&mut seen)?;
            ensure!(count > 0, "the daemon ended: {}", String::from_utf8_lossy(&seen));
        }
        Ok(())
    }

    fn type_in(&mut self, text: &str) -> Result<()> {
        let keyboard = self.terminal.stdin.as_mut().context("no keyboard")?;
        keyboard.write_all(text.as_bytes())?;
        Ok(keyboard.flush()?)
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        let _ended = self.terminal.kill();
        let _ended = self.terminal.wait();
    }
}

#[test]
fn whoever_sits_at_the_daemons_terminal_is_asked_there() -> Result<()> {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: there is no 'script' to make a terminal");
        return Ok(());
    }
    let bridge = Bridge::start()?;
    let (agent, _) = Agent::paired(&bridge, "web-01")?;
    write_policy(&agent, r#"{"version":1,"default":"ask"}"#)?;
    let mut terminal = AtTerminal::start(&agent)?;
    terminal.wait_shown("Registered as device ")?;
    let device = agent.status()?["device_id"]
        .as_str()
        .context("no device")?
        .to_owned();

    let dispatch = bridge.dispatch_streaming(&device, &[], "echo deploy")?;
    terminal.wait_shown("Type 'yes 1' or 'no 1'")?;
    terminal.type_in("yes 2\n")?;
    terminal.wait_shown("type 'yes 1' or 'no 1'")?;
    terminal.type_in("yes 1\n")?;
    let done = dispatch.end()?;
    ensure!(done.code == 0 && done.stdout.contains("deploy"), "{done:?}");

    let dispatch = bridge.dispatch_streaming(&device, &[], "echo again")?;
    terminal.wait_shown("Type 'yes 2' or 'no 2'")?;
    terminal.type_in("no 2\n")?;
    ensure!(dispatch.end()?.stderr.contains("was asked and refused it"));
    let by: Vec<_> = audit(&agent)?
        .into_iter()
        .filter(|line| !line["by"].is_null())
        .collect();
    ensure!(by.len() == 2 && by[0]["by"] == "the daemon's terminal", "{by:?}");
    agent.run(&["disconnect"])?.expect_code(0)?;
    Ok(())
}
