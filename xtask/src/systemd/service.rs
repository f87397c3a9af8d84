//! The service in the container, as systemd and its journal show it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{REGISTERED_WITHIN, until};
use crate::container::Container;

const UNIT: &str = "askalf-agent.service";

pub(super) struct Service<'a>(pub(super) &'a Container);

/// A start of the service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// How long the command took.
    pub command: Duration,
    /// From the start of the unit's process to the line of its registration in the journal.
    pub registered: Duration,
}

impl Start {
    pub(super) const COMMAND: fn(&Self) -> Duration = |start| start.command;
    pub(super) const REGISTERED: fn(&Self) -> Duration = |start| start.registered;
}

impl Service<'_> {
    /// A property of the unit.
    pub(super) fn property(&self, name: &str) -> Result<String> {
        let shown = self
            .0
            .run(&["systemctl", "show", "--value", "--property", name, UNIT])?
            .expect_code(0)?;
        Ok(shown.stdout.trim().to_owned())
    }

    /// Waits until the unit's status names this state.
    pub(super) fn wait_status(&self, state: &str) -> Result<String> {
        let mut last = String::new();
        let found = until(&format!("status {state}"), || {
            last = self.property("StatusText")?;
            Ok(last.starts_with(&format!("{state} ")).then(|| last.clone()))
        });
        found.with_context(|| format!("the last status was: {last}\n{}", self.log()))
    }

    /// What is known of how it came to this.
    fn log(&self) -> String {
        let look = "journalctl --no-pager -n 40; systemctl status askalf-agent --no-pager || true";
        self.0.shell(look).unwrap_or_default()
    }

    /// The device that it is, by its own word.
    pub(super) fn device(&self) -> Result<String> {
        let status = self.0.run(&["askalf-agent", "status", "--json"])?.json()?;
        let device = status["device_id"].as_str().context("no device id")?;
        Ok(device.to_owned())
    }

    /// Restarts the unit and waits until it is this device, registered in time.
    pub(super) fn restart(&self, device: &str) -> Result<Start> {
        let before = self.property("MainPID")?;
        let began = Instant::now();
        let restarted = self.0.run(&["systemctl", "restart", UNIT])?;
        let command = began.elapsed();
        restarted.expect_code(0).with_context(|| self.log())?;
        let start = self.started(device, Some(&before))?;
        ensure!(
            start.registered <= REGISTERED_WITHIN,
            "registered only {} ms after the start",
            start.registered.as_millis()
        );
        Ok(Start { command, ..start })
    }

    /// Waits until a process other than `before` has registered as this device.
    pub(super) fn started(&self, device: &str, before: Option<&str>) -> Result<Start> {
        until("another process", || {
            let pid = self.property("MainPID")?;
            Ok((pid != "0" && Some(pid.as_str()) != before).then_some(()))
        })?;
        self.wait_status("online")?;
        let pid = self.property("MainPID")?;
        let started: u64 = self.property("ExecMainStartTimestampMonotonic")?.parse()?;
        let (at, line) = until("the line of the registration", || self.registration(&pid))?;
        if !line.contains(device) {
            bail!("it is another device than {device}: {line}");
        }
        Ok(Start {
            command: Duration::ZERO,
            registered: Duration::from_micros(at.saturating_sub(started)),
        })
    }

    /// When the process registered, and as what, by the journal.
    fn registration(&self, pid: &str) -> Result<Option<(u64, String)>> {
        let own = format!("_PID={pid}");
        let lines = self
            .0
            .run(&["journalctl", "--boot", "--output=json", &own, "--no-pager"])?
            .expect_code(0)?
            .stdout;
        for line in lines.lines() {
            let entry: Value = serde_json::from_str(line).context("the journal's line")?;
            let message = entry["MESSAGE"].as_str().unwrap_or_default();
            if message.contains("Registered as device") {
                let at = entry["__MONOTONIC_TIMESTAMP"]
                    .as_str()
                    .context("a line without a time")?;
                return Ok(Some((at.parse()?, message.to_owned())));
            }
        }
        Ok(None)
    }
}
