//! Bad input ends in one clear error that says what to do next, with a documented code, and disturbs nobody else.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use askalf_e2e::{Agent, Bridge, Incoming, KEY, OldAgent, Output};

/// One error and one hint on standard error, nothing on standard output, this code and these words.
fn ensure_refused(output: Output, code: i32, words: &[&str]) -> Result<()> {
    let output = output.expect_code(code)?;
    ensure!(output.stdout.is_empty(), "{output:?}");
    let lines = |start: &str| {
        output
            .stderr
            .lines()
            .filter(|line| line.starts_with(start))
            .count()
    };
    ensure!(
        lines("error: ") == 1 && lines("hint: ") == 1,
        "one error and one hint: {output:?}"
    );
    for word in words {
        ensure!(output.stderr.contains(word), "'{word}' is missing: {output:?}");
    }
    ensure!(
        !output.stderr.contains("os error"),
        "no bare number of the system: {output:?}"
    );
    Ok(())
}

/// A bridge with a device of ours, and a peer that misbehaves; the device must not notice.
struct Scene {
    bridge: Bridge,
    agent: Agent,
    device: String,
    rude: OldAgent,
}

impl Scene {
    fn new() -> Result<Self> {
        let bridge = Bridge::start()?;
        let (agent, device) = Agent::online(&bridge, "web-01")?;
        let key = bridge.mint("rude")?;
        let (mut rude, _) = OldAgent::registered(bridge.address(), &key.key, "rude")?;
        rude.message("capabilities:scan")?;
        Ok(Self {
            bridge,
            agent,
            device,
            rude,
        })
    }

    fn ensure_undisturbed(&self) -> Result<()> {
        let output = self
            .bridge
            .dispatch(&self.device, "echo undisturbed")?
            .expect_code(0)?;
        ensure!(output.stdout == "undisturbed\n", "{output:?}");
        ensure!(
            self.agent.registrations() == 1,
            "it had to register again: {:?}",
            self.agent.log()
        );
        Ok(())
    }
}

#[test]
fn a_wrong_key() -> Result<()> {
    let bridge = Bridge::start()?;
    let agent = Agent::new()?;
    ensure_refused(
        agent.pair(&bridge.url(), "web-01", KEY)?,
        78,
        &["the bridge does not know this key"],
    )?;
    ensure!(!agent.home().join("agent.json").exists(), "it is not kept");
    Ok(())
}

#[test]
fn a_revoked_key() -> Result<()> {
    let bridge = Bridge::start()?;
    let agent = Agent::new()?;
    let key = bridge.mint("web-01")?;
    bridge.run(&["keys", "revoke", &key.id])?.expect_code(0)?;
    ensure_refused(
        agent.pair(&bridge.url(), "web-01", &key.key)?,
        78,
        &["this key was revoked"],
    )
}

#[test]
fn no_key_at_all() -> Result<()> {
    let bridge = Bridge::start()?;
    let agent = Agent::new()?;
    let cases: [(&[u8], &str); 4] = [
        (b"\n", "no pairing code and no key was given"),
        // Not something that happened to be in the clipboard.
        (b"dear diary", "no known shape of a key"),
        (b"dear-diary", "no known shape of a key"),
        (&[0xff; 40], "not text"),
    ];
    for (input, words) in cases {
        let output = agent.run_with_input(&["pair", "-", "--url", &bridge.url()], input)?;
        ensure_refused(output, 2, &[words])?;
    }
    Ok(())
}

#[test]
fn frames_that_are_no_message() -> Result<()> {
    let mut scene = Scene::new()?;
    for frame in [
        "null",
        "[]",
        "7",
        "garbage",
        "{",
        "{\"type\":null}",
        "\"device:heartbeat\"",
    ] {
        scene.rude.writer().text(frame)?;
        let answer = scene.rude.message("device:error")?;
        ensure!(answer["code"] == "INVALID_JSON", "{frame}: {answer}");
        ensure!(
            answer["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "{frame}: {answer}"
        );
    }
    scene.ensure_undisturbed()
}

#[test]
fn an_unknown_type() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.rude.send("device:dance", serde_json::json!({}))?;
    let answer = scene.rude.message("device:error")?;
    ensure!(answer["code"] == "UNKNOWN_TYPE", "{answer}");
    ensure!(
        answer["message"]
            .as_str()
            .is_some_and(|message| message.contains("device:dance")),
        "{answer}"
    );
    scene.ensure_undisturbed()
}

