//! A long random walk through everything that can happen, in any order. The seed of a failure is in its message.

use std::collections::{HashMap, HashSet};

use askalf_proto::{Cause, Feature, Reason};

use super::*;
use crate::{NoCredential, NoCredentialKind, OutputChunk};

const SEEDS: u64 = 40;
const STEPS: usize = 2_500;

/// splitmix64 (Steele, Lea and Flood, 2014).
#[derive(Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        let index = usize::try_from(self.below(of.len() as u64)).unwrap();
        of[index].clone()
    }
}

impl Jitter for Dice {
    fn below(&mut self, bound: Duration) -> Duration {
        let nanos = u64::try_from(bound.as_nanos()).unwrap();
        Duration::from_nanos(if nanos == 0 { 0 } else { self.next() % nanos })
    }
}

/// What the outside world knows, against which each action is checked.
struct World {
    seed: u64,
    dice: Dice,
    machine: Machine<Dice>,
    now: Moment,
    generation: u64,
    /// The one connection that the machine has asked for and not left.
    live: Option<SocketId>,
    opened: bool,
    registered: bool,
    sockets: Vec<SocketId>,
    features: Features,
    running: Vec<String>,
    ever_started: HashSet<String>,
    ended: HashMap<String, usize>,
    acked: HashSet<String>,
    unwritten: Vec<(SocketId, String)>,
    dispatched: u64,
    finished: bool,
}

#[test]
fn invariants_hold_over_a_random_walk() {
    let mut reached = HashSet::new();
    let mut ended = 0;
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
            reached.insert(world.machine.condition().state);
        }
        world.wind_up();
        ended += world.ended.len();
        reached.insert(world.machine.condition().state);
    }
    for state in State::ALL {
        assert!(reached.contains(&state), "the walk never reached {state}");
    }
    assert!(ended > 1_000, "the walk ended only {ended} executions");
}

impl World {
    fn new(seed: u64) -> Self {
        let mut config = MachineConfig::new(DeviceFacts::default(), vec![ExecutorKind::Shell]);
        config.queue_limit = 5;
        config.outbox_entries = 12;
        let now = Moment::default();
        let mut world = Self {
            seed,
            dice: Dice(seed),
            machine: Machine::new(config, Dice(!seed), now),
            now,
            generation: 1,
            live: None,
            opened: false,
            registered: false,
            sockets: Vec::new(),
            features: Features::all(),
            running: Vec::new(),
            ever_started: HashSet::new(),
            ended: HashMap::new(),
            acked: HashSet::new(),
            unwritten: Vec::new(),
            dispatched: 0,
            finished: false,
        };
        world.handle(Event::Start { device_id: None });
        world
    }

    fn check(&self, holds: bool, what: &str) {
        assert!(
            holds,
            "seed {}: {what}; {:?}",
            self.seed,
            self.machine.condition()
        );
    }

    fn handle(&mut self, event: Event) {
        self.machine.handle(event, self.now);
        self.perform();
    }

    fn step(&mut self) {
        match self.dice.below(10) {
            0..4 => self.pass(),
            4 => self.credential_news(),
            _ => self.socket_or_task_news(),
        }
        let online = self.machine.condition().state == State::Online;
        self.check(!online || self.registered, "online without device:registered");
        self.check(self.machine.running() <= 2, "more than two run");
        if let Some(timer) = self.machine.next_timer() {
            self.check(timer.at >= self.now, "a timer in the past");
            let longest = secs(3600 + 450);
            self.check(timer.at.since(self.now) <= longest, "a wait beyond every bound");
        }
    }

    /// Goes to the next timer, or half of the way, or far beyond it, as after a suspend.
    fn pass(&mut self) {
        let Some(timer) = self.machine.next_timer() else {
            return;
        };
        let left = timer.at.since(self.now);
        let state = self.machine.condition().state;
        if timer.reason == TimerReason::Retry && state == State::Backoff {
            // retryAfter at most 5 min and a window of 60 s on top.
            self.check(left <= secs(360), "a backoff beyond its bound");
        }
        self.now = match self.dice.below(8) {
            0 => self.now + left / 2,
            1 => self.now + left + secs(self.dice.below(7200)),
            _ => timer.at.max(self.now),
        };
        self.machine.handle_timeout(self.now);
        self.perform();
    }

    fn credential_news(&mut self) {
        match self.dice.below(14) {
            12 => {
                let full = crate::journal::JournalError::Failed;
                let reason = StateReason::new(full.id(), full.to_string(), full.hint());
                self.handle(Event::JournalFailed(reason));
            }
            13 => self.handle(Event::JournalWorks),
            0 => self.generation += 1,
            1 => self.handle(Event::Command(Command::CredentialChanged)),
            2 if self.dice.below(40) == 0 => self.handle(Event::Command(Command::Drain)),
            _ => {}
        }
    }

