//! A registered connection: heartbeats, and what tells that it is dead.

use std::time::Duration;

use askalf_proto::{AgentMessage, Features, Heartbeat, Registered};
use serde_json::{Map, Value};
use tracing::{debug, warn};

use super::action::Action;
use super::connection::SocketEnd;
use super::event::SocketId;
use super::fault::Fault;
use super::phase::Phase;
use super::{Jitter, Machine, Moment};
use crate::Timings;

/// A connection on which the bridge has said `device:registered`.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) socket: SocketId,
    pub(crate) registered_at: Moment,
    /// How often the device has asked to be registered on this connection.
    pub(crate) tries: u32,
    /// What both peers announced.
    pub(crate) features: Features,
    pub(crate) round_trip: Option<Duration>,
    /// When the bridge asked to be left alone for a while, should this session end.
    pub(crate) retry_after: Option<Duration>,
    interval: Duration,
    next_beat: Moment,
    heard_at: Moment,
    /// Number of the last ping of this connection: a pong that repeats it is an answer to it and to nothing else.
    pings: u64,
    /// The ping of the last heartbeat, until it is answered.
    beat: Option<(u64, Moment)>,
}

impl Session {
    pub(crate) fn new(
        socket: SocketId,
        tries: u32,
        ours: &Features,
        registered: &Registered,
        timings: &Timings,
        now: Moment,
    ) -> Self {
        let interval = interval(registered, timings);
        Self {
            socket,
            registered_at: now,
            tries,
            features: ours.shared_with(&registered.features),
            round_trip: None,
            retry_after: None,
            interval,
            next_beat: now + interval,
            heard_at: now,
            pings: 0,
            beat: None,
        }
    }

    /// The bridge has answered a registration again; the session goes on under what it says now.
    pub(crate) fn renew(&mut self, ours: &Features, registered: &Registered, timings: &Timings) {
        self.features = ours.shared_with(&registered.features);
        self.interval = interval(registered, timings);
    }

    pub(crate) fn hear(&mut self, now: Moment) {
        self.heard_at = now;
    }

    pub(crate) fn next_beat(&self) -> Moment {
        self.next_beat
    }

    /// The number of the next ping.
    pub(crate) fn next_ping(&mut self) -> u64 {
        self.pings += 1;
        self.pings
    }

    /// When the peer counts as dead: it answers a ping with every heartbeat, so two of them went unanswered.
    pub(crate) fn silent_at(&self) -> Moment {
        self.heard_at + self.interval * 2
    }
}

fn interval(registered: &Registered, timings: &Timings) -> Duration {
    registered
        .heartbeat_interval_ms
        .map_or(timings.heartbeat, Duration::from_millis)
        .clamp(timings.heartbeat_min, timings.heartbeat_max)
}

impl<J: Jitter> Machine<J> {
    pub(crate) fn beat(&mut self, now: Moment) {
        let heartbeat = self.heartbeat();
        let Phase::Online(session) = &mut self.phase else {
            return;
        };
        session.next_beat = now + session.interval;
        let (socket, number) = (session.socket, session.next_ping());
        session.beat = Some((number, now));
        self.send(socket, AgentMessage::Heartbeat(heartbeat));
        self.act(Action::Ping(socket, number));
        self.poll_credential();
    }

    pub(crate) fn ponged(&mut self, socket: SocketId, number: u64, now: Moment) {
        if !self.heard(socket, now) {
            return;
        }
        let Phase::Online(session) = &mut self.phase else {
            return;
        };
        // Whoever answers what was never asked has read nothing.
        if number <= session.pings {
            self.outbox
                .ponged(number, now, self.config.timings.settled_result);
        }
        if let Some((_, pinged_at)) = session.beat.take_if(|(beat, _)| *beat == number) {
            session.round_trip = Some(now.since(pinged_at));
            debug!(?session.round_trip, "the bridge answered the ping");
        }
    }

    pub(crate) fn peer_silent(&mut self, now: Moment) {
        let Phase::Online(session) = &self.phase else {
            return;
        };
        let silent = now.since(session.heard_at);
        warn!("no sign of the bridge for {} s", silent.as_secs());
        self.lose(&Fault::Silent { silent }, SocketEnd::Abort, now);
    }

    /// The facts of agent 3.x are in it, so that an old forge can register a device from a heartbeat.
    fn heartbeat(&self) -> Heartbeat {
        let facts = &self.config.facts;
        Heartbeat {
            active_executions: count(self.scheduler.running()),
            queued_tasks: Some(count(self.scheduler.waiting())),
            load: Value::Object(Map::new()),
            hostname: facts.hostname.clone(),
            os: facts.os.clone(),
            device_name: facts.name.clone(),
            ..Heartbeat::default()
        }
    }
}

pub(crate) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
