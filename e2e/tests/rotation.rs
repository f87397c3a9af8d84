//! A device changes its key over its own connection, and whatever dies meanwhile, it comes back as itself.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, Process, until};
use serde_json::Value;

/// Rotations under kills: few for each change; `cargo xtask prove rotation` asks for more.
const ROTATIONS: u64 = 20;

fn rotations(bridge: &Bridge) -> Result<Vec<Value>> {
    let listed = bridge.run(&["keys", "rotations", "--limit", "1000", "--json"])?;
    Ok(listed.json()?.as_array().cloned().unwrap_or_default())
}

fn is_pending(rotation: &Value) -> bool {
    rotation["state"] == "staged" || rotation["state"] == "committed"
}

/// Waits until no rotation is under way; all of them.
fn settled(bridge: &Bridge) -> Result<Vec<Value>> {
    until("no rotation under way", || {
        let all = rotations(bridge)?;
        Ok((!all.iter().any(is_pending)).then_some(all))
    })
}

fn rotate(bridge: &Bridge, device: &str) -> Result<()> {
    // One whose message was lost is begun again by itself, at a moment of its own.
    until("a rotation to begin", || {
        let output = bridge.run(&["keys", "rotate", "--device", device, "--json"])?;
        Ok(if output.code == 75 { None } else { Some(output) })
    })?
    .expect_code(0)?;
    Ok(())
}

fn active_keys(bridge: &Bridge) -> Result<Vec<Value>> {
    let keys = bridge.run(&["keys", "list", "--json"])?.json()?;
    let keys = keys.as_array().cloned().unwrap_or_default().into_iter();
    Ok(keys.filter(|key| key["status"] == "active").collect())
}

fn no_person_was_called(agent: &Agent) -> Result<()> {
    for line in agent.log() {
        ensure!(!line.text.contains("re-pair"), "{}", line.text);
    }
    Ok(())
}

#[test]
fn a_task_runs_across_a_rotation_and_the_old_key_ends() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, key) = Agent::paired(&bridge, "web-01")?;
    let device = agent.start()?;
    let before = agent.on_disk()?;
    let gate = agent.home().join("gate");
    let input = format!(
        "echo started now; until [ -e {} ]; do sleep 0.05; done; echo after",
        gate.display()
    );
    let dispatch = bridge.dispatch_streaming(&device, &[], &input)?;
    dispatch.labelled("started")?;

    rotate(&bridge, &device)?;
    let all = settled(&bridge)?;
    ensure!(all.len() == 1 && all[0]["state"] == "confirmed", "{all:?}");
    std::fs::write(gate, "")?;
    let output = dispatch.end()?;
    ensure!(
        output.code == 0 && output.stdout.ends_with("after\n"),
        "{output:?}"
    );

    ensure!(agent.on_disk()? != before, "the new key is in the file");
    ensure!(!agent.home().join("agent.json.next").exists());
    let keys = active_keys(&bridge)?;
    ensure!(
        keys.len() == 1 && keys[0]["id"] != key.id.as_str() && keys[0]["name"] == "web-01",
        "{keys:?}"
    );
    let confirmed = agent.on_disk()?;
    agent.kill()?;
    ensure!(agent.start()? == device, "it comes back with the new key");
    ensure!(agent.on_disk()? == confirmed, "a start writes nothing");
    ensure!(bridge.devices()?.len() == 1);
    for line in agent.log().iter().chain(&bridge.log()) {
        ensure!(!line.text.contains("AUTH_FAILED"), "{}", line.text);
    }
    Ok(())
}

#[test]
fn a_device_that_is_away_is_not_rotated_and_the_command_says_try_again() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    ensure!(agent.terminate()? == 0);
    bridge.wait_device(&device, "offline")?;
    let output = bridge.run(&["keys", "rotate", "--device", "web-01"])?;
    ensure!(
        output.code == 75 && output.stderr.contains("not connected"),
        "{output:?}"
    );
    ensure!(rotations(&bridge)?.is_empty());
    Ok(())
}

#[test]
fn the_new_key_is_kept_as_the_old_one_was() -> Result<()> {
    let bridge = Bridge::start()?;
    for (name, way) in [
        ("plain-01", &["--plaintext"][..]),
        ("locked-01", &["--seal", "passphrase"][..]),
    ] {
        let mut agent = Agent::new()?;
        let passphrase = bridge.home().join("passphrase");
        std::fs::write(&passphrase, "correct horse battery staple\n")?;
        std::fs::set_permissions(&passphrase, PermissionsExt::from_mode(0o600))?;
        agent.set_variable("ASKALF_PASSPHRASE_FILE", &passphrase);
        let (key, url) = (bridge.mint(name)?, bridge.url());
        let mut connect = vec!["connect", "-", "--url", &url, "--name", name];
        connect.extend(way);
        agent
            .run_with_input(&connect, key.key.as_bytes())?
            .expect_code(0)?;
        let seal = |agent: &Agent| -> Result<Value> {
            let config: Value = serde_json::from_slice(&std::fs::read(agent.home().join("agent.json"))?)?;
            Ok(config["_seal"]["mode"].clone())
        };
        let before = seal(&agent)?;
        let device = agent.start()?;
        rotate(&bridge, &device)?;
        let all = settled(&bridge)?;
        ensure!(all[0]["state"] == "confirmed", "{name}: {all:?}");
        ensure!(seal(&agent)? == before, "{name}: sealed as {before} before");
        agent.kill()?;
        ensure!(agent.start()? == device, "{name}");
    }
    Ok(())
}

