//! What is due when.

use super::action::{Timer, TimerReason};
use super::phase::Phase;
use super::{Jitter, Machine, Moment};

impl<J: Jitter> Machine<J> {
    /// When to call [`Machine::handle_timeout`], and why; `None` where only an event can change anything.
    pub fn next_timer(&self) -> Option<Timer> {
        let mut next: Option<Timer> = None;
        let mut consider = |at: Option<Moment>, reason| {
            if let Some(at) = at {
                let timer = Timer { at, reason };
                next = Some(next.map_or(timer, |earliest| earliest.min(timer)));
            }
        };
        match &self.phase {
            Phase::Dialing { overdue, .. } => consider(Some(*overdue), TimerReason::DialOverdue),
            Phase::Registering(registering) => {
                consider(Some(registering.overdue), TimerReason::RegistrationOverdue);
            }
            Phase::Online(session) => {
                consider(Some(session.silent_at()), TimerReason::PeerSilent);
                consider(Some(session.next_beat()), TimerReason::Heartbeat);
                consider(self.outbox.overdue_at(), TimerReason::AcknowledgementOverdue);
                consider(self.outbox.settled_at(), TimerReason::ResultSettled);
                consider(self.audit_head_due(session), TimerReason::AuditHead);
            }
            Phase::Waiting { until } => consider(Some(*until), TimerReason::Retry),
            Phase::Stopped => return None,
            Phase::Idle | Phase::NoCredential => {}
        }
        consider(self.credential_poll_at(), TimerReason::CredentialPoll);
        consider(self.rotation_due_at(), TimerReason::Rotation);
        consider(self.stop_overdue_at(), TimerReason::StopOverdue);
        next
    }

    /// Each reason moves its own time on, or ends the phase it belongs to.
    pub(crate) fn fire(&mut self, reason: TimerReason, now: Moment) {
        match reason {
            TimerReason::DialOverdue => self.dial_overdue(now),
            TimerReason::RegistrationOverdue => self.registration_overdue(now),
            TimerReason::PeerSilent => self.peer_silent(now),
            TimerReason::Heartbeat => self.beat(now),
            TimerReason::AcknowledgementOverdue => self.outbox.check_overdue(now),
            TimerReason::ResultSettled => self.let_go_settled(now),
            TimerReason::AuditHead => self.send_audit_head(now),
            TimerReason::Retry => self.dial(now),
            TimerReason::CredentialPoll => self.poll_credential(),
            TimerReason::Rotation => self.rotation_due(),
            TimerReason::StopOverdue => self.finish(now),
        }
    }
}
