//! Packages in a Debian that boots: the services run after an installation, come back after an upgrade, and end with a removal.

use std::fs;

use anyhow::{Context, Result, ensure};
use askalf_e2e::until;

use super::{Made, name, say};
use crate::container::Container;

pub(super) fn test(made: &Made) -> Result<()> {
    let [first, second] = made.debs()?;
    let (container, took) = Container::boot("packages", |root| {
        let folder = root.path().join("packages");
        fs::create_dir(&folder)?;
        for deb in first.iter().chain(&second) {
            fs::copy(deb, folder.join(name(deb)))?;
        }
        Ok(())
    })?;
    say(&format!("booted in {:.1} s", took.as_secs_f64()));
    let dpkg = |debs: &[std::path::PathBuf; 2]| {
        let [one, other] = debs.each_ref().map(|deb| format!("/packages/{}", name(deb)));
        container.shell(&format!("dpkg --install {one} {other}"))
    };

    let said = dpkg(&first)?;
    ensure!(
        said.contains("askalf-agent pair CODE"),
        "the installation does not say what is next: {said}"
    );
    is(&container, "askalf-agent", "active")?;
    is(&container, "askalf-bridge", "active")?;
    say("installed: both services run, the agent without a key");

    wait(&container, "the bridge", "askalf-bridge status")?;
    let code = container.shell("askalf-bridge pair-code new --name boxed --json")?;
    let code: serde_json::Value = serde_json::from_str(&code).context("pair-code new --json")?;
    let code = code["code"].as_str().context("pair-code new names no code")?;
    container.shell(&pair(code))?;
    wait(&container, "the device", ONLINE)?;
    let device = device(&container)?;
    let ran = container.shell(&format!("askalf-bridge dispatch {device} -- 'id -un'"))?;
    say(&format!(
        "paired as {device}, without another command online; a task ran as {}",
        ran.trim()
    ));

    let started = main_pid(&container)?;
    dpkg(&second)?;
    ensure!(
        main_pid(&container)? != started,
        "the upgrade has not restarted the agent"
    );
    wait(&container, "the device after the upgrade", ONLINE)?;
    ensure!(
        self::device(&container)? == device,
        "the upgrade changed the device"
    );
    say("upgraded: both restarted, the same device is online");

    container.shell("systemctl disable --now --quiet askalf-agent")?;
    dpkg(&second)?;
    ensure!(
        container
            .run(&["systemctl", "is-enabled", "askalf-agent"])?
            .stdout
            .trim()
            == "disabled",
        "an upgrade enables what an administrator disabled"
    );
    container.shell("systemctl enable --now --quiet askalf-agent")?;
    say("a service that was disabled stays so");

    container.shell("dpkg --remove askalf-agent askalf-bridge")?;
    is(&container, "askalf-agent", "inactive")?;
    is(&container, "askalf-bridge", "inactive")?;
    let left = container.run(&["pgrep", "-l", "askalf"])?;
    ensure!(left.code == 1, "processes are left: {}", left.stdout);
    container
        .shell("test -s /var/lib/askalf-agent/agent.json && test -s /var/lib/askalf-bridge/bridge.db")?;
    say("removed: no process is left; credential and database are");

    dpkg(&second)?;
    wait(&container, "the device after a new installation", ONLINE)?;
    ensure!(
        self::device(&container)? == device,
        "a new installation made another device"
    );
    container.shell("dpkg --purge askalf-agent askalf-bridge")?;
    container.shell("test ! -e /var/lib/askalf-agent && test ! -e /var/lib/askalf-bridge && ! getent passwd askalf-agent askalf-bridge")?;
    say("installed again: the same device; purged: nothing is left");
    Ok(())
}

/// As root, on a machine with the service.
fn pair(code: &str) -> String {
    format!("askalf-agent pair {code} --url ws://127.0.0.1:3005 --name boxed")
}

const ONLINE: &str = "askalf-bridge devices list --json | grep -q '\"status\":\\s*\"online\"'";

fn wait(container: &Container, what: &str, line: &str) -> Result<()> {
    until(what, || {
        Ok((container.run(&["sh", "-c", line])?.code == 0).then_some(()))
    })
}

fn is(container: &Container, service: &str, state: &str) -> Result<()> {
    let said = container.run(&["systemctl", "is-active", service])?;
    ensure!(
        said.stdout.trim() == state,
        "{service} is {}, not {state}",
        said.stdout.trim()
    );
    Ok(())
}

fn main_pid(container: &Container) -> Result<String> {
    container.shell("systemctl show --property=MainPID --value askalf-agent")
}

fn device(container: &Container) -> Result<String> {
    let listed = container.shell("askalf-bridge devices list --json")?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let devices = listed.as_array().context("devices list is no array")?;
    ensure!(devices.len() == 1, "not one device, but {listed}");
    Ok(devices[0]["id"]
        .as_str()
        .context("a device without an id")?
        .to_owned())
}
