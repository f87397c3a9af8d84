//! The credential: written by an act alone, replaced only by a good one, never guessed and never shown.

use std::fs;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, Habit, KEY, OldForge, Watched, pids_in};

#[test]
fn a_bad_key_does_not_replace_a_good_one() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    let credential = agent.on_disk()?;
    for command in ["connect", "pair"] {
        let output = agent
            .run_with_input(&[command, "-", "--url", &bridge.url()], KEY.as_bytes())?
            .expect_code(78)?;
        ensure!(
            output.stderr.contains("the bridge does not know this key"),
            "{output:?}"
        );
        ensure!(!output.stderr.contains(KEY), "{output:?}");
        ensure!(agent.on_disk()? == credential, "{command} wrote");
    }
    agent.kill()?;
    ensure!(agent.start()? == device);
    Ok(())
}

#[test]
fn a_bridge_that_is_down_does_not_replace_a_key_either() -> Result<()> {
    let mut bridge = Bridge::start()?;
    let (agent, key) = Agent::paired(&bridge, "web-01")?;
    let credential = agent.on_disk()?;
    bridge.terminate()?;
    let output = agent.pair(&bridge.url(), "web-01", &key.key)?;
    ensure!(output.code == 69, "{output:?}");
    ensure!(
        output.stderr.contains("hint:") && !output.stderr.contains("AUTH_FAILED"),
        "{output:?}"
    );
    ensure!(agent.on_disk()? == credential);
    Ok(())
}

#[test]
fn a_revoked_key_asks_for_a_new_one_and_takes_it_without_a_restart() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, key) = Agent::paired(&bridge, "web-01")?;
    agent.start()?;
    agent.terminate()?;
    let credential = agent.on_disk()?;
    bridge.run(&["keys", "revoke", &key.id])?.expect_code(0)?;
    agent.spawn()?;
    let log = agent.daemon()?.wait_line("refusal", |line| {
        line.text.contains("AUTH_FAILED").then(|| line.text.clone())
    })?;
    ensure!(
        log.contains("AUTH_FAILED (revoked): re-pair required: run 'askalf-agent pair'")
            && log.contains("see 'askalf-agent recovery'"),
        "{log}"
    );
    let status = agent.wait_state("repair_required")?;
    ensure!(status["reason"] == "revoked", "{status}");
    ensure!(agent.run(&["status", "--check"])?.code == 78);
    ensure!(
        agent.run(&["cred", "verify"])?.code == 0,
        "the key unseals; it is the bridge that refuses it"
    );
    ensure!(agent.on_disk()? == credential, "a refusal writes nothing");

    let pid = agent.daemon()?.pid();
    let new = bridge.mint("web-01 again")?;
    agent.pair(&bridge.url(), "web-01", &new.key)?.expect_code(0)?;
    agent.wait_registered()?;
    ensure!(agent.daemon()?.pid() == pid);
    ensure!(agent.status()?["state"] == "online");
    Ok(())
}

#[test]
fn what_does_not_unseal_is_never_sent_and_never_overwritten() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let mut agent = Agent::new()?;
    agent.pair(&forge.url(), "web-01", KEY)?.expect_code(0)?;
    fs::write(agent.home().join("keyfile"), [7; 32])?;
    let (before, connections) = (agent.on_disk()?, forge.events().len());

    agent.spawn()?;
    let status = agent.wait_state("repair_required")?;
    ensure!(
        status["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
        "{status}"
    );
    ensure!(agent.run(&["cred", "verify"])?.code == 78);
    ensure!(agent.run(&["status", "--check"])?.code == 78);
    ensure!(
        forge.events().len() == connections,
        "nothing was sent: {:?}",
        forge.events()
    );
    ensure!(agent.on_disk()? == before, "nothing was written");

    let sealed = fs::read(agent.home().join("agent.json"))?;
    agent.pair(&forge.url(), "web-01", KEY)?.expect_code(0)?;
    agent.wait_registered()?;
    let kept = fs::read_dir(agent.home())?.filter_map(Result::ok).any(|entry| {
        entry.file_name() != "agent.json" && fs::read(entry.path()).is_ok_and(|bytes| bytes == sealed)
    });
    ensure!(kept, "the unreadable file is kept beside the new one");
    Ok(())
}

