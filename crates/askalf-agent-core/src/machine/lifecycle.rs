//! The end of the agent: drain and stop.

use tracing::info;

use super::action::Action;
use super::connection::SocketEnd;
use super::event::Command;
use super::phase::Phase;
use super::scheduler::CancelledBy;
use super::{Jitter, Machine, Moment, State, StateReason};

/// An end that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As soon as there is nothing left to do.
    Drain,
    /// As soon as what runs has ended and been reported, but not after this moment.
    Stop { overdue: Moment },
}

impl Ending {
    pub(crate) fn reason(self, connection: &StateReason) -> StateReason {
        match self {
            Self::Drain => StateReason::new(
                "draining",
                format!(
                    "the agent finishes what it has and then ends. Connection: {}",
                    connection.text
                ),
                connection.hint.clone(),
            ),
            Self::Stop { .. } => StateReason::plain("stopping", "the agent ends what runs and stops"),
        }
    }
}

impl<J: Jitter> Machine<J> {
    pub(crate) fn command(&mut self, command: Command, now: Moment) {
        match command {
            Command::CredentialChanged => self.load_credential(),
            Command::Drain => self.drain(now),
            Command::Stop => self.stop(now),
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self.ending, Some(Ending::Stop { .. }))
    }

    pub(crate) fn stop_overdue_at(&self) -> Option<Moment> {
        match self.ending {
            Some(Ending::Stop { overdue }) => Some(overdue),
            Some(Ending::Drain) | None => None,
        }
    }

    /// Ends the agent where an end was asked for and nothing is left to wait for.
    pub(crate) fn check_end(&mut self, now: Moment) {
        let idle = self.scheduler.running() == 0 && self.scheduler.waiting() == 0;
        let delivered = self.outbox.is_delivered();
        let done = match self.ending {
            None => false,
            Some(Ending::Drain) => idle && delivered,
            // Without a registered connection a result goes nowhere; nobody waits for one to come about.
            Some(Ending::Stop { .. }) => idle && (delivered || !self.is_online()),
        };
        if done {
            self.finish(now);
        }
    }

    pub(crate) fn finish(&mut self, now: Moment) {
        if matches!(self.phase, Phase::Stopped) {
            return;
        }
        let reached = self.outbox.let_go_reached();
        self.forget_all(reached);
        self.drop_socket(SocketEnd::Close);
        self.phase = Phase::Stopped;
        self.show(
            State::Stopped,
            StateReason::plain("stopped", "the agent has stopped"),
            now,
        );
        self.act(Action::Finish);
    }

    fn drain(&mut self, now: Moment) {
        if self.ending.is_none() {
            info!("draining: no new tasks are taken");
            self.ending = Some(Ending::Drain);
            self.refresh(now);
        }
    }

    fn stop(&mut self, now: Moment) {
        if self.is_stopping() {
            self.finish(now);
            return;
        }
        info!("stopping");
        let overdue = now + self.config.timings.stop;
        self.ending = Some(Ending::Stop { overdue });
        self.refresh(now);
        for execution_id in self.scheduler.ids() {
            self.cancel(&execution_id, CancelledBy::Stop);
        }
        if !self.is_online() {
            self.drop_socket(SocketEnd::Close);
        }
    }
}
