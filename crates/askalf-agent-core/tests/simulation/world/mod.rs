//! The real machine and a model of the bridge in one world of virtual time, in which everything fails that can: sockets
//! break or fall silent, messages are late, both sides are killed, acknowledgements are lost, keys are wrong for a while.
//!
//! The test of that name and a fuzz target share it.

mod bridge;
mod device;
mod dice;
mod disk;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use askalf_agent_core::TaskEnd;
use askalf_agent_core::journal::Record;
use askalf_agent_core::machine::{Event, Fault, Moment, SocketId, State};
use askalf_proto::{AgentMessage, BridgeMessage, Cause, Feature, Features};

use bridge::{Bridge, RowState, Why};
use device::Device;
pub(crate) use dice::Dice;

/// A connection of one of the device's processes.
type Socket = (u32, SocketId);

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) steps: u64,
    pub(crate) accepted: u64,
    pub(crate) told: u64,
    pub(crate) interrupted_there: u64,
    pub(crate) not_named: u64,
    pub(crate) grace_over: u64,
    pub(crate) device_kills: u64,
    pub(crate) bridge_kills: u64,
    pub(crate) cuts: u64,
    pub(crate) silences: u64,
    pub(crate) suspends: u64,
    pub(crate) wrong_keys: u64,
    pub(crate) lost_acks: u64,
    pub(crate) registrations: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.accepted += other.accepted;
        self.told += other.told;
        self.interrupted_there += other.interrupted_there;
        self.not_named += other.not_named;
        self.grace_over += other.grace_over;
        self.device_kills += other.device_kills;
        self.bridge_kills += other.bridge_kills;
        self.cuts += other.cuts;
        self.silences += other.silences;
        self.suspends += other.suspends;
        self.wrong_keys += other.wrong_keys;
        self.lost_acks += other.lost_acks;
        self.registrations += other.registrations;
    }
}

/// Something that happens at its time.
#[derive(Debug)]
enum Due {
    /// A dial is answered.
    Dialled(Socket),
    ToBridge(Socket, BridgeBound),
    ToDevice(Socket, DeviceBound),
    /// The journal has written.
    Written(u32, Record),
    /// A task of that process comes to its end.
    TaskEnds(u32, String, Option<Cause>),
    /// A result has left the device's buffers.
    Flushed(Socket, String),
    BridgeLooks,
    Fault,
    Dispatch,
    DeviceStarts,
    BridgeStarts,
    DatabaseReturns,
    KeyIsFixed,
}

#[derive(Debug)]
enum BridgeBound {
    Message(Box<AgentMessage>),
    Ping(u64),
    Closed,
}

#[derive(Debug)]
enum DeviceBound {
    Message(Box<BridgeMessage>),
    Pong(u64),
    Closed(Option<u16>),
}

/// A connection between the two.
#[derive(Debug)]
struct Link {
    /// Neither end hears of the other any more.
    silent: bool,
    /// When the last message of each direction arrives: nothing overtakes it.
    to_bridge: Moment,
    to_device: Moment,
}

pub(crate) struct World {
    dice: Dice,
    now: Moment,
    agenda: BinaryHeap<Reverse<Entry>>,
    entries: u64,
    device: Device,
    bridge: Bridge,
    links: BTreeMap<Socket, Link>,
    /// When the last write of the journal is done.
    journal_free: Moment,
    /// Faults still happen.
    stormy: bool,
    dispatched: u64,
    traced: Option<String>,
    figures: Figures,
}

struct Entry {
    at: Moment,
    number: u64,
    due: Due,
}

impl World {
    /// A storm of so many steps, and then the calm in which everything has to come right.
    ///
    /// # Panics
    /// Something that must hold did not.
    pub(crate) fn run(mut dice: Dice, storm: u64) -> Figures {
        // An old forge knows no extension. What it ends is best effort; what the device does must hold all the same.
        let features = if dice.below(8) == 7 {
            Features::none()
        } else {
            Features::all()
        };
        let now = Moment::new(secs(1_000));
        let device = Device::new(dice.split(), now);
        let mut world = Self {
            dice,
            now,
            agenda: BinaryHeap::new(),
            entries: 0,
            device,
            bridge: Bridge::new(features),
            links: BTreeMap::new(),
            journal_free: now,
            stormy: true,
            dispatched: 0,
            traced: std::env::var("ASKALF_SIMULATION_TRACE").ok(),
            figures: Figures::default(),
        };
        world.after(secs(1), Due::Fault);
        world.after(secs(1), Due::Dispatch);
        world.grant();
        while world.figures.steps < storm && !world.dice.is_spent() {
            world.step();
        }
        world.stormy = false;
        let calm = world.now + secs(4 * 3600);
        while world.now < calm {
            world.step();
        }
        world.judge();
        world.figures
    }