#[test]
fn a_missing_keyfile_is_a_fault_of_the_device() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let mut agent = Agent::new()?;
    agent.pair(&forge.url(), "web-01", KEY)?.expect_code(0)?;
    fs::remove_file(agent.home().join("keyfile"))?;
    let connections = forge.events().len();
    agent.spawn()?;
    let status = agent.wait_state("local_fault")?;
    ensure!(status["reason"].is_string(), "{status}");
    ensure!(
        !agent.home().join("keyfile").exists(),
        "no new key is made beside an old file"
    );
    ensure!(forge.events().len() == connections, "nothing was sent");
    Ok(())
}

#[test]
fn the_key_shows_nowhere() -> Result<()> {
    let bridge = Bridge::start()?;
    let agent = Agent::new()?;
    let key = bridge.mint("web-01")?;
    agent.pair(&bridge.url(), "web-01", &key.key)?.expect_code(0)?;
    let mut agent = agent;
    let device = agent.start()?;

    let dispatch = bridge.dispatch_streaming(&device, &[], "echo shell $$; env; exec sleep 600")?;
    let shell = dispatch.labelled_pid("shell")?;
    ensure!(Watched::new(shell)?.runs()?);
    let holders = pids_in(&key.key)?;
    ensure!(holders.is_empty(), "processes {holders:?} show the key");
    let environment = fs::read(format!("/proc/{shell}/environ")).context("the task's environment")?;
    let environment = String::from_utf8_lossy(&environment);
    ensure!(!environment.contains("ASKALF_"), "{environment}");

    for line in agent
        .log()
        .iter()
        .chain(&bridge.log())
        .chain(&dispatch.process.lines())
    {
        ensure!(!line.text.contains(&key.key), "{}", line.text);
    }
    for file in fs::read_dir(agent.home())?
        .filter_map(Result::ok)
        .filter(|file| file.path().is_file())
    {
        let bytes = fs::read(file.path())?;
        let shown = bytes
            .windows(key.key.len())
            .any(|window| window == key.key.as_bytes());
        ensure!(!shown, "{} holds the key", file.path().display());
    }
    Ok(())
}

#[test]
fn a_daemon_without_a_file_takes_the_environments_key_and_writes_none() -> Result<()> {
    let bridge = Bridge::start()?;
    let agent = Agent::new()?;
    let key = bridge.mint("web-01")?;
    let mut command = agent.command(&["daemon"]);
    command
        .env("ASKALF_API_KEY", &key.key)
        .env("ASKALF_URL", bridge.url());
    let daemon = askalf_e2e::Process::start("the agent", &mut command, b"")?;
    daemon.wait_line("registration", |line| {
        line.text.contains("Registered as device").then_some(())
    })?;
    ensure!(!agent.home().join("agent.json").exists());
    Ok(())
}

#[test]
fn hash_and_verify_agree_across_the_two_programs() -> Result<()> {
    let bridge = Bridge::start()?;
    let agent = Agent::new()?;
    let hashed = agent
        .run_with_input(&["cred", "hash", "-"], KEY.as_bytes())?
        .json()?;
    ensure!(hashed["key_prefix"] == KEY[..12], "{hashed}");
    let hash = hashed["key_hash"].as_str().context("no key_hash")?;
    let verify =
        |token: &str| bridge.run_with_input(&["keys", "verify", "--key-hash", hash, "-"], token.as_bytes());
    let good = verify(KEY)?;
    ensure!((good.code, good.stdout.as_str()) == (0, "match\n"), "{good:?}");
    let bad = verify("sk_live_other")?;
    ensure!((bad.code, bad.stdout.as_str()) == (1, "no match\n"), "{bad:?}");

    let minted = agent.run(&["cred", "hash", "--mint"])?.json()?;
    ensure!(
        minted["key"]
            .as_str()
            .is_some_and(|key| key.starts_with("sk_live_")),
        "{minted}"
    );
    Ok(())
}
