//! What the agent shows of itself.

use super::clock::millis;
use super::event_loop::EventLoop;
use crate::AgentStatus;

impl EventLoop {
    pub(super) fn publish(&mut self) {
        let condition = self.machine.condition();
        if condition.since != self.since.0 {
            self.since = (condition.since, self.clock.unix_ms_at(condition.since));
        }
        let status = AgentStatus {
            state: condition.state,
            reason: condition.reason.id.to_string(),
            detail: condition.reason.text.clone(),
            hint: condition.reason.hint.to_string(),
            since: self.since.1,
            device_id: self.machine.device_id().map(str::to_owned),
            bridge: self.bridge.clone(),
            running: count(self.machine.running()),
            queued: count(self.machine.queued()),
            tasks_run_as: self.options.tasks_run_as.clone(),
            unacknowledged: count(self.machine.unacknowledged()),
            unacknowledged_bytes: self.machine.unacknowledged_bytes() as u64,
            quarantined: count(self.quarantined),
            version: self.options.facts.version.clone(),
            last_heartbeat_rtt_ms: self.machine.round_trip().map(millis),
        };
        self.status.send_if_modified(|shown| {
            let changed = *shown != status;
            if changed {
                *shown = status;
            }
            changed
        });
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