    fn socket_or_task_news(&mut self) {
        // Mostly the live connection, sometimes one that was left.
        let socket = match self.live {
            Some(live) if self.dice.below(20) > 0 => live,
            _ if self.sockets.is_empty() => return self.end_a_task(),
            _ => self.dice.one(&self.sockets.clone()),
        };
        match self.dice.below(20) {
            0 | 1 => self.end_a_task(),
            2 => self.output(),
            _ if self.live == Some(socket) && !self.opened => self.dial_news(socket),
            3 => self.ended_by(socket),
            4 => {
                let error = self.any_error(socket);
                self.receive(socket, error);
            }
            5..8 => self.say_registered(socket),
            8..12 => self.dispatch(socket),
            12 => self.cancel(socket),
            13 | 14 => self.ack(socket),
            15..18 => self.write_one(),
            18 => {
                let number = self.dice.below(4);
                self.handle(Event::Ponged(socket, number));
            }
            _ => self.handle(Event::Heard(socket)),
        }
    }

    fn dial_news(&mut self, socket: SocketId) {
        if self.dice.below(4) == 0 {
            self.ended_by(socket);
        } else {
            self.opened = true;
            self.handle(Event::Opened(socket));
        }
    }

    fn ended_by(&mut self, socket: SocketId) {
        let code = self
            .dice
            .one(&[1000, 1001, 1006, 1009, 1009, 1011, 1013, 4001, 4002, 4003]);
        if self.live == Some(socket) {
            self.leave();
        }
        let text = self.dice.one(&["", "User not found", "Missing token"]).to_owned();
        self.handle(Event::Ended(
            socket,
            Fault::Closed {
                code: Some(code),
                text,
            },
        ));
    }

    fn any_error(&mut self, socket: SocketId) -> BridgeMessage {
        let code = self.dice.one(&[
            ErrorCode::AuthFailed,
            ErrorCode::AuthRequired,
            ErrorCode::UserNotFound,
            ErrorCode::AlreadyRegistered,
            ErrorCode::DeviceNotFound,
            ErrorCode::UnknownType,
            ErrorCode::InternalError,
            ErrorCode::ServerShutdown,
        ]);
        let reason = self.dice.one(&[
            None,
            Some(Reason::Unknown),
            Some(Reason::Unavailable),
            Some(Reason::UserInactive),
        ]);
        let retry_after = self.dice.one(&[None, Some(1_000), Some(u64::MAX)]);
        if code == ErrorCode::DeviceNotFound && self.live == Some(socket) {
            self.registered = false;
        }
        error(code, reason, retry_after)
    }

    fn say_registered(&mut self, socket: SocketId) {
        if self.live == Some(socket) {
            self.registered = true;
        }
        let registered = Registered {
            device_id: format!("dev_{}", self.dice.below(3)),
            features: self.features.clone(),
            heartbeat_interval_ms: self.dice.one(&[None, Some(0), Some(7_000)]),
            ..Registered::default()
        };
        self.receive(socket, BridgeMessage::Registered(registered));
    }

    fn dispatch(&mut self, socket: SocketId) {
        // Now and then one that was dispatched before.
        let number = if self.dice.below(4) == 0 && self.dispatched > 0 {
            self.dice.below(self.dispatched)
        } else {
            self.dispatched += 1;
            self.dispatched
        };
        let mut dispatch = task(&format!("e{number}"));
        if self.dice.below(10) == 0 {
            dispatch.input = None;
        }
        self.receive(socket, BridgeMessage::Dispatch(dispatch));
    }

    fn cancel(&mut self, socket: SocketId) {
        let execution_id = format!("e{}", self.dice.below(self.dispatched + 1));
        self.receive(socket, BridgeMessage::Cancel(TaskCancel { execution_id }));
    }

    fn ack(&mut self, socket: SocketId) {
        let held: Vec<String> = self.ended.keys().cloned().collect();
        if self.live != Some(socket) || held.is_empty() {
            return;
        }
        let execution_id = self.dice.one(&held);
        self.acked.insert(execution_id.clone());
        self.receive(socket, BridgeMessage::ExecutionAck(ExecutionAck { execution_id }));
    }

    fn write_one(&mut self) {
        if let Some((socket, execution_id)) = self.unwritten.pop() {
            if self.features.is_empty() {
                self.acked.insert(execution_id.clone());
            }
            self.handle(Event::Written(socket, execution_id));
        }
    }

    fn end_a_task(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let index = usize::try_from(self.dice.below(self.running.len() as u64)).unwrap();
        let execution_id = self.running.swap_remove(index);
        let cause = self.dice.one(&[Some(Cause::Exit), Some(Cause::Signal), None]);
        let end = TaskEnd {
            cause,
            exit_code: Some(0),
            ..TaskEnd::default()
        };
        self.handle(Event::TaskEnded { execution_id, end });
    }

    fn output(&mut self) {
        if let Some(execution_id) = self.running.first().cloned() {
            let stream = askalf_proto::OutputStream::Stdout;
            let text = "x".to_owned();
            self.handle(Event::Output(OutputChunk {
                execution_id,
                stream,
                text,
            }));
        }
    }

    fn receive(&mut self, socket: SocketId, message: BridgeMessage) {
        self.handle(Event::Received(socket, Box::new(message)));
    }

