//! Rotations against a model of the bridge and of the disk, with everything dying at any moment: at each step one of the keys on
//! the disk lets the device in, and once all is calm the rotation has ended and the device is online.

use std::collections::{BTreeSet, VecDeque};

use askalf_proto::{CredentialCommitted, CredentialRotate, Credentials, Reason};

use super::walk::Dice;
use super::*;
use crate::RotationFault;

const SEEDS: u64 = 300;
const STEPS: usize = 1_000;

/// A key is a number here.
type Key = u32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Staged,
    Committed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    old: Key,
    new: Key,
    progress: Progress,
}

/// What `askalf-bridge` does, by the rules of docs/protocol.md.
#[derive(Debug)]
struct BridgeModel {
    away: bool,
    good: BTreeSet<Key>,
    last_key: Key,
    open: Vec<Open>,
    confirmed: u32,
    dropped: u32,
}

impl BridgeModel {
    fn begin(&mut self, old: Key) -> Option<BridgeMessage> {
        // A committed one that its device came back without is left to the next.
        let under_way = |it: &Open| it.progress == Progress::Staged || it.new == old;
        if self.open.iter().any(under_way) {
            return None;
        }
        self.last_key += 1;
        let new = self.last_key;
        self.good.insert(new);
        let progress = Progress::Staged;
        self.open.push(Open { old, new, progress });
        Some(BridgeMessage::CredentialRotate(CredentialRotate {
            rotation_id: new.to_string(),
            key: Credentials::new(new.to_string()),
            key_prefix: None,
        }))
    }

    /// Gives up those that are staged and not `spared`; the old key of one.
    fn give_up(&mut self, spared: impl Fn(&Open) -> bool) -> Option<Key> {
        let (given_up, open): (Vec<Open>, Vec<Open>) = self
            .open
            .iter()
            .partition(|it| it.progress == Progress::Staged && !spared(it));
        self.open = open;
        for it in &given_up {
            self.good.remove(&it.new);
            self.dropped += 1;
        }
        given_up.first().map(|it| it.old)
    }

    fn prove(&mut self, id: &str, key: Key) -> Proof {
        let problem = "the bridge says so".to_owned();
        if self.away {
            return Proof::Undecided { problem };
        }
        if !self.good.contains(&key) {
            return Proof::Refused { problem };
        }
        match self.open.iter_mut().find(|it| it.new == key) {
            Some(it) if id == key.to_string() => {
                it.progress = Progress::Committed;
                Proof::Committed
            }
            _ => Proof::Undecided { problem },
        }
    }

    /// What a device with this key is told.
    fn register(&mut self, key: Key) -> Vec<BridgeMessage> {
        let mut told = vec![BridgeMessage::Registered(Registered {
            device_id: "dev_1".to_owned(),
            features: Features::all(),
            ..Registered::default()
        })];
        for it in self.open.iter_mut().filter(|it| it.new == key) {
            it.progress = Progress::Committed;
        }
        // An older key is retired, unless it is the one that this one has not been confirmed to replace.
        let open = self.open.clone();
        self.good
            .retain(|it| *it >= key || open.iter().any(|open| open.old == *it && open.new == key));
        let good = self.good.clone();
        self.open.retain(|it| good.contains(&it.new));
        self.dropped += u32::try_from(open.len() - self.open.len()).unwrap();
        if self.give_up(|it| it.new == key) == Some(key) {
            told.extend(self.begin(key));
        }
        if self.open.iter().any(|it| it.new == key) {
            let rotation_id = key.to_string();
            told.push(BridgeMessage::CredentialCommitted(CredentialCommitted {
                rotation_id,
            }));
        }
        told
    }

    fn told(&mut self, message: &AgentMessage, key: Key) {
        match message {
            AgentMessage::CredentialFailed(failed) => {
                self.give_up(|it| it.new.to_string() != failed.rotation_id);
            }
            AgentMessage::CredentialPromoted(promoted) if promoted.rotation_id == key.to_string() => {
                let committed = |it: &Open| it.new == key && it.progress == Progress::Committed;
                if let Some(index) = self.open.iter().position(committed) {
                    let it = self.open.remove(index);
                    self.good.remove(&it.old);
                    self.confirmed += 1;
                }
            }
            _ => {}
        }
    }
}

/// Something that the driver is doing. A crash loses it, or what came of it.
#[derive(Debug)]
enum Job {
    Load,
    /// What was read: a key, and whether it is the staged one.
    Loaded(Key, bool, u64),
    Stage(String, Key),
    Prove(String, Key),
    Promote(Option<Key>),
    Drop(Option<Key>, bool),
    Dial(SocketId),
    Tell(Box<Event>),
}

struct Line {
    socket: SocketId,
    key: Key,
    to_bridge: VecDeque<AgentMessage>,
    to_agent: VecDeque<BridgeMessage>,
}

struct World {
    seed: u64,
    dice: Dice,
    machine: Machine<Dice>,
    now: Moment,
    present: Key,
    next: Option<Key>,
    generation: u64,
    bridge: BridgeModel,
    // What dies with the process.
    loaded: Key,
    staged: Option<Key>,
    set_aside: Option<Key>,
    jobs: Vec<Job>,
    line: Option<Line>,
}