    fn step(&mut self) {
        self.figures.steps += 1;
        let timer = self
            .device
            .machine
            .next_timer()
            .filter(|_| self.device.up)
            .map(|timer| timer.at);
        let next = self.agenda.peek().map(|Reverse(entry)| entry.at);
        match (timer, next) {
            (Some(timer), next) if next.is_none_or(|next| timer <= next) => {
                self.now = self.now.max(timer);
                self.device.timeout(self.now);
            }
            _ => {
                let Some(Reverse(entry)) = self.agenda.pop() else {
                    panic!("nothing is left to happen")
                };
                self.now = self.now.max(entry.at);
                self.happen(entry.due);
            }
        }
        self.grant();
        self.device.check(self.now);
    }

    fn happen(&mut self, due: Due) {
        self.trace(&due);
        match due {
            Due::Dialled(socket) => self.dialled(socket),
            Due::ToBridge(socket, news) => self.bridge_hears(socket, news),
            Due::ToDevice(socket, news) => self.device_hears(socket, news),
            Due::Written(process, record) => self.written(process, record),
            Due::TaskEnds(process, id, cause) => self.task_ends(process, id, cause),
            Due::Flushed(socket, id) => {
                if self.device.live == Some(socket) {
                    self.device.handle(Event::Written(socket.1, id), self.now);
                }
            }
            Due::BridgeLooks => self.bridge.woken(self.now),
            Due::Fault => {
                if self.stormy {
                    self.fault();
                    let pause = self.random(secs(25));
                    self.after(pause, Due::Fault);
                }
            }
            Due::Dispatch => {
                if self.stormy {
                    self.dispatch();
                    let pause = self.random(secs(3));
                    self.after(pause, Due::Dispatch);
                }
            }
            Due::DeviceStarts => {
                if !self.device.up {
                    let dice = self.dice.split();
                    self.device.start(dice, self.now);
                }
            }
            Due::BridgeStarts => {
                if !self.bridge.up {
                    self.bridge.started(self.now);
                }
            }
            Due::DatabaseReturns => self.bridge.database_down = false,
            Due::KeyIsFixed => {
                self.bridge.generation += 1;
                self.device.generation = Some(self.bridge.generation);
            }
        }
    }

    /// Does what both sides want done.
    fn grant(&mut self) {
        for wish in std::mem::take(&mut self.device.wishes) {
            self.trace(&wish);
            match wish {
                device::Wish::Connect(socket) => {
                    let took = self.random(secs(2));
                    self.after(took, Due::Dialled(socket));
                }
                device::Wish::Send(socket, message) => {
                    self.tell_bridge(socket, BridgeBound::Message(message))
                }
                device::Wish::SendResult(socket, id, message) => {
                    self.tell_bridge(socket, BridgeBound::Message(message));
                    let took = self.random(Duration::from_millis(200));
                    self.after(took, Due::Flushed(socket, id));
                }
                device::Wish::Ping(socket, number) => self.tell_bridge(socket, BridgeBound::Ping(number)),
                device::Wish::Close(socket) => self.tell_bridge(socket, BridgeBound::Closed),
                device::Wish::Write(record) => {
                    // One writer, in order.
                    let took = self.random(Duration::from_millis(60));
                    self.journal_free = self.journal_free.max(self.now + took);
                    let process = self.device.process;
                    self.at(self.journal_free, Due::Written(process, record));
                }
                device::Wish::Run(id) => {
                    let longest = self.dice.one(&[1, 5, 20, 200]);
                    let took = self.random(secs(longest));
                    self.after(took, Due::TaskEnds(self.device.process, id, Some(Cause::Exit)));
                }
                device::Wish::Stop(id) => {
                    let took = self.random(secs(5));
                    self.after(
                        took,
                        Due::TaskEnds(self.device.process, id, Some(Cause::Cancelled)),
                    );
                }
            }
        }
        for wish in std::mem::take(&mut self.bridge.wishes) {
            self.trace(&wish);
            match wish {
                bridge::Wish::Send(_, message)
                    if matches!(*message, BridgeMessage::ExecutionAck(_))
                        && self.stormy
                        && self.dice.below(20) == 0 =>
                {
                    // As where the bridge dies between the commit and the answer.
                    self.figures.lost_acks += 1;
                }
                bridge::Wish::Send(socket, message) => {
                    if matches!(*message, BridgeMessage::Registered(_)) {
                        self.figures.registrations += 1;
                    }
                    self.tell_device(socket, DeviceBound::Message(message));
                }
                bridge::Wish::Close(socket, code) => {
                    self.tell_device(socket, DeviceBound::Closed(Some(code)));
                    self.bridge.closed(socket, self.now);
                }
                bridge::Wish::Wake(at) => self.at(at, Due::BridgeLooks),
            }
        }
    }

