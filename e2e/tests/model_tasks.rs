//! Prompts that go to stand-ins of the Claude and Codex programs, and what a bridge hears of a device's tools.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, ForgeEvent, Habit, KEY, OldForge};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Answers any prompt, slowly enough to be looked at where a fifo `go` stands beside it.
const CLAUDE: &str = r#"#!/bin/sh
here=${0%/*}
cat > "$here/prompt"
echo '{"type":"system","subtype":"init","session_id":"s"}'
echo '{"type":"assistant","message":{"id":"m1","content":[{"type":"text","text":"ready"}],"usage":{"input_tokens":2,"output_tokens":1}}}'
if [ -p "$here/go" ]; then read go < "$here/go"; fi
echo '{"type":"result","subtype":"success","is_error":false,"num_turns":3,"result":"ready","total_cost_usd":0.25,"usage":{"input_tokens":100,"output_tokens":20}}'
"#;

/// A folder that is all of an agent's `PATH` but the system's.
struct Tools {
    folder: TempDir,
}

impl Tools {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn install(&self, name: &str, script: &str) -> Result<()> {
        let file = self.path().join(name);
        fs::write(&file, script)?;
        Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o755))?)
    }

    fn install_claude(&self) -> Result<()> {
        self.install("claude", CLAUDE)
    }

    /// Makes programs wait for [`Tools::go`].
    fn hold(&self) -> Result<()> {
        let made = std::process::Command::new("mkfifo")
            .arg(self.path().join("go"))
            .status()?;
        ensure!(made.success());
        Ok(())
    }

    fn variable(&self) -> OsString {
        let mut path = self.path().as_os_str().to_owned();
        path.push(":/usr/bin:/bin");
        path
    }
}

fn credential_folders(agent: &Agent) -> Vec<PathBuf> {
    fs::read_dir(agent.home().join("state/run"))
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

/// The command lines of all processes.
fn command_lines() -> Result<String> {
    let mut shown = String::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        if let Ok(line) = fs::read(entry.path().join("cmdline")) {
            shown += &String::from_utf8_lossy(&line);
        }
    }
    Ok(shown)
}

fn device_of(bridge: &Bridge, id: &str) -> Result<Value> {
    let devices = bridge.devices()?;
    devices
        .into_iter()
        .find(|device| device["id"] == id)
        .context("no such device")
}

#[test]
fn a_prompt_is_answered_and_its_figures_are_recorded() -> Result<()> {
    let tools = Tools::new()?;
    tools.install_claude()?;
    let bridge = Bridge::start()?;
    let (mut agent, _) = Agent::paired(&bridge, "web-01")?;
    agent.set_variable("PATH", tools.variable());
    let device = agent.start()?;
    for (executor, prompt) in [
        ("claude", "how many files?"),
        ("auto", "--and folders; $(exit 3)"),
    ] {
        let output = bridge
            .run(&["dispatch", &device, "--executor", executor, "--", prompt])?
            .expect_code(0)?;
        ensure!(output.stdout == "ready\n", "{output:?}");
        ensure!(fs::read_to_string(tools.path().join("prompt"))? == prompt);
        let row = bridge.execution(&bridge.execution_of(prompt)?)?;
        let figures = json!([row["status"], row["output"], row["cost"], row["turns"]]);
        ensure!(figures == json!(["completed", "ready\n", 0.25, 3]), "{row}");
        ensure!(row["input_tokens"] == 100 && row["output_tokens"] == 20, "{row}");
    }
    let capabilities = device_of(&bridge, &device)?["platform_capabilities"].take();
    ensure!(
        capabilities["claude"] == true && capabilities["shell"] == true && capabilities["codex"].is_null(),
        "{capabilities}"
    );
    Ok(())
}

#[test]
fn a_choice_that_is_left_to_the_device_never_becomes_a_command() -> Result<()> {
    let tools = Tools::new()?;
    let bridge = Bridge::start()?;
    let (mut agent, _) = Agent::paired(&bridge, "web-01")?;
    agent.set_variable("PATH", tools.path());
    let device = agent.start()?;
    let trace = tools.path().join("ran");
    let input = format!("/usr/bin/touch {}", trace.display());
    for executor in ["auto", "claude"] {
        let output = bridge
            .run(&["dispatch", &device, "--executor", executor, "--", &input])?
            .expect_code(1)?;
        ensure!(
            output.stderr.contains("this device has no executor"),
            "{output:?}"
        );
    }
    ensure!(!trace.exists());
    bridge.dispatch(&device, &input)?.expect_code(0)?;
    ensure!(trace.exists(), "as a command it runs");
    Ok(())
}

#[test]
fn a_prompt_is_on_no_command_line_and_credentials_outlive_no_task() -> Result<()> {
    let tools = Tools::new()?;
    tools.install_claude()?;
    tools.hold()?;
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let mut agent = Agent::new()?;
    agent.pair(&forge.url(), "web-01", KEY)?.expect_code(0)?;
    agent.set_variable("PATH", tools.variable());
    agent.start()?;
    let prompt = "prompt-0815-of-one-task-alone";
    let secret = r#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-Qx1"}}"#;
    let task = |id: &str| {
        json!({"executionId": id, "agentId": "a", "agentName": "a", "input": prompt, "mode": "claude",
               "credentials": secret})
    };
    forge.send("task:dispatch", task("e1"))?;
    forge.wait_message("execution:progress")?;
    let folders = credential_folders(&agent);
    let [folder] = folders.as_slice() else {
        anyhow::bail!("{folders:?}")
    };
    ensure!(fs::read_to_string(folder.join(".credentials.json"))? == secret);
    let shown = command_lines()?;
    ensure!(shown.contains("claude") && !shown.contains(prompt) && !shown.contains("Qx1"));

    fs::write(tools.path().join("go"), "on\n")?;
    let done = forge.wait_message("execution:complete")?;
    ensure!(
        done["output"] == "ready\n" && done["executor"] == "claude",
        "{done}"
    );
    ensure!(credential_folders(&agent).is_empty());

    // One that is killed leaves them, and the next start removes them.
    forge.pass_over();
    forge.send("task:dispatch", task("e2"))?;
    forge.wait_message("execution:progress")?;
    agent.kill()?;
    ensure!(credential_folders(&agent).len() == 1);
    agent.start()?;
    ensure!(credential_folders(&agent).is_empty());
    let log = agent.log();
    let has = |text: &str| log.iter().any(|line| line.text.contains(text));
    ensure!(has("credentials that a task of an earlier agent had are removed"));
    ensure!(!has("Qx1") && !has(prompt), "{log:?}");
    Ok(())
}

#[test]
fn a_program_that_is_installed_later_is_found_by_the_next_scan() -> Result<()> {
    let tools = Tools::new()?;
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let mut agent = Agent::new()?;
    agent.pair(&forge.url(), "web-01", KEY)?.expect_code(0)?;
    agent.set_variable("PATH", tools.path());
    agent.start()?;
    forge.pass_over();
    tools.install_claude()?;
    forge.send("capabilities:scan", json!({"deviceId": "dev_1"}))?;
    forge.wait("a scan that finds it", |event| match event {
        ForgeEvent::Received(message) if message["type"] == "capabilities:result" => {
            (message["payload"]["capabilities"]["claude"] == true).then_some(())
        }
        _ => None,
    })?;
    let task = json!({"executionId": "e1", "input": "go", "mode": "auto", "agentId": "a", "agentName": "a"});
    forge.send("task:dispatch", task)?;
    ensure!(forge.wait_message("execution:accepted")?["executor"] == "claude");
    Ok(())
}

#[test]
fn a_scan_shows_what_would_be_announced_with_versions() -> Result<()> {
    let tools = Tools::new()?;
    tools.install("claude", "#!/bin/sh\necho \"$1 1.2.3 (Claude Code)\"\n")?;
    tools.install("go", "#!/bin/sh\nexec /usr/bin/sleep 600\n")?;
    let mut agent = Agent::new()?;
    agent.set_variable("PATH", tools.path());
    let scan = agent.run(&["scan", "--json"])?.json()?;
    ensure!(scan["executors"] == json!(["claude", "shell"]), "{scan}");
    ensure!(
        scan["capabilities"]["go"] == true && scan["capabilities"]["git"].is_null(),
        "{scan}"
    );
    let claude = json!({"name": "claude", "path": tools.path().join("claude"), "version": "--version 1.2.3 (Claude Code)"});
    let go = json!({"name": "go", "path": tools.path().join("go"), "version": null});
    ensure!(scan["tools"] == json!([claude, go]), "{scan}");
    ensure!(scan["load"]["freeMemoryMB"].as_u64() > Some(0), "{scan}");
    let shown = agent.run(&["scan"])?.expect_code(0)?;
    for text in [
        "executors",
        "claude, shell",
        "--version 1.2.3 (Claude Code)",
        "MiB free",
    ] {
        ensure!(shown.stdout.contains(text), "{shown:?}");
    }
    Ok(())
}