#[test]
fn whatever_dies_during_rotations_one_key_on_the_disk_is_good() {
    let (mut confirmed, mut dropped) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
            world.check();
        }
        world.calm_down();
        confirmed += world.bridge.confirmed;
        dropped += world.bridge.dropped;
    }
    assert!(
        confirmed > 1_000 && dropped > 300,
        "{confirmed} confirmed, {dropped} dropped"
    );
}

fn machine(seed: u64, now: Moment) -> Machine<Dice> {
    let config = MachineConfig::new(DeviceFacts::default(), vec![ExecutorKind::Shell]);
    Machine::new(config, Dice::new(!seed), now)
}

impl World {
    fn new(seed: u64) -> Self {
        let now = Moment::default();
        let mut world = Self {
            seed,
            dice: Dice::new(seed),
            machine: machine(seed, now),
            now,
            present: 1,
            next: None,
            generation: 1,
            bridge: BridgeModel {
                away: false,
                good: BTreeSet::from([1]),
                last_key: 1,
                open: Vec::new(),
                confirmed: 0,
                dropped: 0,
            },
            loaded: 0,
            staged: None,
            set_aside: None,
            jobs: Vec::new(),
            line: None,
        };
        world.handle(Event::Start { device_id: None });
        world
    }

    fn check(&self) {
        let on_disk = [Some(self.present), self.next];
        let one_is_good = on_disk.iter().flatten().any(|key| self.bridge.good.contains(key));
        let shown = format!(
            "seed {}: disk {} {:?}, bridge {:?}, {:?}",
            self.seed,
            self.present,
            self.next,
            self.bridge,
            self.machine.condition()
        );
        assert!(one_is_good, "no key is good; {shown}");
        assert_ne!(
            self.machine.condition().state,
            State::RepairRequired,
            "a person was called; {shown}"
        );
    }

    fn step(&mut self) {
        match self.dice.below(200) {
            0..2 => self.crash(),
            2..4 => self.cut(),
            4 => self.bridge.away = true,
            5..15 => self.bridge.away = false,
            15 => drop(self.bridge.give_up(|_| false)),
            16..30 => self.begin(),
            30..110 => self.do_one_job(true),
            110..190 => self.carry_one(),
            _ => self.pass(),
        }
    }

    /// Nothing dies any more: all that is under way comes to its end.
    fn calm_down(&mut self) {
        self.bridge.away = false;
        for _ in 0..2_000 {
            if self.jobs.is_empty() && self.line.as_ref().is_none_or(Line::is_silent) {
                let online = self.machine.condition().state == State::Online;
                if online && self.bridge.open.is_empty() {
                    // What could not be removed may be left, but lets nobody in.
                    assert_eq!(
                        self.bridge.good,
                        BTreeSet::from([self.present]),
                        "seed {}",
                        self.seed
                    );
                    return;
                }
                // A committed one whose key never reached the disk is settled by the next.
                self.begin();
                self.pass();
            }
            self.do_one_job(false);
            self.carry_one();
            self.check();
        }
        panic!(
            "seed {}: it does not come to rest: {:?}, {:?}, {:?}",
            self.seed,
            self.machine.condition(),
            self.bridge,
            self.jobs
        );
    }

    fn handle(&mut self, event: Event) {
        self.machine.handle(event, self.now);
        self.perform();
    }

    fn perform(&mut self) {
        while let Some(action) = self.machine.next_action() {
            match action {
                Action::LoadCredential => self.jobs.push(Job::Load),
                Action::PollCredential => {
                    let generation = self.generation;
                    self.jobs
                        .push(Job::Tell(Box::new(Event::CredentialGeneration(generation))));
                }
                Action::Connect(socket) => self.jobs.push(Job::Dial(socket)),
                Action::Send(socket, message) => {
                    if let Some(line) = self.line_of(socket) {
                        line.to_bridge.push_back(*message);
                    }
                }
                Action::Ping(socket, number) => {
                    self.jobs.push(Job::Tell(Box::new(Event::Ponged(socket, number))));
                }
                Action::Close(socket, _) | Action::Abort(socket) => {
                    self.jobs
                        .retain(|job| !matches!(job, Job::Dial(dialled) if *dialled == socket));
                    if self.line_of(socket).is_some() {
                        self.line = None;
                    }
                }
                Action::StageCredential(offer) => {
                    let key = offer.key.expose_secret().parse().unwrap();
                    self.staged = Some(key);
                    self.jobs.push(Job::Stage(offer.rotation_id, key));
                }
                Action::ProveCredential(id) => {
                    let key = self.staged.expect("something is staged");
                    self.jobs.push(Job::Prove(id, key));
                }
                Action::PromoteCredential => self.jobs.push(Job::Promote(self.staged)),
                Action::DropStagedCredential { keep_file } => {
                    let key = self.staged.take();
                    self.jobs.push(Job::Drop(key, keep_file));
                }
                Action::SaveDeviceId(_) | Action::ForgetDeviceId => {}
                other => panic!("seed {}: {other:?}", self.seed),
            }
        }
    }

