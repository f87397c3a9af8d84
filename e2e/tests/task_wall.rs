//! Tasks run as another user than the agent, behind a socket: what they cannot reach there, and that nothing else changes.
//!
//! Only root can start processes of other users; as anybody else these tests pass without looking.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use askalf_e2e::task_wall::{AGENT_USER, Served, TASK_USER, TaskWall};
use askalf_e2e::{Agent, Bridge, Dispatch, Habit, KEY, OldForge, Process, Watched};
use serde_json::{Value, json};

/// What a task tries on its agent; each line says what, and whether it worked.
const ATTACK: &str = r#"
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name open"; else echo "$name shut"; fi; }
try config cat "$home/agent.json"
try keyfile cat "$home/keyfile"
try state ls "$home/state"
try control test -w "$home/agent.sock"
try signal kill -0 "$pid"
try environ cat "/proc/$pid/environ"
try memory dd if="/proc/$pid/mem" bs=1 count=1 skip=4194304
try files ls "/proc/$pid/fd"
try trace perl -e 'exit(syscall(101, 16, $ARGV[0], 0, 0) == 0 ? 0 : 1)' "$pid"
try socket test -w "$socket"
try runner cat "/proc/$PPID/environ"
"#;

/// A wall with an agent online behind it.
struct Behind {
    bridge: Bridge,
    agent: Agent,
    device: String,
    wall: TaskWall,
}

impl Behind {
    fn new() -> Result<Option<Self>> {
        let Some(wall) = TaskWall::new()? else {
            return Ok(None);
        };
        let bridge = Bridge::start()?;
        let mut agent = wall.agent(&bridge.url(), &bridge.mint("web-01")?.key)?;
        let device = agent.start()?;
        Ok(Some(Self {
            bridge,
            agent,
            device,
            wall,
        }))
    }

    /// What the attack finds open.
    fn attack(&self) -> Result<Vec<String>> {
        let attack = format!(
            "home={}; pid={}; socket={}; {ATTACK}",
            self.agent.home().display(),
            self.agent.daemon()?.pid(),
            self.wall.socket().display()
        );
        let output = self.bridge.dispatch(&self.device, &attack)?.expect_code(0)?;
        let lines: Vec<&str> = output.stdout.lines().collect();
        ensure!(lines.len() == ATTACK.matches("\ntry ").count(), "{output:?}");
        let open = lines.iter().filter_map(|line| line.strip_suffix(" open"));
        Ok(open.map(str::to_owned).collect())
    }

    /// The error of a task that must not run.
    fn refusal(&self, id: &str) -> Result<String> {
        let trace = self.wall.private_folder().join("ran");
        let input = format!("touch {}; id -u; : {id}", trace.display());
        let output = self.bridge.dispatch(&self.device, &input)?;
        ensure!(output.code == 1 && output.stdout.is_empty(), "{output:?}");
        ensure!(!trace.exists(), "it ran");
        let row = self.bridge.execution(&self.bridge.execution_of(&input)?)?;
        ensure!(row["status"] == "failed" && row["cause"] == "refused", "{row}");
        Ok(row["error"].as_str().context("no error")?.to_owned())
    }
}

#[test]
fn a_task_reaches_nothing_of_its_agent() -> Result<()> {
    let Some(mut behind) = Behind::new()? else {
        return Ok(());
    };
    let _served = behind.wall.serve()?;
    ensure!(behind.attack()?.is_empty(), "{:?}", behind.attack()?);

    // The same without the wall, or the attack proves nothing.
    behind.agent.terminate()?;
    behind.agent.set_variable("ASKALF_TASK_SOCKET", "");
    behind.agent.set_variable("ASKALF_TASK_USER", "");
    behind.agent.start()?;
    let open = behind.attack()?;
    ensure!(
        open.starts_with(&["config", "keyfile", "state", "control", "signal"].map(str::to_owned)),
        "{open:?}"
    );
    Ok(())
}

