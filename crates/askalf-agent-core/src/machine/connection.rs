//! From the dial to the registration, and what is done when a connection ends.

use std::time::Duration;

use askalf_proto::{
    AgentMessage, BridgeError, BridgeMessage, CloseCode, ErrorCode, HeldExecution, MAX_HELD_EXECUTIONS,
    PROTOCOL, Reconnect, Register, Registered, one_line,
};
use tracing::{debug, error, info, warn};

use super::action::Action;
use super::backoff::around;
use super::disposition::{Disposition, PAIR, Recheck, Verdict, pair_hint};
use super::event::SocketId;
use super::fault::{Fault, Oddity};
use super::phase::{Phase, Registering};
use super::session::Session;
use super::{Blocked, Jitter, Machine, Moment, State, StateReason};
use crate::Scan;

/// How to leave a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketEnd {
    /// It is gone already.
    Gone,
    /// With a close frame.
    Close,
    /// At once: nobody would read a close frame.
    Abort,
}

impl<J: Jitter> Machine<J> {
    pub(crate) fn dial(&mut self, now: Moment) {
        if let Some(missing) = self.missing_credential() {
            self.enter_missing(missing, now);
            return;
        }
        self.last_socket += 1;
        let socket = SocketId(self.last_socket);
        let timings = &self.config.timings;
        // The driver notices both by itself; this is for a driver that does not.
        let overdue = now + timings.connect + timings.handshake + timings.registration;
        self.phase = Phase::Dialing { socket, overdue };
        self.poll_credential_later(now);
        self.act(Action::Connect(socket));
        let reason = if self.condition.state == State::Backoff {
            let text = format!(
                "dialling the bridge again. Before: {}",
                self.condition.reason.text
            );
            StateReason::new("redialling", text, self.condition.reason.hint.clone())
        } else {
            StateReason::plain("dialling", "dialling the bridge")
        };
        self.show(State::Connecting, reason, now);
    }

    pub(crate) fn dial_overdue(&mut self, now: Moment) {
        let waited = self.config.timings.connect + self.config.timings.handshake;
        let waited_for = super::Wait::Upgrade;
        self.lose(&Fault::NoAnswer { waited_for, waited }, SocketEnd::Abort, now);
    }

    pub(crate) fn opened(&mut self, socket: SocketId, now: Moment) {
        if !matches!(self.phase, Phase::Dialing { socket: dialled, .. } if dialled == socket) {
            return;
        }
        self.let_go_settled(now);
        self.register(socket, 1, now);
        let reason = StateReason::plain(
            "socket-open",
            "the connection is open; the bridge has not accepted the device yet",
        );
        self.show(State::Authenticating, reason, now);
    }

    pub(crate) fn registration_overdue(&mut self, now: Moment) {
        let Phase::Registering(registering) = &self.phase else {
            return;
        };
        let (socket, tries) = (registering.socket, registering.tries);
        if registering.already || tries >= self.config.timings.registration_tries {
            self.lose(&Fault::NotRegistered { tries }, SocketEnd::Abort, now);
        } else {
            self.register(socket, tries + 1, now);
            let reason = StateReason::plain("asked-again", "the bridge was silent; the device asks again");
            self.show(State::Registering, reason, now);
        }
    }

    pub(crate) fn received(&mut self, socket: SocketId, message: BridgeMessage, now: Moment) {
        if !self.heard(socket, now) {
            return;
        }
        match message {
            BridgeMessage::Registered(registered) => self.registered(socket, &registered, now),
            BridgeMessage::Error(error) => self.refused(socket, error, now),
            BridgeMessage::Ping(_) => self.act(Action::SendPong(socket)),
            BridgeMessage::CapabilitiesScan(_) => {
                // One look serves all that ask until it is done; the newest connection gets the answer.
                if self.scan_for.replace(socket).is_none() {
                    self.act(Action::Scan);
                }
            }
            BridgeMessage::Dispatch(dispatch) => self.dispatched(dispatch),
            BridgeMessage::Cancel(cancel) => self.cancelled(&cancel.execution_id),
            BridgeMessage::ExecutionAck(ack) => self.acknowledged(&ack.execution_id),
            BridgeMessage::CredentialRotate(offer) => self.credential_offered(offer),
            BridgeMessage::CredentialCommitted(committed) => self.credential_committed(committed),
        }
    }

