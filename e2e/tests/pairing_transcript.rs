//! How a device whose key was lost comes back: what the operator types, what the device's owner types, and what both read.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, Output, until};
use rusqlite::Connection;
use serde_json::Value;

/// What the daemon logs when its key is refused.
const REFUSED: &str = "AUTH_FAILED (revoked): re-pair required: run 'askalf-agent pair' with a good key, see 'askalf-agent \
                       recovery'";

/// The code in what `pair-code new` prints for a device, once every other line is the expected one.
fn code_in(output: &Output, name: &str, device: &str) -> Result<String> {
    let lines: Vec<&str> = output.stdout.lines().collect();
    let [headline, "", code, "", on_device] = lines[..] else {
        anyhow::bail!("{output:?}")
    };
    let start = format!("Pairing code for '{name}', which pairs {device} anew, good once until 2");
    ensure!(headline.starts_with(&start), "{headline}");
    let code = code.trim();
    ensure!(code.len() == 14 && code.matches('-').count() == 2, "{code}");
    // The device knows its bridge: no URL has to be typed.
    ensure!(
        on_device == format!("On the device: askalf-agent pair {code}"),
        "{on_device}"
    );
    Ok(code.to_owned())
}

/// The value of a line of `status` or `show`.
fn line<'a>(output: &'a Output, name: &str) -> Result<&'a str> {
    let value = output
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with(' ')));
    value
        .map(str::trim)
        .with_context(|| format!("no line '{name}': {output:?}"))
}

fn key_of(bridge: &Bridge, device: &str) -> Result<String> {
    let shown = bridge.run(&["devices", "show", device, "--json"])?.json()?;
    shown["api_key_id"]
        .as_str()
        .map(str::to_owned)
        .with_context(|| shown.to_string())
}

fn key_status(bridge: &Bridge, id: &str) -> Result<String> {
    let shown = bridge.run(&["keys", "show", id])?.expect_code(0)?;
    line(&shown, "status").map(str::to_owned)
}

/// What somebody does with the database in an editor.
fn revoke_by_sql(database: &Path, key: &str) -> Result<()> {
    let changed = Connection::open(database)?.execute(
        "update api_keys set status = 'revoked', revoked_at = created_at where id = ?1",
        [key],
    )?;
    ensure!(changed == 1, "{changed} rows");
    Ok(())
}

/// `status` of a device whose key was revoked.
fn ensure_repair_required(agent: &Agent, device: &str) -> Result<()> {
    let status = agent.run(&["status"])?.expect_code(0)?;
    let lines: Vec<&str> = status.stdout.lines().collect();
    ensure!(
        lines
            .first()
            .is_some_and(|line| line.starts_with("repair_required (revoked), for ")),
        "{status:?}"
    );
    ensure!(
        lines.get(1).map(|line| line.trim()) == Some("this key was revoked"),
        "{status:?}"
    );
    let next = format!(
        "have a code made on the bridge with 'askalf-bridge pair-code new --name NAME --device {device}', then run \
         'askalf-agent pair CODE' here; or run 'askalf-agent pair' with a good key; see 'askalf-agent recovery'"
    );
    ensure!(line(&status, "next")? == next, "{status:?}");
    ensure!(line(&status, "device")? == device, "{status:?}");
    agent.run(&["status", "--check"])?.expect_code(78)?;
    Ok(())
}

/// What `pair` prints on a device whose daemon runs, and what follows.
fn ensure_back(
    bridge: &Bridge,
    agent: &Agent,
    paired: Output,
    skip: usize,
    device: &str,
    old_key: &str,
) -> Result<String> {
    let paired = paired.expect_code(0)?;
    let expected = format!(
        "Paired: the bridge at {} knows this device as {device}.\nThe running agent takes it now.\n",
        bridge.url()
    );
    ensure!(
        paired.stdout == expected && paired.stderr.is_empty(),
        "{paired:?}"
    );
    ensure!(agent.wait_registered_after(skip)? == device);
    agent.wait_state("online")?;
    agent.run(&["status", "--check"])?.expect_code(0)?;
    bridge.wait_device(device, "online")?;
    let key = key_of(bridge, device)?;
    ensure!(key != old_key, "the same key");
    ensure!(key_status(bridge, &key)? == "active");
    ensure!(key_status(bridge, old_key)? == "revoked");
    ensure!(bridge.devices()?.len() == 1, "{:?}", bridge.devices()?);
    Ok(key)
}

