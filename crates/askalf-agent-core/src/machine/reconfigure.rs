//! The device is set up otherwise while it runs.

use std::time::Duration;

use askalf_proto::Feature;
use tracing::info;

use super::connection::SocketEnd;
use super::phase::Phase;
use super::{Jitter, Machine, Moment};

impl<J: Jitter> Machine<J> {
    pub(crate) fn reconfigure(
        &mut self,
        name: Option<String>,
        max_concurrent: u32,
        default_timeout: Duration,
    ) {
        let max_concurrent = max_concurrent.max(1);
        let told = self.config.facts.name != name || self.config.max_concurrent != max_concurrent;
        self.config.facts.name = name;
        self.config.max_concurrent = max_concurrent;
        self.config.default_timeout = default_timeout;
        self.scheduler
            .set_limit(usize::try_from(max_concurrent).unwrap_or(usize::MAX));
        self.retell |= told;
    }

    /// Registers anew where the bridge knows something older of the device, as soon as no execution suffers by it.
    pub(crate) fn tell_anew(&mut self, now: Moment) {
        if !self.retell || self.ending.is_some() {
            return;
        }
        match &self.phase {
            // Said already, and not answered yet.
            Phase::Registering(_) => {}
            Phase::Online(session) => {
                let idle = self.scheduler.running() == 0
                    && self.scheduler.waiting() == 0
                    && self.outbox.is_delivered();
                if !idle && !session.features.contains(Feature::Resume) {
                    return;
                }
                info!("the device is set up otherwise: registering anew");
                self.retell = false;
                self.facts_told = false;
                self.drop_socket(SocketEnd::Close);
                self.dial(now);
            }
            Phase::Idle
            | Phase::NoCredential
            | Phase::Dialing { .. }
            | Phase::Waiting { .. }
            | Phase::Stopped => {
                self.retell = false;
                self.facts_told = false;
            }
        }
    }
}
