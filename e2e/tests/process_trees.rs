//! A task owns its process tree: a cancel, a time-out, its own end or the death of its agent leave nothing running.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, Dispatch, Watched};

/// Processes that try to stay, each of which says its number: a plain child, one in a session of its own, one that is
/// forked twice, one that is forked twice in a session of its own and holds none of the task's streams, and one that
/// does not listen to SIGTERM.
const TREE: &str = "\
sleep 600 & echo child $!
setsid sh -c 'echo session $$; exec sleep 600' &
( ( sh -c 'echo double $$; exec sleep 600' & ) & )
setsid sh -c '( sleep 600 >/dev/null 2>&1 </dev/null & echo daemon $! )' &
sh -c 'trap \"\" TERM; echo deaf $$; while :; do sleep 0.05; done' &
echo shell $$
";

const KINDS: [&str; 6] = ["shell", "child", "session", "double", "daemon", "deaf"];

/// How long a tree may take to be gone: SIGTERM, a grace, then SIGKILL.
const GRACE: Duration = Duration::from_secs(20);

/// The processes of a tree that has said that it runs.
fn tree(dispatch: &Dispatch) -> Result<Vec<(&'static str, Watched)>> {
    KINDS
        .into_iter()
        .map(|kind| {
            let pid = dispatch.labelled_pid(kind)?;
            Ok((kind, Watched::new(pid).with_context(|| format!("{kind} {pid}"))?))
        })
        .collect()
}

fn ensure_gone(tree: &[(&'static str, Watched)]) -> Result<()> {
    let deadline = std::time::Instant::now() + GRACE;
    for (kind, process) in tree {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        ensure!(process.ended_within(left)?, "{kind} still runs");
    }
    Ok(())
}

fn ensure_running(tree: &[(&'static str, Watched)]) -> Result<()> {
    for (kind, process) in tree {
        ensure!(process.runs()?, "{kind} ended too early to prove anything");
    }
    Ok(())
}

#[test]
fn a_cancel_ends_the_whole_tree() -> Result<()> {
    let bridge = Bridge::start()?;
    let (_agent, device) = Agent::online(&bridge, "web-01")?;
    let input = format!("{TREE}wait; sleep 600");
    let dispatch = bridge.dispatch_streaming(&device, &[], &input)?;
    let tree = tree(&dispatch)?;
    ensure_running(&tree)?;
    let id = bridge.execution_of(&input)?;
    bridge.run(&["executions", "cancel", &id])?.expect_code(0)?;

    ensure_gone(&tree)?;
    let execution = bridge.wait_ended(&id)?;
    ensure!(
        execution["status"] == "cancelled" && execution["cause"] == "cancelled",
        "{execution}"
    );
    ensure!(dispatch.end()?.code != 0);
    bridge.dispatch(&device, "true")?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_time_out_ends_the_whole_tree() -> Result<()> {
    let bridge = Bridge::start()?;
    let (_agent, device) = Agent::online(&bridge, "web-01")?;
    let input = format!("{TREE}wait; sleep 600");
    let dispatch = bridge.dispatch_streaming(&device, &["--timeout", "3"], &input)?;
    let tree = tree(&dispatch)?;
    ensure_running(&tree)?;

    ensure_gone(&tree)?;
    let execution = bridge.wait_ended(&bridge.execution_of(&input)?)?;
    ensure!(
        execution["status"] == "timeout" && execution["cause"] == "timeout",
        "{execution}"
    );
    let output = dispatch.end()?;
    ensure!(
        output.code != 0 && output.stdout.contains("child"),
        "what it wrote is kept: {output:?}"
    );
    Ok(())
}

#[test]
fn sigkill_of_the_agent_ends_the_whole_tree() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    let dispatch = bridge.dispatch_streaming(&device, &[], &format!("{TREE}wait; sleep 600"))?;
    let tree = tree(&dispatch)?;
    ensure_running(&tree)?;
    agent.kill()?;
    ensure_gone(&tree)
}

#[test]
fn sigterm_of_the_agent_ends_the_whole_tree() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    let input = format!("{TREE}wait; sleep 600");
    let dispatch = bridge.dispatch_streaming(&device, &[], &input)?;
    let tree = tree(&dispatch)?;
    ensure_running(&tree)?;
    ensure!(agent.terminate()? == 0);
    ensure_gone(&tree)?;
    let execution = bridge.wait_ended(&bridge.execution_of(&input)?)?;
    ensure!(execution["status"] != "completed", "{execution}");
    Ok(())
}

#[test]
fn a_task_that_ends_leaves_nothing_behind() -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    // The shell exits by itself once every process has said its number.
    let gate = agent.home().join("gate");
    let input = format!(
        "{TREE}until [ -e {} ]; do sleep 0.05; done; exit 7",
        gate.display()
    );
    let dispatch = bridge.dispatch_streaming(&device, &[], &input)?;
    let tree = tree(&dispatch)?;
    ensure_running(&tree)?;
    std::fs::write(gate, "")?;
    ensure_gone(&tree)?;
    ensure!(dispatch.end()?.code == 7);
    let execution = bridge.execution(&bridge.execution_of(&input)?)?;
    ensure!(
        execution["status"] == "failed" && execution["exit_code"] == 7,
        "{execution}"
    );
    Ok(())
}

#[test]
fn the_command_exits_as_the_task_did() -> Result<()> {
    let bridge = Bridge::start()?;
    let (_agent, device) = Agent::online(&bridge, "web-01")?;
    ensure!(bridge.dispatch(&device, "exit 0")?.code == 0);
    ensure!(bridge.dispatch(&device, "exit 3")?.code == 3);
    ensure!(bridge.dispatch(&device, "kill -9 $$")?.code == 137);
    let output = bridge.dispatch(&device, "echo out; echo err >&2; exit 4")?;
    ensure!(
        (output.code, output.stdout.as_str(), output.stderr.as_str()) == (4, "out\n", "err\n"),
        "{output:?}"
    );
    Ok(())
}