#[test]
fn invalid_utf_8() -> Result<()> {
    let mut scene = Scene::new()?;
    scene
        .rude
        .writer()
        .text_bytes(b"{\"type\":\"device:\xff\xfe\"}")?;
    let (_, code, _) = scene.rude.closed()?;
    ensure!(code == 1007, "closed with {code}");
    scene.ensure_undisturbed()
}

#[test]
fn a_frame_of_100_mb() -> Result<()> {
    let mut scene = Scene::new()?;
    let before = resident_mib(scene.bridge.server()?.pid())?;
    // The bridge may close while it is still being written to.
    let _cut_off = scene.rude.writer().text(&"x".repeat(100_000_000));
    match scene.rude.receive_within(Duration::from_secs(20))? {
        Incoming::Close(1009, _) | Incoming::End => {}
        other => bail!("{other:?}"),
    }
    let after = resident_mib(scene.bridge.server()?.pid())?;
    ensure!(
        after < before + 40,
        "the bridge grew from {before} to {after} MiB"
    );
    scene.ensure_undisturbed()
}

fn resident_mib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let Some(kib) = line.and_then(|line| line.trim().strip_suffix(" kB")) else {
        bail!("no VmHWM in {status}")
    };
    Ok(kib.trim().parse::<u64>()? / 1024)
}

#[test]
fn a_task_for_an_offline_device() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    agent.terminate()?;
    bridge.wait_device(&device, "offline")?;
    ensure_refused(
        bridge.dispatch("web-01", "true")?,
        75,
        &["'web-01' is not connected", "askalf-agent daemon"],
    )?;
    ensure!(bridge.executions()?.is_empty(), "and no row");
    Ok(())
}

#[test]
fn a_task_for_an_unknown_device() -> Result<()> {
    let bridge = Bridge::start()?;
    ensure_refused(bridge.dispatch("nowhere", "true")?, 1, &["nowhere"])?;
    ensure!(bridge.executions()?.is_empty());
    Ok(())
}

#[test]
fn a_task_without_a_bridge() -> Result<()> {
    let mut bridge = Bridge::start()?;
    bridge.terminate()?;
    ensure_refused(bridge.dispatch("web-01", "true")?, 69, &["no bridge"])
}

#[test]
fn a_command_that_does_not_exist() -> Result<()> {
    let bridge = Bridge::start()?;
    let (_agent, device) = Agent::online(&bridge, "web-01")?;
    let output = bridge.dispatch(&device, "no-such-program --now")?;
    ensure!(output.code == 127, "{output:?}");
    ensure!(output.stderr.contains("no-such-program"), "{output:?}");
    let execution = bridge.execution(&bridge.execution_of("no-such-program --now")?)?;
    ensure!(
        execution["status"] == "failed" && execution["exit_code"] == 127,
        "{execution}"
    );
    Ok(())
}

#[test]
fn an_executor_that_the_device_does_not_have() -> Result<()> {
    let bridge = Bridge::start()?;
    let (_agent, device) = Agent::online(&bridge, "web-01")?;
    let output = bridge
        .run(&["dispatch", &device, "--executor", "abacus", "--", "hello"])?
        .expect_code(1)?;
    ensure!(output.stderr.contains("abacus"), "{output:?}");
    let execution = bridge.execution(&bridge.execution_of("hello")?)?;
    ensure!(
        execution["status"] == "failed" && execution["cause"] == "refused",
        "{execution}"
    );
    Ok(())
}