#[test]
fn a_key_that_comes_from_the_environment_stays_and_the_device_says_why() -> Result<()> {
    let bridge = Bridge::start()?;
    let key = bridge.mint("web-01")?;
    let mut agent = Agent::new()?;
    agent.set_variable("ASKALF_API_KEY", &key.key);
    agent.set_variable("ASKALF_URL", bridge.url());
    let device = agent.start()?;
    rotate(&bridge, &device)?;
    let all = settled(&bridge)?;
    let reason = all[0]["reason"].as_str().unwrap_or_default();
    ensure!(
        all[0]["state"] == "failed" && reason.contains("comes from the environment"),
        "{all:?}"
    );
    ensure!(!agent.home().join("agent.json.next").exists());
    let keys = active_keys(&bridge)?;
    ensure!(keys.len() == 1 && keys[0]["id"] == key.id.as_str(), "{keys:?}");
    bridge.dispatch(&device, "true")?.expect_code(0)?;
    Ok(())
}

/// Numbers that look random and are the same each time (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[test]
fn whatever_is_killed_during_a_rotation_the_device_comes_back_as_itself() -> Result<()> {
    let number = |name: &str, default: u64| -> Result<u64> {
        match std::env::var(name) {
            Ok(number) => number.parse().with_context(|| format!("{name} is no number")),
            Err(_) => Ok(default),
        }
    };
    let wanted = number("ASKALF_ROTATIONS", ROTATIONS)?;
    let seed = number("ASKALF_ROTATION_SEED", 1)?;
    let mut dice = Dice(seed);
    let mut bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    let (mut kills, mut round) = (0, 0);
    while (rotations(&bridge)?.len() as u64) < wanted {
        round += 1;
        let seen = agent.daemon()?.lines().len();
        // Every other time the moment may be before the key was even made.
        let mut command = None;
        if dice.below(2) == 0 {
            rotate(&bridge, &device).with_context(|| format!("round {round}"))?;
        } else {
            let mut rotate = bridge.command(&["keys", "rotate", "--device", &device, "--json"]);
            command = Some(Process::start("the rotation", &mut rotate, b"")?);
        }
        let victims = dice.below(4);
        let delay = Duration::from_millis(dice.below(if command.is_some() { 250 } else { 80 }));
        #[allow(
            clippy::disallowed_methods,
            reason = "chooses the moment of a kill; nothing is synchronised by it"
        )]
        std::thread::sleep(delay);
        let (kills_agent, kills_bridge) = (victims == 1 || victims == 3, victims >= 2);
        if kills_agent {
            agent.kill()?;
        }
        if kills_bridge {
            bridge.kill()?;
            bridge.serve()?;
        }
        if let Some(mut command) = command {
            command.end()?;
        }
        kills += u64::from(kills_agent) + u64::from(kills_bridge);
        let says = |what: &str| format!("seed {seed}, round {round}, victims {victims}, {delay:?}: {what}");
        let again = if kills_agent {
            agent.start().with_context(|| says("the agent is out"))?
        } else if kills_bridge {
            agent
                .wait_registered_after(seen)
                .with_context(|| says("the agent is out"))?
        } else {
            device.clone()
        };
        ensure!(again == device, "{}", says(&format!("device {again}")));
        settled(&bridge).with_context(|| says("a rotation is stuck"))?;
        bridge
            .wait_device(&device, "online")
            .with_context(|| says("offline"))?;
    }
    let all = rotations(&bridge)?;
    let count = |state: &str| all.iter().filter(|rotation| rotation["state"] == state).count();
    let (confirmed, dropped, failed) = (count("confirmed"), count("dropped"), count("failed"));
    let devices = bridge.devices()?;
    let out = devices
        .iter()
        .filter(|device| device["status"] != "online")
        .count();
    println!(
        "proof: {round} rounds, {} rotations begun, {kills} processes killed: {confirmed} confirmed, {dropped} dropped, {failed} failed; \
         devices: {}, out: {out}",
        all.len(),
        devices.len()
    );
    ensure!(
        out == 0 && devices.len() == 1 && devices[0]["id"] == device.as_str(),
        "{devices:?}"
    );
    ensure!(
        confirmed > 0 && failed == 0,
        "{confirmed} confirmed, {failed} failed"
    );
    let keys = active_keys(&bridge)?;
    ensure!(keys.len() == 1, "one key is good, not {keys:?}");
    bridge.dispatch(&device, "true")?.expect_code(0)?;
    no_person_was_called(&agent)
}