    /// What was found holds for whatever is told from here on.
    pub(crate) fn scanned(&mut self, scan: Option<Box<Scan>>) {
        if let Some(scan) = scan {
            self.config.facts = scan.facts;
            self.config.executors = scan.executors;
        }
        if let Some(socket) = self.scan_for.take()
            && self.is_current(socket)
        {
            let result = self.config.facts.capabilities_result();
            self.send(socket, AgentMessage::Capabilities(result));
        }
    }

    pub(crate) fn odd(&mut self, socket: SocketId, oddity: Oddity, now: Moment) {
        if !self.heard(socket, now) {
            return;
        }
        match oddity {
            Oddity::Undecodable(error) => {
                warn!("the bridge sent something that is not understood: {error}");
                self.undecodable(error);
            }
            Oddity::Binary { bytes } => warn!("the bridge sent a binary frame of {bytes} bytes; ignored"),
        }
    }

    /// Notes a sign of life. Whether the connection is the one of the moment; news of any other are void.
    pub(crate) fn heard(&mut self, socket: SocketId, now: Moment) -> bool {
        match &mut self.phase {
            Phase::Online(session) if session.socket == socket => {
                session.hear(now);
                true
            }
            Phase::Registering(registering) => registering.socket == socket,
            Phase::Idle
            | Phase::NoCredential
            | Phase::Dialing { .. }
            | Phase::Online(_)
            | Phase::Waiting { .. }
            | Phase::Stopped => false,
        }
    }

    pub(crate) fn ended(&mut self, socket: SocketId, fault: Fault, now: Moment) {
        if self.phase.socket() == Some(socket) {
            self.lose(&fault, SocketEnd::Gone, now);
        }
    }

    /// Leaves the connection, where there is one. Yields when it was registered and when it asked to be left alone.
    pub(crate) fn drop_socket(&mut self, end: SocketEnd) -> Option<Session> {
        let phase = std::mem::replace(&mut self.phase, Phase::Idle);
        if let Some(socket) = phase.socket() {
            match end {
                SocketEnd::Gone => {}
                SocketEnd::Close => self.act(Action::Close(socket, CloseCode::CLIENT_DISCONNECT)),
                SocketEnd::Abort => self.act(Action::Abort(socket)),
            }
        }
        self.outbox.socket_lost();
        match phase {
            Phase::Online(session) => Some(session),
            Phase::Idle
            | Phase::NoCredential
            | Phase::Dialing { .. }
            | Phase::Registering(_)
            | Phase::Waiting { .. }
            | Phase::Stopped => None,
        }
    }

    /// The connection ends, or did not come about: decides what comes next.
    pub(crate) fn lose(&mut self, fault: &Fault, end: SocketEnd, now: Moment) {
        let verdict = fault.verdict();
        if verdict.disposition == Disposition::Quarantine && self.is_online() {
            self.frame_refused();
        }
        let session = self.drop_socket(end);
        if self.is_stopping() {
            return;
        }
        self.rotation_disconnected();
        if self.rotation_refused(&verdict, now) {
            return;
        }
        let Verdict { disposition, reason } = verdict;
        let lasted = session.as_ref().map(|session| now.since(session.registered_at));
        if lasted.is_some_and(|lasted| lasted >= self.config.timings.settled) {
            self.backoff.reset();
        }
        let short_session = lasted.is_some_and(|lasted| lasted < self.config.timings.settled);
        let asked = session.and_then(|session| session.retry_after);
        match disposition {
            Disposition::Backoff { retry_after } => {
                let wait = self.back_off(short_session, retry_after.or(asked));
                self.retry_in(wait, reason, now);
            }
            Disposition::Quarantine | Disposition::ForgetDevice | Disposition::Ignore => {
                let wait = self.back_off(short_session, asked);
                self.retry_in(wait, reason, now);
            }
            Disposition::SlowRetry => {
                let wait = around(self.config.timings.slow_retry, &mut self.jitter);
                self.retry_in(wait, reason, now);
            }
            Disposition::Replaced => self.replaced(short_session, reason, now),
            Disposition::SecondTry if !self.refused_unexplained && self.blocked.is_none() => {
                self.refused_unexplained = true;
                self.retry_in(self.config.timings.second_try, reason, now);
            }
            Disposition::SecondTry => self.block(reason, Recheck::Hourly, now),
            Disposition::RepairRequired { recheck } => self.block(reason, recheck, now),
        }
    }