    fn line_of(&mut self, socket: SocketId) -> Option<&mut Line> {
        self.line.as_mut().filter(|line| line.socket == socket)
    }

    fn do_one_job(&mut self, may_fail: bool) {
        if self.jobs.is_empty() {
            return;
        }
        let index = usize::try_from(self.dice.below(self.jobs.len() as u64)).unwrap();
        let fails = may_fail && self.dice.below(8) == 0;
        let fault = |lasting| {
            Err(RotationFault {
                id: "x".to_owned(),
                problem: "the disk is full".to_owned(),
                hint: String::new(),
                lasting,
            })
        };
        let event = match self.jobs.swap_remove(index) {
            Job::Load => {
                let next = self.next.filter(|key| self.set_aside != Some(*key));
                let key = next.unwrap_or(self.present);
                self.jobs.push(Job::Loaded(key, next.is_some(), self.generation));
                return;
            }
            Job::Loaded(key, is_staged, generation) => {
                self.loaded = key;
                let event = if is_staged {
                    self.staged = Some(key);
                    Event::StagedCredentialReady { generation }
                } else {
                    Event::CredentialReady { generation }
                };
                return self.handle(event);
            }
            Job::Stage(rotation_id, key) => {
                self.next = if fails { None } else { Some(key) };
                self.set_aside = None;
                let staged = if fails { fault(false) } else { Ok(()) };
                Event::CredentialStaged { rotation_id, staged }
            }
            Job::Prove(rotation_id, key) => {
                let mut proof = self.bridge.prove(&rotation_id, key);
                if fails {
                    let problem = "the answer was lost".to_owned();
                    proof = Proof::Undecided { problem };
                }
                Event::CredentialProved { rotation_id, proof }
            }
            Job::Promote(key) => Event::CredentialPromoted(match key {
                _ if fails => fault(false),
                Some(key) if self.next == Some(key) => {
                    (self.present, self.next) = (key, None);
                    self.generation += 1;
                    Ok(())
                }
                _ => fault(true),
            }),
            Job::Drop(key, keep_file) => {
                self.set_aside = key;
                if !keep_file && !fails && self.next == key {
                    self.next = None;
                }
                Event::StagedCredentialDropped
            }
            Job::Dial(socket) => {
                if self.bridge.away || fails {
                    let detail = String::new();
                    Event::Ended(socket, Fault::Unreachable { detail })
                } else {
                    self.line = Some(Line {
                        socket,
                        key: self.loaded,
                        to_bridge: VecDeque::new(),
                        to_agent: VecDeque::new(),
                    });
                    Event::Opened(socket)
                }
            }
            Job::Tell(event) => *event,
        };
        // What was done on the disk may be all that is left of it.
        self.jobs.push(Job::Tell(Box::new(event)));
        if self.dice.below(2) == 0
            && let Some(Job::Tell(event)) = self.jobs.pop()
        {
            self.handle(*event);
        }
    }

    /// Carries one message over the connection, in either direction.
    fn carry_one(&mut self) {
        if self.bridge.away {
            return self.cut();
        }
        let Some(line) = &mut self.line else { return };
        let (socket, key) = (line.socket, line.key);
        if self.dice.below(2) == 0
            && let Some(message) = line.to_agent.pop_front()
        {
            return self.handle(Event::Received(socket, Box::new(message)));
        }
        let Some(message) = line.to_bridge.pop_front() else {
            return;
        };
        let told = match &message {
            AgentMessage::Register(_) | AgentMessage::Reconnect(_) if !self.bridge.good.contains(&key) => {
                vec![error(ErrorCode::AuthFailed, Some(Reason::Revoked), None)]
            }
            AgentMessage::Register(_) | AgentMessage::Reconnect(_) => self.bridge.register(key),
            other => {
                self.bridge.told(other, key);
                Vec::new()
            }
        };
        line.to_agent.extend(told);
    }

    fn begin(&mut self) {
        if self.machine.condition().state == State::Online
            && let Some(line) = &mut self.line
        {
            line.to_agent.extend(self.bridge.begin(line.key));
        }
    }

    fn cut(&mut self) {
        if let Some(line) = self.line.take() {
            let text = String::new();
            self.handle(Event::Ended(
                line.socket,
                Fault::Closed {
                    code: Some(1006),
                    text,
                },
            ));
        }
    }

    fn crash(&mut self) {
        self.machine = machine(self.seed ^ self.dice.below(1 << 40), self.now);
        (self.line, self.staged, self.set_aside) = (None, None, None);
        self.jobs.clear();
        self.handle(Event::Start { device_id: None });
    }

    fn pass(&mut self) {
        if let Some(timer) = self.machine.next_timer() {
            self.now = self.now.max(timer.at);
            self.machine.handle_timeout(self.now);
            self.perform();
        }
    }
}

impl Line {
    fn is_silent(&self) -> bool {
        self.to_bridge.is_empty() && self.to_agent.is_empty()
    }
}
