//! An accepted execution ends exactly once at the bridge, whatever dies in between.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, Habit, KEY, OldForge, until};

/// Numbers that look random and come out the same on each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        // The generator of Vigna's SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// The whole output of `seq 1 n`, and a name.
fn counted(name: &str, n: u32) -> String {
    let numbers: String = (1..=n).map(|number| format!("{number}\n")).collect();
    format!("{numbers}{name}\n")
}

#[test]
fn executions_end_once_whenever_the_agent_is_killed() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    let ran = agent.home().join("ran");
    let mut dice = Dice(20_260_131);
    let mut dispatched = Vec::new();
    for round in 0..10 {
        for number in 0..3 {
            let name = format!("task-{round}-{number}");
            let pause = dice.below(150);
            let input = format!(
                "echo {name} >> {}; sleep 0.{pause:03}; seq 1 3000; echo {name}",
                ran.display()
            );
            dispatched.push((bridge.dispatch_detached(&device, &input)?, name));
        }
        // Somewhere between the first acceptance and the last acknowledgement.
        let moment = Duration::from_millis(dice.below(400));
        #[allow(clippy::disallowed_methods, reason = "a moment is wanted here, whatever happens in it")]
        std::thread::sleep(moment);
        agent.kill()?;
        ensure!(agent.start()? == device, "round {round}");
    }

    let (mut completed, mut interrupted) = (0, 0);
    for (id, name) in &dispatched {
        let row = bridge.wait_ended(id)?;
        let runs = fs::read_to_string(&ran)?
            .lines()
            .filter(|line| line == name)
            .count();
        ensure!(runs <= 1, "{name} ran {runs} times");
        if row["status"] == "completed" {
            completed += 1;
            ensure!(runs == 1, "{name} completed without running");
            ensure!(
                row["output"] == counted(name, 3000),
                "{name} has another output: {row}"
            );
        } else {
            interrupted += 1;
            ensure!(
                row["status"] == "failed" && row["cause"] == "interrupted",
                "{row}"
            );
        }
    }
    ensure!(
        completed > 0 && interrupted > 0,
        "{completed} completed, {interrupted} interrupted"
    );
    until("everything is acknowledged", || {
        Ok((agent.status()?["unacknowledged"] == 0).then_some(()))
    })?;
    Ok(())
}

#[test]
fn a_result_outlives_the_bridge_and_the_agent() -> Result<()> {
    let mut bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    let gate = agent.home().join("gate");
    let input = format!(
        "echo started now; until [ -e {} ]; do sleep 0.02; done; seq 1 3000; echo the end",
        gate.display()
    );
    let dispatch = bridge.dispatch_streaming(&device, &[], &input)?;
    dispatch.labelled("started")?;
    let id = bridge.execution_of(&input)?;
    bridge.kill()?;
    fs::write(gate, "")?;
    until("a result that waits", || {
        let log = fs::read(agent.home().join("state/executions.db-wal"))?;
        let on_disk = log.windows(12).any(|bytes| bytes == b"3000\\nthe en");
        let status = agent.status()?;
        Ok((on_disk && status["unacknowledged"] == 1).then_some(()))
    })?;
    ensure!(agent.status()?["unacknowledged_bytes"].as_u64() > Some(14_000));
    agent.kill()?;
    bridge.serve()?;
    agent.start()?;

    let row = bridge.wait_ended(&id)?;
    ensure!(row["status"] == "completed", "{row}");
    let output = format!("started now\n{}", counted("the end", 3000));
    ensure!(row["output"] == output, "{row}");
    until("the acknowledgement", || {
        Ok((agent.status()?["unacknowledged"] == 0).then_some(()))
    })?;
    Ok(())
}

