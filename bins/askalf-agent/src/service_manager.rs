//! The daemon under a service manager: it says when it has started, what state it is in, and that it lives.

use askalf_agent_core::{AgentStatus, Pulse};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::sd_notify::Notifier;

/// Tells the service manager what the agent does until the agent ends. `pulse` is the agent's own: a loop that stands still is
/// not called alive.
pub(crate) async fn report(notifier: Notifier, statuses: watch::Receiver<AgentStatus>, pulse: Pulse) {
    tokio::select! {
        () = tell(&notifier, statuses) => notifier.stopping(),
        () = keep_alive(&notifier, &pulse) => {}
    }
}

async fn tell(notifier: &Notifier, mut statuses: watch::Receiver<AgentStatus>) {
    notifier.status(&line(&statuses.borrow_and_update()));
    notifier.ready();
    while statuses.changed().await.is_ok() {
        notifier.status(&line(&statuses.borrow_and_update()));
    }
}

async fn keep_alive(notifier: &Notifier, pulse: &Pulse) {
    let Some(within) = notifier.watchdog() else {
        return std::future::pending().await;
    };
    // Twice within what the manager allows.
    let mut beats = interval(within / 2);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        pulse.felt().await;
        notifier.alive();
    }
}

/// What `systemctl status` shows: the state, why, and what to do.
fn line(status: &AgentStatus) -> String {
    let mut line = format!("{} ({})", status.state, status.reason);
    for more in [&status.detail, &status.hint] {
        if !more.is_empty() {
            line.push_str(": ");
            line.push_str(more);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use askalf_agent_core::State;

    use super::*;

    #[test]
    fn the_line_has_the_state_the_reason_and_the_command() {
        let mut status = AgentStatus::starting("1.0", 0);
        assert_eq!(line(&status), "connecting (starting): the agent starts");
        status.state = State::RepairRequired;
        status.reason = "revoked".to_owned();
        status.detail = "the key was revoked".to_owned();
        status.hint = "run 'askalf-agent pair CODE'".to_owned();
        assert_eq!(
            line(&status),
            "repair_required (revoked): the key was revoked: run 'askalf-agent pair CODE'"
        );
    }
}
