//! The credential as the machine knows it: a number that changes with it. It never sees a token.

use tracing::{info, warn};

use super::action::Action;
use super::connection::SocketEnd;
use super::phase::Phase;
use super::{Jitter, Machine, Moment, State, StateReason};
use crate::{NoCredential, NoCredentialKind};

#[derive(Debug, Default)]
pub(crate) struct Credential {
    /// Generation of what was read last, whether it could be used or not.
    generation: Option<u64>,
    /// What was read last is staged: a rotation of the key has not ended.
    pending: bool,
    /// Why what was read last cannot be used.
    missing: Option<NoCredential>,
    /// The driver was asked and has not answered yet.
    asked: bool,
    /// When to look again, while nothing else happens.
    next_poll: Moment,
}

impl<J: Jitter> Machine<J> {
    pub(crate) fn load_credential(&mut self) {
        self.credential.asked = true;
        self.act(Action::LoadCredential);
    }

    pub(crate) fn poll_credential(&mut self) {
        if !self.credential.asked {
            self.credential.asked = true;
            self.act(Action::PollCredential);
        }
    }

    /// Sets the time of the next look, for a phase that would otherwise only wait.
    pub(crate) fn poll_credential_later(&mut self, now: Moment) {
        self.credential.next_poll = now + self.config.timings.credential_poll;
    }

    /// Looks as soon as it can: what was read last may be old.
    pub(crate) fn poll_credential_soon(&mut self, now: Moment) {
        self.credential.next_poll = now;
    }

    pub(crate) fn credential_poll_at(&self) -> Option<Moment> {
        // Online it is looked at with every heartbeat.
        let waits = matches!(
            self.phase,
            Phase::NoCredential | Phase::Waiting { .. } | Phase::Dialing { .. } | Phase::Registering(_)
        );
        (waits && !self.credential.asked).then_some(self.credential.next_poll)
    }

    pub(crate) fn missing_credential(&self) -> Option<NoCredential> {
        self.credential.missing.clone()
    }

    pub(crate) fn credential_generation(&mut self, generation: u64, now: Moment) {
        self.credential.asked = false;
        if self.credential.generation == Some(generation) {
            self.poll_credential_later(now);
        } else {
            self.load_credential();
        }
    }

    pub(crate) fn credential_is_pending(&self) -> bool {
        self.credential.pending
    }

    /// A connection that stands stays.
    pub(crate) fn credential_unchanged(&mut self, generation: u64, now: Moment) {
        if !self.credential.pending {
            self.credential.generation = Some(generation);
        }
        self.credential_ready(generation, false, now);
    }

    pub(crate) fn credential_ready(&mut self, generation: u64, pending: bool, now: Moment) {
        let changed = self.credential.generation.replace(generation) != Some(generation)
            || self.credential.pending != pending;
        self.credential.pending = pending;
        self.rotation_was_read();
        self.credential.asked = false;
        self.credential.missing = None;
        self.poll_credential_later(now);
        if self.is_stopping() {
            return;
        }
        match &self.phase {
            Phase::Dialing { .. } | Phase::Registering(_) | Phase::Online(_) if !changed => {}
            Phase::Dialing { .. } | Phase::Registering(_) | Phase::Online(_) => {
                info!("the credential has changed: connecting anew");
                self.drop_socket(SocketEnd::Close);
                self.start_afresh(now);
            }
            Phase::Idle | Phase::NoCredential | Phase::Waiting { .. } => self.start_afresh(now),
            Phase::Stopped => {}
        }
    }

    /// A connection that was opened with a readable credential stands; what is missing counts from the next dial on.
    pub(crate) fn credential_missing(&mut self, missing: NoCredential, now: Moment) {
        self.credential.asked = false;
        self.credential.generation = Some(missing.generation);
        self.rotation_was_read();
        self.credential.missing = Some(missing.clone());
        self.poll_credential_later(now);
        if self.is_stopping() {
            return;
        }
        match &self.phase {
            Phase::Dialing { .. } | Phase::Registering(_) | Phase::Online(_) => {
                warn!(
                    "{missing}; the connection of the moment goes on. {}",
                    missing.hint
                );
            }
            Phase::Idle | Phase::NoCredential | Phase::Waiting { .. } => self.enter_missing(missing, now),
            Phase::Stopped => {}
        }
    }

    pub(crate) fn enter_missing(&mut self, missing: NoCredential, now: Moment) {
        warn!("{missing}. {}", missing.hint);
        self.blocked = None;
        self.phase = Phase::NoCredential;
        self.poll_credential_later(now);
        let state = match missing.kind {
            NoCredentialKind::Absent => State::Unpaired,
            NoCredentialKind::Unreadable => State::RepairRequired,
            NoCredentialKind::LocalFault => State::LocalFault,
        };
        let reason = StateReason::new(missing.id, missing.problem, missing.hint);
        self.show(state, reason, now);
    }

    /// A new credential owes nothing to what happened to the old one.
    fn start_afresh(&mut self, now: Moment) {
        self.backoff.reset();
        self.blocked = None;
        self.refused_unexplained = false;
        self.replaced_at = None;
        self.facts_told = false;
        self.dial(now);
    }
}