#[test]
fn a_task_has_the_other_users_name_home_and_environment() -> Result<()> {
    let Some(mut behind) = Behind::new()? else {
        return Ok(());
    };
    let _served = behind.wall.serve()?;
    let show = "id -u; id -G; pwd -P; env | grep -v ^_= | sort | grep -v ^PATH=";
    let shown = behind
        .bridge
        .dispatch(&behind.device, show)?
        .expect_code(0)?
        .stdout;
    let home = fs::canonicalize("/bin")?.display().to_string();
    let expected = ["2", "2", &home, "HOME=/bin", "LOGNAME=bin", "USER=bin"];
    for line in expected {
        ensure!(
            shown.lines().any(|found| found.starts_with(line)),
            "{line}: {shown}"
        );
    }
    for hidden in ["ASKALF", "RUNTIME_DIRECTORY", "daemon"] {
        ensure!(!shown.contains(hidden), "{shown}");
    }

    behind.agent.terminate()?;
    let path = behind.agent.home().join("agent.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path)?)?;
    config["taskLimits"] = json!({"openFiles": 123, "memoryMB": 1024, "cpuSeconds": 77});
    fs::write(&path, serde_json::to_vec(&config)?)?;
    behind.agent.start()?;
    let limits = "ulimit -Hc; ulimit -Hn; ulimit -Hv; ulimit -Ht";
    let bound = behind.bridge.dispatch(&behind.device, limits)?.expect_code(0)?;
    ensure!(bound.stdout == "0\n123\n1048576\n77\n", "{bound:?}");
    Ok(())
}

#[test]
fn status_and_scan_say_whom_tasks_run_as() -> Result<()> {
    let Some(mut behind) = Behind::new()? else {
        return Ok(());
    };
    let _served = behind.wall.serve()?;
    let agent = &mut behind.agent;
    ensure!(agent.status()?["tasks_run_as"] == TASK_USER.0);
    let shown = agent.run(&["status"])?.stdout;
    ensure!(shown.contains("run as    bin\n"), "{shown}");
    let scan = agent.run(&["scan", "--json"])?.expect_code(0)?.json()?;
    ensure!(scan["tasksRunAs"] == TASK_USER.0, "{scan}");
    // Tools are asked for their version behind the wall.
    let versions = scan["tools"].as_array().context("no tools")?;
    ensure!(versions.iter().any(|tool| tool["version"].is_string()), "{scan}");

    agent.terminate()?;
    agent.set_variable("ASKALF_TASK_SOCKET", "");
    agent.set_variable("ASKALF_TASK_USER", "");
    agent.start()?;
    ensure!(agent.status()?["tasks_run_as"].is_null());
    let shown = agent.run(&["status"])?.stdout;
    ensure!(shown.contains("run as    this user\n"), "{shown}");
    ensure!(agent.run(&["scan", "--json"])?.json()?["tasksRunAs"].is_null());
    Ok(())
}

#[test]
fn without_its_runners_a_task_is_refused_and_never_runs_as_the_agent() -> Result<()> {
    let Some(behind) = Behind::new()? else {
        return Ok(());
    };
    let begins = format!(
        "tasks run as bin through {}, which ",
        behind.wall.socket().display()
    );
    let refused = |why: &str| -> Result<()> {
        let error = behind.refusal(why)?;
        ensure!(error == format!("{begins}{why}; nothing was run"), "{error}");
        Ok(())
    };
    refused("cannot be reached: No such file or directory")?;

    // Runners that would be the agent's own user, or root.
    let served = behind.wall.serve_as(AGENT_USER.1, AGENT_USER.0)?;
    refused("gave the wrong runner: the one that answered is user 1's")?;
    drop(served);
    let served = behind.wall.serve_as(0, AGENT_USER.0)?;
    refused("gave the wrong runner: the one that answered is user 0's")?;
    drop(served);

    // Runners of somebody else's agent.
    let served = behind.wall.serve_as(TASK_USER.1, "games")?;
    refused("gave no runner: the connection was closed")?;
    drop(served);

    // A socket that somebody else listens on.
    let stranger = stranger_listens(&behind.wall)?;
    refused("is not to be trusted: user 65534 listens there, neither root nor the agent's own")?;
    stranger.kill()?;
    fs::remove_file(behind.wall.socket())?;

    let _served = behind.wall.serve()?;
    behind.bridge.dispatch(&behind.device, "true")?.expect_code(0)?;
    Ok(())
}

/// `nobody` in the place of the service manager.
fn stranger_listens(wall: &TaskWall) -> Result<Process> {
    let script = "socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un($ARGV[0])); chmod 0666, $ARGV[0]; \
                  $> = 65534; listen(S, 5); $| = 1; print qq(listens\n); sleep 600";
    let mut command = Command::new("perl");
    command.args(["-MSocket", "-e", script]).arg(wall.socket());
    let stranger = Process::start("the stranger", &mut command, b"")?;
    stranger.wait_line("socket", |line| (line.text == "listens").then_some(()))?;
    Ok(stranger)
}

/// Processes that try to stay, each of which says its number.
const TREE: &str = "\
sleep 600 & echo child $!
setsid sh -c 'echo session $$; exec sleep 600' &
( ( sh -c 'echo double $$; exec sleep 600' & ) & )
sh -c 'trap \"\" TERM; echo deaf $$; while :; do sleep 0.05; done' &
echo shell $$
wait; sleep 600
";

/// The processes of a tree that has said that it runs.
fn tree(dispatch: &Dispatch) -> Result<Vec<Watched>> {
    let kinds = ["shell", "child", "session", "double", "deaf"].into_iter();
    kinds
        .map(|kind| {
            let pid = dispatch.labelled_pid(kind)?;
            let owner = fs::metadata(format!("/proc/{pid}"))?.uid();
            ensure!(owner == TASK_USER.1, "{kind} is user {owner}'s");
            Watched::new(pid).context(kind)
        })
        .collect()
}

/// Waits until nothing is left of a tree, nor of the runner that owned it.
fn ensure_gone(tree: &[Watched], served: &Served) -> Result<()> {
    for process in tree {
        ensure!(process.ended_within(Duration::from_secs(20))?, "one runs on");
    }
    served.all_ended()?;
    Ok(())
}

#[test]
fn a_cancel_a_time_out_and_the_agents_death_end_the_whole_tree_behind_the_wall() -> Result<()> {
    let Some(mut behind) = Behind::new()? else {
        return Ok(());
    };
    let served = behind.wall.serve()?;
    let (bridge, device) = (&behind.bridge, behind.device.as_str());

    let input = format!("{TREE}# cancelled");
    let dispatch = bridge.dispatch_streaming(device, &[], &input)?;
    let cancelled = tree(&dispatch)?;
    let id = bridge.execution_of(&input)?;
    bridge.run(&["executions", "cancel", &id])?.expect_code(0)?;
    ensure_gone(&cancelled, &served)?;
    ensure!(bridge.wait_ended(&id)?["cause"] == "cancelled");

    let input = format!("{TREE}# too long");
    let dispatch = bridge.dispatch_streaming(device, &["--timeout", "3"], &input)?;
    ensure_gone(&tree(&dispatch)?, &served)?;
    let row = bridge.wait_ended(&bridge.execution_of(&input)?)?;
    ensure!(row["cause"] == "timeout", "{row}");

    let dispatch = bridge.dispatch_streaming(device, &[], TREE)?;
    let orphaned = tree(&dispatch)?;
    behind.agent.kill()?;
    ensure_gone(&orphaned, &served)
}

/// Says where its login is, and who may look at it.
const CLAUDE: &str = r#"#!/bin/sh
cat >/dev/null
said="$(stat -c '%a %u' "$CLAUDE_CONFIG_DIR" "$CLAUDE_CONFIG_DIR/.credentials.json" | tr '\n' ' ')$(cat "$CLAUDE_CONFIG_DIR/.credentials.json" | wc -c)"
touch "$CLAUDE_CONFIG_DIR/renewed"
echo '{"type":"result","subtype":"success","is_error":false,"num_turns":1,"result":"'"$said"'","total_cost_usd":0,"usage":{"input_tokens":1,"output_tokens":1}}'
"#;

#[test]
fn credentials_are_the_task_users_alone_and_outlive_no_task() -> Result<()> {
    let Some(wall) = TaskWall::new()? else {
        return Ok(());
    };
    let _served = wall.serve()?;
    let tools = wall.tools(&[("claude", CLAUDE)])?;
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let mut agent = wall.agent(&forge.url(), KEY)?;
    agent.set_variable("PATH", format!("{}:/usr/bin:/bin", tools.display()));
    agent.start()?;
    let secret = r#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-Qx1"}}"#;
    let task = json!({"executionId": "e1", "agentId": "a", "agentName": "a", "input": "go", "mode": "claude",
                      "credentials": secret});
    forge.send("task:dispatch", task)?;
    let done = forge.wait_message("execution:complete")?;
    let expected = format!("700 2 600 2 {}\n", secret.len());
    ensure!(done["output"] == expected.as_str(), "{done}");
    // Gone before the end was told, and never on the agent's own disk.
    ensure!(fs::read_dir(wall.private_folder())?.count() == 0);
    ensure!(!agent.home().join("state/run").exists());
    Ok(())
}

#[test]
fn the_socket_activation_of_a_real_service_manager_serves_as_well() -> Result<()> {
    const ACTIVATE: &str = "systemd-socket-activate";
    let Some(behind) = Behind::new()? else {
        return Ok(());
    };
    if Command::new(ACTIVATE).arg("--version").output().is_err() {
        return Ok(());
    }
    let (socket, wall) = (behind.wall.socket(), &behind.wall);
    let mut command = Command::new(ACTIVATE);
    command
        .args(["--accept", "--inetd", "--listen"])
        .arg(&socket)
        .arg("--setenv")
        .arg(format!("RUNTIME_DIRECTORY={}", wall.private_folder().display()))
        .args(["setpriv", "--reuid", "2", "--regid", "2", "--clear-groups"])
        .arg(wall.binary())
        .args(["runner", "--agent-user", AGENT_USER.0]);
    let manager = Process::start(ACTIVATE, &mut command, b"")?;
    manager.wait_line("socket", |line| line.text.contains("Listening").then_some(()))?;
    wall.open_to_agent()?;
    let output = behind
        .bridge
        .dispatch(&behind.device, "id -u; echo err >&2; exit 3")?;
    ensure!(
        (output.code, output.stdout.as_str(), output.stderr.as_str()) == (3, "2\n", "err\n"),
        "{output:?}"
    );
    manager.terminate()?;
    Ok(())
}