    fn registered(&mut self, socket: SocketId, registered: &Registered, now: Moment) {
        let device_id = &registered.device_id;
        if self.device_id.as_ref() != Some(device_id) {
            self.device_id = Some(device_id.clone());
            self.act(Action::SaveDeviceId(device_id.clone()));
        }
        let timings = &self.config.timings;
        if let Phase::Online(session) = &mut self.phase {
            debug!("the bridge registered the device again on the same connection");
            session.renew(&self.config.features, registered, timings);
            return;
        }
        let tries = if let Phase::Registering(registering) = &self.phase {
            registering.tries
        } else {
            0
        };
        let features = &self.config.features;
        self.phase = Phase::Online(Session::new(socket, tries, features, registered, timings, now));
        self.blocked = None;
        self.refused_unexplained = false;
        self.facts_told = true;
        let line = format!("Registered as device {}", one_line(device_id));
        info!("{line}");
        self.show(State::Online, StateReason::plain("registered", line), now);
        self.say_untold();
        self.rotation_registered();
    }

    fn refused(&mut self, socket: SocketId, error: BridgeError, now: Moment) {
        let (code, retry_after_ms) = (error.code.clone(), error.retry_after_ms);
        let fault = Fault::Refused(error);
        let Verdict { disposition, reason } = fault.verdict();
        match disposition {
            Disposition::Ignore => {
                if let Phase::Registering(registering) = &mut self.phase
                    && code == ErrorCode::AlreadyRegistered
                {
                    registering.already = true;
                }
                info!("{}", reason.text);
                self.show_answered(now);
            }
            Disposition::ForgetDevice => self.forget_device(socket, now),
            // What failed may be one message of many: a registered session stands until it is closed.
            Disposition::Backoff { .. } if code == ErrorCode::InternalError && self.is_online() => {
                warn!("{}", reason.text);
                if let Phase::Online(session) = &mut self.phase {
                    session.retry_after = retry_after_ms.map(Duration::from_millis);
                }
            }
            Disposition::Backoff { .. }
            | Disposition::SlowRetry
            | Disposition::RepairRequired { .. }
            | Disposition::SecondTry
            | Disposition::Replaced
            | Disposition::Quarantine => self.lose(&fault, SocketEnd::Close, now),
        }
    }

    /// The bridge has answered something other than a refusal of the key.
    fn show_answered(&mut self, now: Moment) {
        if matches!(self.phase, Phase::Registering(_)) {
            let reason = StateReason::plain(
                "answered",
                "the bridge answers; the device waits to be registered",
            );
            self.show(State::Registering, reason, now);
        }
    }

    fn forget_device(&mut self, socket: SocketId, now: Moment) {
        if self.device_id.take().is_some() {
            info!("the bridge does not know this device's id: it is forgotten");
            self.act(Action::ForgetDeviceId);
        }
        let tries = match &self.phase {
            Phase::Registering(registering) => registering.tries,
            // A bridge that registers the device and loses it again at once must not keep both busy for ever.
            Phase::Online(session) if now.since(session.registered_at) < self.config.timings.settled => {
                session.tries
            }
            Phase::Idle
            | Phase::NoCredential
            | Phase::Dialing { .. }
            | Phase::Online(_)
            | Phase::Waiting { .. }
            | Phase::Stopped => 0,
        };
        if tries >= self.config.timings.registration_tries {
            self.lose(&Fault::NotRegistered { tries }, SocketEnd::Close, now);
            return;
        }
        self.outbox.socket_lost();
        self.register(socket, tries + 1, now);
        let reason = StateReason::plain(
            "device-not-found",
            "the bridge does not know the device; it registers anew",
        );
        self.show(State::Registering, reason, now);
    }

