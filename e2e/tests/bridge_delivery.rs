//! An accepted execution ends exactly once, whatever becomes of the bridge in between.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, DurableDevice, SmallDisk, binaries, run, until};

/// Moments at which the bridge is killed, in milliseconds after its device came back: the same in each run.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> Duration {
        // xorshift64* (Vigna 2016).
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        Duration::from_millis(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32 & 0x1ff)
    }
}

#[test]
fn whatever_is_accepted_ends_once_though_the_bridge_is_killed_again_and_again() -> Result<()> {
    let mut bridge = Bridge::start()?;
    let key = bridge.mint("web-01")?;
    let device = DurableDevice::start(bridge.address(), &key.key, "web-01")?;
    let id = device.id()?;
    let mut moments = Moments(0x5eed);
    let accepted = Mutex::new(Vec::new());
    for round in 0..16 {
        let (over, number) = (AtomicBool::new(false), AtomicUsize::new(0));
        let kill_at = Instant::now() + moments.next();
        std::thread::scope(|scope| -> Result<()> {
            let workers: Vec<_> = (0..3)
                .map(|worker| {
                    let mut dispatches = Vec::new();
                    for _ in 0..64 {
                        let input = format!("{round}-{worker}-{}", number.fetch_add(1, Ordering::Relaxed));
                        let command = bridge.command(&["dispatch", &id, "--detach", "--", &input]);
                        dispatches.push((input, command));
                    }
                    let (over, accepted) = (&over, &accepted);
                    scope.spawn(move || -> Result<()> {
                        for (input, mut command) in dispatches {
                            if over.load(Ordering::Relaxed) {
                                break;
                            }
                            let output = run("dispatch", &mut command, b"")?;
                            // What was not accepted has said so, with a code for a bridge that is away or a device that is.
                            ensure!(
                                matches!(output.code, 0 | 69 | 75),
                                "{} {}",
                                output.code,
                                output.stderr
                            );
                            if output.code == 0 {
                                let id = output.stdout.trim().to_owned();
                                let mut accepted =
                                    accepted.lock().map_err(|_| anyhow::anyhow!("poisoned"))?;
                                accepted.push((id, input));
                            }
                        }
                        Ok(())
                    })
                })
                .collect();
            while Instant::now() < kill_at {
                std::thread::park_timeout(kill_at.saturating_duration_since(Instant::now()));
            }
            over.store(true, Ordering::Relaxed);
            let server = bridge.server()?.pid();
            let pid = i32::try_from(server)?;
            let pid = rustix::process::Pid::from_raw(pid).context("no pid")?;
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
            for worker in workers {
                worker
                    .join()
                    .map_err(|_| anyhow::anyhow!("a worker panicked"))??;
            }
            Ok(())
        })?;
        bridge.kill()?;
        let before = device.registrations();
        bridge.serve()?;
        until("the device coming back", || {
            Ok((device.registrations() > before).then_some(()))
        })?;
    }

    let accepted = accepted.into_inner().map_err(|_| anyhow::anyhow!("poisoned"))?;
    ensure!(accepted.len() >= 16, "only {} were accepted", accepted.len());
    for (execution, input) in &accepted {
        let ended = bridge.wait_ended(execution)?;
        ensure!(
            ended["status"] == "completed" && ended["output"] == input.as_str(),
            "{ended}"
        );
    }
    // Rows whose callers the kill cut off end once as well.
    let rows = bridge.executions()?;
    for row in &rows {
        let ended = bridge.wait_ended(row["id"].as_str().context("no id")?)?;
        ensure!(ended["status"] == "completed", "{ended}");
    }
    let ids: BTreeSet<_> = accepted.iter().map(|(id, _)| id).collect();
    ensure!(ids.len() == accepted.len(), "an id was given twice");
    ensure!(
        device.repeated().is_empty(),
        "sent again: {:?}",
        device.repeated()
    );
    Ok(())
}

#[test]
fn what_was_committed_before_the_bridge_was_killed_reaches_the_device_later() -> Result<()> {
    let mut bridge = Bridge::start()?;
    let key = bridge.mint("web-01")?;
    let device = DurableDevice::start(bridge.address(), &key.key, "web-01")?;
    let id = device.id()?;
    device.hold_back();
    let execution = bridge.dispatch_detached(&id, "held back")?;
    until("the task", || Ok(device.took(&execution).then_some(())))?;
    drop(device);
    bridge.kill()?;
    bridge.serve()?;
    // Another device of the same key, with another memory: it never got the task.
    let device = DurableDevice::start(bridge.address(), &key.key, "web-01")?;
    ensure!(device.id()? == id);
    let ended = bridge.wait_ended(&execution)?;
    ensure!(
        ended["status"] == "completed" && ended["output"] == "held back",
        "{ended}"
    );
    Ok(())
}