#[test]
fn a_url_that_is_none() -> Result<()> {
    let agent = Agent::new()?;
    for url in ["localhost:3005", "127.0.0.1:3005", "ftp://localhost", "ws://", ""] {
        let output = agent.run_with_input(&["pair", "-", "--url", url], KEY.as_bytes())?;
        // The hint says what a URL is.
        ensure_refused(output, 78, &["ws://127.0.0.1:3005"]).with_context(|| format!("'{url}'"))?;
    }
    ensure!(!agent.home().join("agent.json").exists());
    Ok(())
}

#[test]
fn a_plain_url_to_another_host() -> Result<()> {
    let agent = Agent::new()?;
    let output = agent.run_with_input(&["pair", "-", "--url", "ws://203.0.113.7:3005"], KEY.as_bytes())?;
    ensure_refused(output, 78, &["203.0.113.7 in plain text", "--insecure"])
}

#[test]
fn a_port_in_use() -> Result<()> {
    let bridge = Bridge::start()?;
    let folder = tempfile::tempdir()?;
    let mut command = bridge.command(&["serve", "--listen", &bridge.address().to_string()]);
    command.env("ASKALF_BRIDGE_HOME", folder.path().join("other"));
    let output = askalf_e2e::run("the second bridge", &mut command, b"")?;
    let address = bridge.address().to_string();
    ensure!(output.code == 75, "{output:?}");
    ensure!(
        output.stderr.contains(&address) && output.stderr.contains("in use"),
        "{output:?}"
    );
    ensure!(output.stderr.contains("--listen"), "{output:?}");
    Ok(())
}

#[test]
fn a_damaged_agent_json() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, _) = Agent::paired(&bridge, "web-01")?;
    let config = agent.home().join("agent.json");
    let whole = fs::read(&config)?;
    fs::write(&config, &whole[..whole.len() / 2])?;
    let output = agent.run(&["cred", "verify"])?;
    ensure_refused(output.clone(), 78, &["agent.json"])?;
    ensure!(
        !output.stderr.to_lowercase().contains("not configured"),
        "it is damaged, not absent: {output:?}"
    );

    agent.spawn()?;
    let status = agent.wait_state("repair_required")?;
    ensure!(status["reason"].is_string(), "{status}");
    ensure!(
        fs::read(&config)? == whole[..whole.len() / 2],
        "it is left as it is"
    );
    // Repaired, it is taken up without a restart.
    fs::write(&config, &whole)?;
    agent.wait_registered()?;
    Ok(())
}

#[test]
fn a_second_daemon_on_one_home() -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, _) = Agent::online(&bridge, "web-01")?;
    ensure_refused(agent.run(&["daemon"])?, 75, &["an agent runs in", "already"])
}

#[test]
fn an_unknown_execution() -> Result<()> {
    let bridge = Bridge::start()?;
    ensure_refused(
        bridge.run(&["executions", "show", "exec_nothing"])?,
        1,
        &["no such execution"],
    )?;
    ensure_refused(
        bridge.run(&["executions", "cancel", "../keys"])?,
        1,
        &["no such execution"],
    )?;
    ensure_refused(
        bridge.run(&["keys", "revoke", "key_nothing"])?,
        1,
        &["no such key"],
    )
}

#[test]
fn a_command_line_that_is_wrong() -> Result<()> {
    let bridge = Bridge::start()?;
    let agent = Agent::new()?;
    ensure!(agent.run(&["dance"])?.code == 2);
    ensure!(agent.run(&["connect", "-", "--concurrent", "0"])?.code == 2);
    let nowhere = bridge
        .run(&["serve", "--listen", "localhost:3005"])?
        .expect_code(2)?;
    ensure!(nowhere.stderr.contains("such as 127.0.0.1:3005"), "{nowhere:?}");
    ensure!(bridge.run(&["dispatch", "web-01"])?.code == 2);
    ensure!(
        bridge
            .run_with_input(&["keys", "verify", "--key-hash", "abc", "-"], KEY.as_bytes())?
            .code
            == 2
    );
    Ok(())
}