    fn register(&mut self, socket: SocketId, tries: u32, now: Moment) {
        self.phase = Phase::Registering(Registering {
            socket,
            tries,
            overdue: now + self.config.timings.registration,
            already: false,
        });
        self.poll_credential_later(now);
        let message = match &self.device_id {
            Some(device_id) if self.facts_told => AgentMessage::Reconnect(Reconnect {
                device_id: Some(device_id.clone()),
                protocol: PROTOCOL,
                features: self.config.features.clone(),
                executions: self.held(),
            }),
            // The facts may have changed since an earlier process told them.
            Some(_) | None => AgentMessage::Register(self.registration()),
        };
        self.send(socket, message);
    }

    fn registration(&mut self) -> Register {
        Register {
            executions: self.held(),
            features: self.config.features.clone(),
            ..self.config.facts.registration(self.config.max_concurrent)
        }
    }

    fn held(&mut self) -> Vec<HeldExecution> {
        self.scheduler.running_were_told();
        let held = self.scheduler.held().chain(self.outbox.held());
        held.take(MAX_HELD_EXECUTIONS).collect()
    }

    fn replaced(&mut self, short_session: bool, reason: StateReason, now: Moment) {
        let before = self.replaced_at.replace(now);
        let window = self.config.timings.replaced_twice;
        if before.is_some_and(|before| now.since(before) <= window) {
            let reason = StateReason::new(
                "key-used-elsewhere",
                "another machine uses this key: each takes the other's place",
                "give each machine a key of its own: run 'askalf-agent pair' here with a new one",
            );
            let wait = around(self.config.timings.slow_retry, &mut self.jitter);
            self.retry_in(wait, reason, now);
        } else {
            let wait = self.back_off(short_session, None);
            self.retry_in(wait, reason, now);
        }
    }

    /// The key stands refused until the bridge takes it after all, or there is a new one.
    fn block(&mut self, mut reason: StateReason, recheck: Recheck, now: Moment) {
        if reason.hint == PAIR {
            reason.hint = pair_hint(self.device_id.as_deref()).into();
        }
        if reason.id == "user_inactive" {
            error!("AUTH_FAILED ({}): {}", reason.id, reason.hint);
        } else {
            error!(
                "AUTH_FAILED ({}): re-pair required: run 'askalf-agent pair' with a good key, see 'askalf-agent \
                 recovery'",
                reason.id
            );
        }
        self.blocked = Some(Blocked {
            reason: reason.clone(),
            recheck,
        });
        self.wait(Duration::ZERO, now);
        self.show(State::RepairRequired, reason, now);
    }

    fn back_off(&mut self, short_session: bool, retry_after: Option<Duration>) -> Duration {
        let timings = &self.config.timings;
        self.backoff
            .next(timings, &mut self.jitter, short_session, retry_after)
    }

    fn retry_in(&mut self, wait: Duration, reason: StateReason, now: Moment) {
        let wait = self.wait(wait, now);
        warn!("{}; next try in {:.1} s", reason.text, wait.as_secs_f64());
        self.show(State::Backoff, reason, now);
    }

    /// Waits for the next dial: as long as told, or until the recheck of a refused key, which nothing hastens.
    /// Yields the wait that was taken.
    fn wait(&mut self, wait: Duration, now: Moment) -> Duration {
        let wait = match &self.blocked {
            Some(blocked) => {
                let mean = match blocked.recheck {
                    Recheck::Soon => self.config.timings.recheck,
                    Recheck::Hourly => self.config.timings.recheck_unexplained,
                };
                around(mean, &mut self.jitter)
            }
            None => wait,
        };
        self.phase = Phase::Waiting { until: now + wait };
        self.poll_credential_soon(now);
        wait
    }

    /// Whether this is the connection of the moment.
    fn is_current(&self, socket: SocketId) -> bool {
        match &self.phase {
            Phase::Online(session) => session.socket == socket,
            Phase::Registering(registering) => registering.socket == socket,
            Phase::Idle
            | Phase::NoCredential
            | Phase::Dialing { .. }
            | Phase::Waiting { .. }
            | Phase::Stopped => false,
        }
    }

    pub(crate) fn is_online(&self) -> bool {
        matches!(self.phase, Phase::Online(_))
    }
}