#[test]
fn a_running_task_can_be_followed_again_after_a_restart_of_the_bridge() -> Result<()> {
    let mut bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    let gate = agent.home().join("gate");
    let input = format!(
        "echo started now; until [ -e {} ]; do sleep 0.05; done; echo after the gate; exit 7",
        gate.display()
    );
    let dispatch = bridge.dispatch_streaming(&device, &[], &input)?;
    dispatch.labelled("started")?;
    let id = bridge.execution_of(&input)?;
    let seen = agent.daemon()?.lines().len();
    ensure!(bridge.terminate()? == 0);
    let lost = dispatch.end()?;
    ensure!(
        lost.code == 69 && lost.stderr.contains(&format!("executions watch {id}")),
        "{lost:?}"
    );
    bridge.serve()?;
    agent.wait_registered_after(seen)?;
    let mut watching = bridge.command(&["executions", "watch", &id]);
    let watching = askalf_e2e::Process::start("the watch", &mut watching, b"")?;
    std::fs::write(gate, "")?;
    let ended = bridge.wait_ended(&id)?;
    ensure!(ended["exit_code"] == 7, "{ended}");
    let watched = askalf_e2e::Dispatch { process: watching }.end()?;
    ensure!(watched.code == 7, "{watched:?}");
    // One that comes when all is over is told all of it.
    let late = bridge.run(&["executions", "watch", &id])?.expect_code(7)?;
    ensure!(late.stdout == "started now\nafter the gate\n", "{late:?}");
    bridge
        .run(&["executions", "watch", "exec_none"])?
        .expect_code(1)?;
    Ok(())
}

#[test]
fn a_bridge_that_is_told_to_stop_waits_for_its_tasks_and_takes_no_new_ones() -> Result<()> {
    let mut bridge = Bridge::start_with(&["--drain", "60"])?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    let gate = agent.home().join("gate");
    let input = format!(
        "echo started now; until [ -e {} ]; do sleep 0.05; done",
        gate.display()
    );
    let dispatch = bridge.dispatch_streaming(&device, &[], &input)?;
    dispatch.labelled("started")?;
    let pid = i32::try_from(bridge.server()?.pid())?;
    let pid = rustix::process::Pid::from_raw(pid).context("no pid")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    bridge
        .server()?
        .wait_line("the drain", |line| line.text.contains("draining").then_some(()))?;
    let refused = bridge
        .run(&["dispatch", &device, "--", "true"])?
        .expect_code(75)?;
    ensure!(refused.stderr.contains("takes no new tasks"), "{refused:?}");
    std::fs::write(gate, "")?;
    ensure!(
        dispatch.end()?.code == 0,
        "the task ended while the bridge waited"
    );
    ensure!(bridge.wait_exit()? == 0);
    Ok(())
}

#[test]
fn a_full_disk_refuses_tasks_and_loses_no_result() -> Result<()> {
    let Some(disk) = SmallDisk::mount(4 * 1024 * 1024)? else {
        // Only root mounts, and not everywhere.
        return Ok(());
    };
    let bridge = Bridge::start_in(binaries()?, &disk.path().join("bridge"), &[])?;
    let key = bridge.mint("web-01")?;
    let device = DurableDevice::start(bridge.address(), &key.key, "web-01")?;
    let id = device.id()?;
    // Results of the size of their input: what is in the log's file already holds none of them.
    let input = |number: usize| format!("{number} {}", "x".repeat(100_000));
    device.hold_back();
    let mut accepted = Vec::new();
    for number in 0..3 {
        accepted.push((bridge.dispatch_detached(&id, &input(number))?, number));
    }
    for (execution, _) in &accepted {
        until("the task", || Ok(device.took(execution).then_some(())))?;
    }
    disk.fill()?;
    // Some may still fit into the file of the database as it is.
    let mut refused = None;
    for number in 3..40 {
        let output = bridge.run(&["dispatch", &id, "--detach", "--", &input(number)])?;
        if output.code != 0 {
            refused = Some(output.expect_code(75)?);
            break;
        }
        accepted.push((output.stdout.trim().to_owned(), number));
    }
    let refused = refused.context("no task was refused")?;
    ensure!(refused.stderr.contains("the disk is full"), "{refused:?}");

    let before = device.registrations();
    device.release();
    until("a refused result", || {
        Ok(device
            .refused()
            .contains(&"INTERNAL_ERROR".to_owned())
            .then_some(()))
    })?;
    // The device comes and goes meanwhile, and no answer of the bridge looks like a refusal of its key.
    disk.free()?;
    for (execution, number) in &accepted {
        let ended = bridge.wait_ended(execution)?;
        ensure!(
            ended["status"] == "completed" && ended["output"] == input(*number).as_str(),
            "{execution}: {}",
            ended["status"]
        );
    }
    ensure!(device.registrations() > before, "it came back");
    ensure!(
        device.refused().iter().all(|code| code == "INTERNAL_ERROR"),
        "{:?}",
        device.refused()
    );
    ensure!(device.repeated().is_empty(), "{:?}", device.repeated());
    let rows = bridge.executions()?;
    ensure!(rows.len() == accepted.len(), "the refused one left no row");
    bridge.dispatch_detached(&id, "after it")?;
    Ok(())
}