#[test]
fn what_waited_or_ran_when_the_agent_died_ends_interrupted_and_never_runs() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    let ran = agent.home().join("ran");
    let task = |name: &str| format!("echo {name} >> {}; exec sleep 600", ran.display());
    let ids = ["a", "b", "c"]
        .iter()
        .map(|name| bridge.dispatch_detached(&device, &task(name)))
        .collect::<Result<Vec<_>>>()?;
    until("two that run and one that waits", || {
        let status = agent.status()?;
        Ok((status["running"] == 2 && status["queued"] == 1 && ran.exists()).then_some(()))
    })?;
    agent.kill()?;
    agent.start()?;
    for id in ids {
        let row = bridge.wait_ended(&id)?;
        ensure!(
            row["status"] == "failed" && row["cause"] == "interrupted",
            "{row}"
        );
        ensure!(
            row["error"] == "the agent's process ended while it held this task",
            "{row}"
        );
    }
    ensure!(!fs::read_to_string(ran)?.contains('c'), "the one that waited ran");
    Ok(())
}

#[test]
fn an_old_forge_gets_a_result_again_where_nobody_knows_whether_it_has_it() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let mut agent = Agent::new()?;
    agent.pair(&forge.url(), "web-01", KEY)?.expect_code(0)?;
    agent.start()?;
    forge.dispatch("e1", "echo works")?;
    let sent = forge.wait_message("execution:complete")?;
    until("the pong", || {
        Ok((agent.status()?["unacknowledged"] == 0).then_some(()))
    })?;
    // Its library has read the result; the forge dies before it could have recorded it.
    forge.close_device(1001, "Server shutting down")?;
    ensure!(forge.wait_message("execution:complete")? == sent);
    // So does the agent.
    agent.kill()?;
    agent.start()?;
    ensure!(forge.wait_message("execution:complete")? == sent);
    until("the pong", || {
        Ok((agent.status()?["unacknowledged"] == 0).then_some(()))
    })?;
    ensure!(agent.terminate()? == 0, "an orderly end takes its leave");
    forge.pass_over();
    agent.start()?;
    forge.dispatch("e2", "echo again")?;
    ensure!(forge.wait_message("execution:complete")?["executionId"] == "e2");
    Ok(())
}

#[test]
fn a_damaged_journal_is_kept_and_the_agent_goes_on() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    bridge.dispatch(&device, "true")?.expect_code(0)?;
    ensure!(agent.terminate()? == 0);
    let journal = agent.home().join("state/executions.db");
    fs::write(&journal, "something else")?;
    agent.start()?;
    let kept = fs::read_dir(agent.home().join("state"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with("executions.db.unreadable-"))
        .context("it was not kept")?;
    ensure!(fs::read_to_string(journal.with_file_name(&kept))? == "something else");
    let told = agent.log().iter().any(|line| line.text.contains(&kept));
    ensure!(told, "{:?}", agent.log());
    bridge.dispatch(&device, "echo works")?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_full_disk_refuses_tasks_and_loses_no_result() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, _) = Agent::paired(&bridge, "web-01")?;
    let small_disk =
        "mkdir -p \"$ASKALF_HOME/state\" && mount -t tmpfs -o size=512k tmpfs \"$ASKALF_HOME/state\"";
    if !agent.mount(small_disk) {
        eprintln!("not shown: this system gives no mount namespace of one's own");
        return Ok(());
    }
    let device = agent.start()?;
    let gate = agent.home().join("gate");
    let fill = agent.home().join("state/fill");
    let input = format!(
        "head -c 9000000 /dev/zero > {fill}; echo full now; until [ -e {gate} ]; do sleep 0.02; done; rm {fill}; \
         seq 1 3000; echo the end",
        fill = fill.display(),
        gate = gate.display()
    );
    let dispatch = bridge.dispatch_streaming(&device, &[], &input)?;
    dispatch.labelled("full")?;
    let refused = bridge.dispatch(&device, "echo never")?;
    ensure!(refused.code != 0 && refused.stdout.is_empty(), "{refused:?}");
    ensure!(
        refused
            .stderr
            .contains("there is no room for the execution journal"),
        "{refused:?}"
    );
    let status = agent.wait_state("local_fault")?;
    ensure!(status["reason"] == "journal-full", "{status}");
    ensure!(agent.run(&["status", "--check"])?.code == 78);
    fs::write(gate, "")?;

    let output = dispatch.end()?.expect_code(0)?;
    ensure!(
        output.stdout == format!("full now\n{}", counted("the end", 3000)),
        "{output:?}"
    );
    agent.wait_state("online")?;
    bridge.dispatch(&device, "echo again")?.expect_code(0)?;
    Ok(())
}