    fn dialled(&mut self, socket: Socket) {
        if self.device.live != Some(socket) || self.device.opened {
            return;
        }
        if !self.bridge.up || (self.stormy && self.dice.below(20) == 0) {
            self.device.live = None;
            let detail = "refused".to_owned();
            return self
                .device
                .handle(Event::Ended(socket.1, Fault::Unreachable { detail }), self.now);
        }
        let generation = self.device.generation.unwrap_or(0);
        let link = Link {
            silent: false,
            to_bridge: self.now,
            to_device: self.now,
        };
        self.links.insert(socket, link);
        self.device.opened = true;
        self.bridge.opened(socket, generation);
        self.device.handle(Event::Opened(socket.1), self.now);
    }

    fn bridge_hears(&mut self, socket: Socket, news: BridgeBound) {
        if !self.bridge.up || self.links.get(&socket).is_none_or(|link| link.silent) {
            return;
        }
        match news {
            BridgeBound::Message(message) => self.bridge.received(socket, *message, self.now),
            BridgeBound::Ping(number) => self.tell_device(socket, DeviceBound::Pong(number)),
            BridgeBound::Closed => {
                self.links.remove(&socket);
                self.bridge.closed(socket, self.now);
            }
        }
    }

    fn device_hears(&mut self, socket: Socket, news: DeviceBound) {
        if self.device.live != Some(socket) || self.links.get(&socket).is_none_or(|link| link.silent) {
            return;
        }
        match news {
            DeviceBound::Message(message) => {
                if matches!(*message, BridgeMessage::Registered(_)) {
                    self.device.registered = true;
                }
                self.device.handle(Event::Received(socket.1, message), self.now);
            }
            DeviceBound::Pong(number) => self.device.handle(Event::Ponged(socket.1, number), self.now),
            DeviceBound::Closed(code) => self.device_loses(socket, code),
        }
    }

    fn device_loses(&mut self, socket: Socket, code: Option<u16>) {
        self.links.remove(&socket);
        if self.device.live == Some(socket) {
            self.device.live = None;
            self.device.opened = false;
            self.device.registered = false;
            let text = String::new();
            self.device
                .handle(Event::Ended(socket.1, Fault::Closed { code, text }), self.now);
        }
    }

    fn written(&mut self, process: u32, record: Record) {
        if process != self.device.process || !self.device.up {
            return;
        }
        self.device.write(&record);
        let event = match record {
            Record::Accepted { execution_id, .. } => Event::Journalled(execution_id),
            Record::Ended { execution_id, .. } => Event::Persisted(execution_id),
            Record::Quarantined {
                execution_id,
                replacement: Some(_),
            } => Event::Persisted(execution_id),
            Record::Quarantined { .. } | Record::Delivered { .. } | Record::Remembered(_) => return,
        };
        // The process may die with the record on disk and nobody told.
        if self.stormy && self.dice.below(200) == 0 {
            self.kill_device();
        } else {
            self.device.handle(event, self.now);
        }
    }

    fn task_ends(&mut self, process: u32, id: String, cause: Option<Cause>) {
        if process == self.device.process && self.device.running.remove(&id) {
            let end = TaskEnd {
                cause,
                exit_code: Some(0),
                ..TaskEnd::default()
            };
            self.device.handle(
                Event::TaskEnded {
                    execution_id: id,
                    end,
                },
                self.now,
            );
        }
    }

    fn fault(&mut self) {
        match self.dice.below(12) {
            0 | 1 => self.kill_device(),
            2 | 3 => self.kill_bridge(),
            4 | 5 => self.cut(),
            6 => {
                if let Some(link) = self.device.live.and_then(|socket| self.links.get_mut(&socket)) {
                    self.figures.silences += 1;
                    link.silent = true;
                }
            }
            7 => {
                // A lid is closed: the clock goes on, and nothing else does.
                self.figures.suspends += 1;
                let span = self.random(secs(4 * 3600));
                self.now = self.now + span;
            }
            8 => {
                // The key is refused until somebody pairs the device again; a session that stands ends.
                self.figures.wrong_keys += 1;
                self.bridge.generation += 1;
                if self.dice.below(4) == 0 {
                    self.device.generation = None;
                }
                self.cut();
                let span = self.random(secs(1_200));
                self.after(span, Due::KeyIsFixed);
            }
            9 => {
                self.bridge.database_down = true;
                let span = self.random(secs(30));
                self.after(span, Due::DatabaseReturns);
            }
            10 => self.bridge.replaced(self.now),
            _ => {
                let open: Vec<String> = self.bridge.open_rows().cloned().collect();
                if !open.is_empty() && self.bridge.up {
                    let id = self.dice.one(&open);
                    self.bridge.cancel_one(&id);
                }
            }
        }
    }