    fn leave(&mut self) {
        self.live = None;
        self.opened = false;
        self.registered = false;
        self.unwritten.clear();
        // The next bridge may be of another generation.
        let ack = Features::from_iter([Feature::ExecutionAck]);
        self.features = self.dice.one(&[Features::none(), ack, Features::all()]);
    }

    fn perform(&mut self) {
        while let Some(action) = self.machine.next_action() {
            self.check(!self.finished, "an action after the end");
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::LoadCredential => self.answer_load(),
            Action::PollCredential => {
                let generation = self.generation;
                self.machine
                    .handle(Event::CredentialGeneration(generation), self.now);
            }
            Action::Connect(socket) => {
                self.check(self.live.is_none(), "a second connection");
                self.check(!self.sockets.contains(&socket), "a number used again");
                self.live = Some(socket);
                self.sockets.push(socket);
            }
            Action::Close(socket, _) | Action::Abort(socket) => {
                self.check(self.live == Some(socket), "left a connection that it had not");
                self.leave();
            }
            Action::Send(socket, message) => self.sent(socket, &message),
            Action::SendResult {
                socket, execution_id, ..
            } => {
                self.check(
                    self.live == Some(socket) && self.registered,
                    "a result while not registered",
                );
                self.unwritten.push((socket, execution_id));
            }
            Action::SendPong(socket) | Action::Ping(socket, _) => {
                self.check(self.live == Some(socket), "sent on a connection that it had not");
            }
            Action::Journal { execution_id, .. } => {
                let event = match self.dice.below(30) {
                    0 => Event::NotJournalled(execution_id),
                    _ => Event::Journalled(execution_id),
                };
                self.machine.handle(event, self.now);
            }
            Action::Quarantine {
                execution_id,
                replacement,
            } => {
                self.check(
                    self.ended.contains_key(&execution_id),
                    "quarantined without an end",
                );
                if replacement.is_some() {
                    self.machine.handle(Event::Persisted(execution_id), self.now);
                }
            }
            Action::Persist { execution_id, .. } => {
                let ends = self.ended.entry(execution_id.clone()).or_default();
                *ends += 1;
                let once = *ends == 1;
                self.check(once, "an execution ended twice");
                self.check(!self.running.contains(&execution_id), "ended while it runs");
                self.machine.handle(Event::Persisted(execution_id), self.now);
            }
            Action::Forget(id) => self.check(self.acked.contains(&id), "a result forgotten unacknowledged"),
            Action::Start(job) => {
                let id = job.task.execution_id.clone();
                let first = self.ever_started.insert(id.clone());
                self.check(first, "an execution ran twice");
                self.check(!self.ended.contains_key(&id), "started after its end");
                self.running.push(id);
            }
            Action::Cancel(id) => self.check(self.running.contains(&id), "cancelled what does not run"),
            Action::SaveDeviceId(_) | Action::ForgetDeviceId => {}
            Action::Scan => self.machine.handle(Event::Scanned(None), self.now),
            Action::StageCredential(_)
            | Action::ProveCredential(_)
            | Action::PromoteCredential
            | Action::DropStagedCredential { .. } => self.check(false, "rotated a key that was not offered"),
            Action::Finish => self.finished = true,
        }
    }

    fn answer_load(&mut self) {
        let generation = self.generation;
        let event = match self.dice.below(6) {
            0 => Event::CredentialMissing(NoCredential {
                kind: self.dice.one(&[
                    NoCredentialKind::Absent,
                    NoCredentialKind::Unreadable,
                    NoCredentialKind::LocalFault,
                ]),
                id: "x".to_owned(),
                problem: String::new(),
                hint: String::new(),
                generation,
            }),
            _ => Event::CredentialReady { generation },
        };
        self.machine.handle(event, self.now);
    }

    fn sent(&self, socket: SocketId, message: &AgentMessage) {
        self.check(
            self.live == Some(socket) && self.opened,
            "sent on a connection that is not open",
        );
        let registers = matches!(message, AgentMessage::Register(_) | AgentMessage::Reconnect(_));
        let answers = matches!(message, AgentMessage::Capabilities(_));
        self.check(
            registers || answers || self.registered,
            "sent more than a registration before registered",
        );
    }

    /// Stops the machine: every started execution must have ended, once.
    fn wind_up(&mut self) {
        if !self.finished {
            self.handle(Event::Command(Command::Stop));
        }
        while let Some(execution_id) = self.running.pop() {
            let end = TaskEnd {
                cause: Some(Cause::Cancelled),
                ..TaskEnd::default()
            };
            if !self.finished {
                self.handle(Event::TaskEnded { execution_id, end });
            }
        }
        while !self.finished {
            let timer = self.machine.next_timer().expect("a stop is bounded");
            self.now = self.now.max(timer.at);
            self.machine.handle_timeout(self.now);
            self.perform();
        }
        for id in &self.ever_started {
            self.check(
                self.ended.get(id) == Some(&1),
                "a started execution did not end once",
            );
        }
    }
}
