//! What surrounds the daemon goes wrong: files that vanish, disks that take nothing, paths, a second act meanwhile.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, Habit, KEY, OldForge, binaries};

/// An agent that is paired with a forge that knows [`KEY`].
fn paired(forge: &OldForge) -> Result<Agent> {
    let agent = Agent::new()?;
    agent.pair(&forge.url(), "web-01", KEY)?.expect_code(0)?;
    Ok(agent)
}

#[test]
fn pairing_again_leaves_running_tasks_alone() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, key) = Agent::paired(&bridge, "web-01")?;
    let device = agent.start()?;
    let go = agent.home().join("go");
    let input = format!(
        "echo started now; while ! [ -e {} ]; do sleep 0.05; done; echo whole",
        go.display()
    );
    let dispatch = bridge.dispatch_streaming(&device, &[], &input)?;
    dispatch.labelled("started")?;

    let lines = agent.daemon()?.lines().len();
    agent.pair(&bridge.url(), "web-01", &key.key)?.expect_code(0)?;
    agent.wait_registered_after(lines)?;
    fs::write(go, "")?;
    let output = dispatch.end()?.expect_code(0)?;
    ensure!(output.stdout.ends_with("whole\n"), "{output:?}");
    let row = bridge.execution(&bridge.execution_of(&input)?)?;
    ensure!(row["status"] == "completed", "{row}");
    Ok(())
}

#[test]
fn files_that_are_removed_do_not_hide_the_daemon() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let mut agent = paired(&forge)?;
    agent.start()?;
    fs::remove_file(agent.home().join("agent.sock"))?;
    for command in ["status", "disconnect"] {
        let output = agent.run(&[command])?.expect_code(75)?;
        ensure!(
            output.stderr.contains("its control socket is not there") && output.stderr.contains("hint: "),
            "{output:?}"
        );
    }
    fs::remove_file(agent.home().join("agent.lock"))?;
    let second = agent.run(&["daemon"])?.expect_code(75)?;
    ensure!(second.stderr.contains("already"), "{second:?}");
    ensure!(agent.terminate()? == 0);
    agent.start()?;
    ensure!(agent.status()?["state"] == "online");
    Ok(())
}

/// A full disk takes an empty file, but not the number in it: here a device stands for it that is always full.
#[test]
fn a_full_disk_keeps_no_daemon_from_starting() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let mut agent = paired(&forge)?;
    symlink("/dev/full", agent.home().join("agent.lock"))?;
    agent.start()?;
    forge.dispatch("e1", "echo works")?;
    ensure!(forge.wait_message("execution:complete")?["output"] == "works\n");
    Ok(())
}

#[test]
fn a_folder_that_cannot_be_written_keeps_no_daemon_from_running() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let mut agent = paired(&forge)?;
    let read_only =
        "mount --bind \"$ASKALF_HOME\" \"$ASKALF_HOME\" && mount -o remount,bind,ro \"$ASKALF_HOME\"";
    if !agent.mount(read_only) {
        eprintln!("not shown: this system gives no mount namespace of one's own");
        return Ok(());
    }
    let credential = agent.on_disk()?;
    agent.start()?;
    // What is accepted must be on record, and nothing can be.
    forge.dispatch("e1", "echo works")?;
    let refused = forge.wait_message("execution:failed")?;
    ensure!(
        refused["error"]
            .as_str()
            .is_some_and(|error| error.contains("cannot be opened for writing")),
        "{refused}"
    );
    let warned = agent
        .log()
        .iter()
        .any(|line| line.text.contains("there is no control socket"));
    ensure!(warned, "{:?}", agent.log());
    ensure!(agent.run(&["status"])?.code == 75, "it runs, and cannot be asked");
    ensure!(agent.terminate()? == 0);
    ensure!(agent.on_disk()? == credential);
    Ok(())
}

/// Reading a named pipe waits for a writer, for ever.
#[test]
fn a_pipe_in_place_of_the_device_id_holds_nothing_up() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let mut agent = paired(&forge)?;
    let id = agent.home().join("state/device-id");
    fs::remove_file(&id)?;
    let made = Command::new("mkfifo").arg(&id).status()?;
    ensure!(made.success());
    let device = agent.start()?;
    ensure!(agent.terminate()? == 0);
    ensure!(fs::read_to_string(id)? == device, "and the id is kept again");
    Ok(())
}

#[test]
fn a_relative_home_with_a_space_runs_tasks() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let folder = tempfile::tempdir()?;
    let binary = &binaries()?.agent;
    let home = "my agent";
    let command = |arguments: &[&str]| {
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .current_dir(folder.path())
            .env("ASKALF_HOME", home)
            // Tasks then start in the agent's own folder.
            .env("HOME", "/nonexistent");
        command
    };
    let pair = ["pair", "-", "--url", &forge.url()];
    askalf_e2e::run("pair", &mut command(&pair), KEY.as_bytes())?.expect_code(0)?;
    let daemon = askalf_e2e::Process::start("the agent", &mut command(&["daemon"]), b"")?;
    daemon.wait_line("registration", |line| {
        line.text.contains("Registered as device").then_some(())
    })?;
    forge.dispatch("e1", "pwd")?;
    let complete = forge.wait_message("execution:complete")?;
    let place = folder.path().canonicalize()?.join(home);
    ensure!(
        complete["output"].as_str().map(str::trim_end) == place.to_str(),
        "{complete}"
    );
    Ok(())
}

#[test]
fn a_home_too_deep_for_a_socket_is_said_to_be_one() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let folder = tempfile::tempdir()?;
    let home = folder.path().join("d".repeat(120));
    let agent = Agent::in_folder(binaries()?, &home);
    agent.pair(&forge.url(), "web-01", KEY)?.expect_code(0)?;
    let output = agent.run(&["daemon"])?.expect_code(78)?;
    ensure!(
        output.stderr.contains("too long for the path of a socket") && output.stderr.contains("ASKALF_HOME"),
        "{output:?}"
    );
    ensure!(agent.status()?["state"] == "stopped");
    Ok(())
}

/// The daemon's own environment shows the key to whoever may look into the daemon: a task of the same user may not.
/// Root may look into everything by its capabilities, which are left out here.
#[test]
fn a_task_cannot_read_the_environment_of_its_daemon() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let mut agent = Agent::new()?;
    let (key, url) = (
        format!("ASKALF_API_KEY={KEY}"),
        format!("ASKALF_URL={}", forge.url()),
    );
    let mut wrapper = vec!["env", &key, &url];
    if rustix::process::geteuid().is_root() {
        wrapper.extend(["setpriv", "--bounding-set", "-all"]);
    }
    agent.wrap(&wrapper);
    agent.start()?;
    let pid = agent.daemon()?.pid();
    let input =
        format!("grep -q '^Name:.*askalf-agent' /proc/{pid}/status && cat /proc/{pid}/environ; exit 0");
    forge.dispatch("e1", &input)?;
    let complete = forge.wait_message("execution:complete")?;
    let output = complete["output"].as_str().context("no output")?;
    ensure!(output.contains("Permission denied"), "the environment was read");
    ensure!(!output.contains(KEY), "the key was read");
    Ok(())
}