    fn kill_device(&mut self) {
        if !self.device.up {
            return;
        }
        self.figures.device_kills += 1;
        if let Some(socket) = self.device.kill() {
            self.tell_bridge(socket, BridgeBound::Closed);
        }
        let away = self.dice.one(&[1, 10, 300]);
        let away = self.random(secs(away));
        self.after(away, Due::DeviceStarts);
    }

    fn kill_bridge(&mut self) {
        if !self.bridge.up {
            return;
        }
        self.figures.bridge_kills += 1;
        self.bridge.killed();
        for socket in self.links.keys().copied().collect::<Vec<_>>() {
            self.tell_device(socket, DeviceBound::Closed(None));
        }
        let away = self.dice.one(&[1, 10, 100]);
        let away = self.random(secs(away));
        self.after(away, Due::BridgeStarts);
    }

    fn cut(&mut self) {
        if let Some(socket) = self.device.live.filter(|socket| self.links.contains_key(socket)) {
            self.figures.cuts += 1;
            self.bridge.closed(socket, self.now);
            self.device_loses(socket, None);
        }
    }

    fn dispatch(&mut self) {
        if self.dispatched > 0 && self.dice.below(6) == 0 {
            // As a bridge does that does not know how far it came.
            let id = format!("e{}", 1 + self.dice.below(self.dispatched));
            return self.bridge.dispatch_again(&id);
        }
        let id = format!("e{}", self.dispatched + 1);
        let had_credentials = self.dice.below(8) == 0;
        if self.bridge.dispatch(&id, had_credentials) {
            self.dispatched += 1;
            self.figures.accepted += 1;
        }
    }

    /// Everything has ended, once, and as it went.
    fn judge(&mut self) {
        let state = self.device.machine.condition().state;
        assert_eq!(
            state,
            State::Online,
            "the calm did not bring it back: {:?}",
            self.device.machine.condition()
        );
        assert!(self.device.running.is_empty(), "tasks run for ever");
        let held = self.device.held();
        assert!(
            held.accepted.is_empty(),
            "accepted and never ended: {:?}",
            held.accepted
        );
        assert!(
            held.results.is_empty(),
            "results that nobody has taken: {}",
            held.results.len()
        );
        let speaks = self.bridge.features.contains(Feature::ExecutionAck);
        for (id, row) in &self.bridge.rows {
            assert!(!row.is_open() || !speaks, "{id} is open for ever");
            match row.state {
                RowState::Told => self.figures.told += 1,
                RowState::Interrupted(Why::GraceOver) => self.figures.grace_over += 1,
                RowState::Interrupted(Why::NotNamed) => {
                    self.figures.not_named += 1;
                    // The device had never taken it, or the bridge would have been told.
                    assert!(
                        !self.device.started.contains_key(id),
                        "{id} ran and is interrupted as if it was not known"
                    );
                }
                RowState::Pending | RowState::Running => {}
            }
        }
        self.figures.interrupted_there += self.device.interrupted;
    }

    fn trace(&self, what: &impl std::fmt::Debug) {
        if let Some(id) = &self.traced {
            let text = format!("{what:?}");
            if text.contains(&format!("\"{id}\"")) || text.contains("Starts") || text.contains("Dialled") {
                eprintln!("{:?} {text}", self.now);
            }
        }
    }

    fn tell_bridge(&mut self, socket: Socket, news: BridgeBound) {
        let took = self.latency();
        let Some(link) = self.links.get_mut(&socket) else {
            return;
        };
        link.to_bridge = link.to_bridge.max(self.now + took);
        let at = link.to_bridge;
        self.at(at, Due::ToBridge(socket, news));
    }

    fn tell_device(&mut self, socket: Socket, news: DeviceBound) {
        let took = self.latency();
        let Some(link) = self.links.get_mut(&socket) else {
            return;
        };
        link.to_device = link.to_device.max(self.now + took);
        let at = link.to_device;
        self.at(at, Due::ToDevice(socket, news));
    }

    /// Mostly quick, sometimes seconds.
    fn latency(&mut self) -> Duration {
        let longest = self.dice.one(&[20, 20, 20, 4_000]);
        self.random(Duration::from_millis(longest))
    }

    fn random(&mut self, longest: Duration) -> Duration {
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.dice.below(millis + 1))
    }

    fn after(&mut self, span: Duration, due: Due) {
        self.at(self.now + span, due);
    }

    fn at(&mut self, at: Moment, due: Due) {
        self.entries += 1;
        let number = self.entries;
        self.agenda.push(Reverse(Entry { at, number, due }));
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