#[test]
fn a_device_whose_key_was_revoked_comes_back_by_two_commands() -> Result<()> {
    let bridge = Bridge::start()?;
    let code = bridge
        .run(&["pair-code", "new", "--name", "kitchen"])?
        .expect_code(0)?;
    let pair = line(&code, "On the device: askalf-agent")?.replace("URL", &bridge.url());
    let pair: Vec<&str> = pair.split(' ').collect();
    let mut agent = Agent::new()?;
    let paired = agent.run(&pair)?.expect_code(0)?;
    let device = agent.start()?;
    let expected = format!(
        "Paired: the bridge at {} knows this device as {device}.\nStart the agent with: askalf-agent daemon\n",
        bridge.url()
    );
    ensure!(paired.stdout == expected, "{paired:?}");
    let daemon = agent.daemon()?.pid();
    let output = bridge.dispatch("kitchen", "echo before")?.expect_code(0)?;
    ensure!(output.stdout == "before\n", "{output:?}");
    let before = bridge.execution_of("echo before")?;

    // The row is changed behind the bridge's back; the next check of the key is the end of it.
    let first_key = key_of(&bridge, &device)?;
    revoke_by_sql(&bridge.home().join("bridge.db"), &first_key)?;
    bridge
        .run(&["devices", "disconnect", "kitchen"])?
        .expect_code(0)?;
    agent
        .daemon()?
        .wait_line("refusal", |line| line.text.contains(REFUSED).then_some(()))?;
    agent.wait_state("repair_required")?;
    ensure_repair_required(&agent, &device)?;
    bridge.wait_device(&device, "offline")?;
    let attempt = until("the refused check being listed", || {
        let listed = bridge.run(&["keys", "attempts", "--json"])?.json()?;
        Ok(listed.get(0).cloned())
    })?;
    ensure!(
        attempt["reason"] == "revoked" && attempt["key_id"] == first_key.as_str(),
        "{attempt}"
    );

    let made = bridge.run(&["pair-code", "new", "--name", "kitchen", "--device", "kitchen"])?;
    let code = code_in(&made.expect_code(0)?, "kitchen", &device)?;
    let skip = agent.daemon()?.lines().len();
    let paired = agent.run(&["pair", &code])?;
    let second_key = ensure_back(&bridge, &agent, paired, skip, &device, &first_key)?;

    // Once more, by the command, and with the code on standard input as it was read out on the telephone.
    bridge.run(&["keys", "revoke", &second_key])?.expect_code(0)?;
    agent.wait_state("repair_required")?;
    ensure_repair_required(&agent, &device)?;
    let made = bridge.run(&["pair-code", "new", "--name", "again", "--device", &device])?;
    let code = code_in(&made.expect_code(0)?, "again", &device)?;
    let spoken = code
        .to_lowercase()
        .replace('-', " ")
        .replace('0', "o")
        .replace('1', "i");
    let skip = agent.daemon()?.lines().len();
    let paired = agent.run_with_input(&["pair", "-"], format!("{spoken}\n").as_bytes())?;
    ensure_back(&bridge, &agent, paired, skip, &device, &second_key)?;

    // The same process and the same history, which goes on.
    ensure!(agent.daemon()?.pid() == daemon);
    ensure!(line(&bridge.run(&["devices", "show", &device])?, "name")? == "kitchen");
    bridge.dispatch("kitchen", "echo after")?.expect_code(0)?;
    let listed = bridge
        .run(&["executions", "list", "--device", &device, "--json"])?
        .json()?;
    let inputs: Vec<&str> = listed
        .as_array()
        .context("an array")?
        .iter()
        .filter_map(|execution| execution["input"].as_str())
        .collect();
    ensure!(inputs == ["echo after", "echo before"], "{listed}");
    ensure!(bridge.execution(&before)?["status"] == "completed");
    let acts = bridge.run(&["audit", "--json"])?.json()?;
    let count = |what: &str| -> usize {
        let acts = acts.as_array().map(Vec::as_slice).unwrap_or_default();
        acts.iter().filter(|act: &&Value| act["what"] == what).count()
    };
    ensure!(
        count("pair-code.new") == 3 && count("pair-code.exchange") == 3,
        "{acts}"
    );
    // A spent code opens nothing, and costs the device nothing.
    let credential = fs::read(agent.home().join("agent.json"))?;
    let spent = agent.run(&["pair", &code])?.expect_code(78)?;
    ensure!(
        spent.stderr
            == "error: this pairing code is not, or no longer, good\nhint: make a new one with 'askalf-bridge pair-code new'\n",
        "{spent:?}"
    );
    ensure!(fs::read(agent.home().join("agent.json"))? == credential);
    agent.run(&["status", "--check"])?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_code_opens_its_own_bridge_alone_and_is_read_as_people_type_it() -> Result<()> {
    let (bridge, other) = (Bridge::start()?, Bridge::start()?);
    let made = bridge
        .run(&["pair-code", "new", "--name", "x", "--json"])?
        .json()?;
    let code = made["code"].as_str().context("a code")?;
    let agent = Agent::new()?;
    let foreign = agent
        .run(&["pair", code, "--url", &other.url()])?
        .expect_code(78)?;
    ensure!(
        foreign
            .stderr
            .contains("this pairing code is not, or no longer, good"),
        "{foreign:?}"
    );
    let key = other.mint("x")?.key;
    let foreign = agent.pair(&bridge.url(), "x", &key)?.expect_code(78)?;
    ensure!(
        foreign.stderr.contains("the bridge does not know this key"),
        "{foreign:?}"
    );
    for (typed, error, hint) in [
        ("", "no pairing code and no key was given", "pair-code new"),
        (
            &code[..13],
            "a pairing code has 12 letters and digits, this has 11",
            "copy the whole code",
        ),
        (
            "K7QM-2F9X-TBX34",
            "a pairing code has 12 letters and digits, this has 13",
            "copy the whole code",
        ),
        (
            "K7QM-2F9X-TBX4",
            "the pairing code is mistyped",
            "compare it with the code",
        ),
        ("K7QM-2F9X-TBXU", "no known shape of a key", "copy it again"),
    ] {
        let refused = agent
            .run(&["pair", typed, "--url", &bridge.url()])?
            .expect_code(2)?;
        ensure!(
            refused.stderr.starts_with("error: ") && refused.stderr.contains(error),
            "'{typed}': {refused:?}"
        );
        ensure!(refused.stderr.contains(hint), "'{typed}': {refused:?}");
    }
    ensure!(!agent.home().join("agent.json").exists(), "nothing is kept");
    // None of this has used it up.
    let typed = code.to_lowercase().replace('0', "O").replace('1', "l");
    agent
        .run(&["pair", &typed, "--url", &bridge.url()])?
        .expect_code(0)?;
    Ok(())
}
