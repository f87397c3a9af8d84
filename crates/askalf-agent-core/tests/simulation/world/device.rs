//! The device: the real machine, its disk, and the tasks that run on it.

use std::collections::{BTreeMap, BTreeSet};

use askalf_agent_core::journal::{Held, Record};
use askalf_agent_core::machine::{Action, Event, Machine, MachineConfig, SocketId, State, TimerReason};
use askalf_agent_core::{DeviceFacts, NoCredential, NoCredentialKind};
use askalf_proto::{AgentMessage, Cause, ExecutionFailed, Executor as ExecutorKind, decode_agent};

use super::dice::Dice;
use super::disk::Disk;
use super::{Moment, Socket};

/// What the device wants of the world.
#[derive(Debug)]
pub(crate) enum Wish {
    Connect(Socket),
    Send(Socket, Box<AgentMessage>),
    SendResult(Socket, String, Box<AgentMessage>),
    Ping(Socket, u64),
    Close(Socket),
    /// A write of the journal: it is on disk, and the machine is told, some time later.
    Write(Record),
    /// A task was started: it ends some time later.
    Run(String),
    /// A task was told to end.
    Stop(String),
}

/// A machine over its processes, and what outlives them.
pub(crate) struct Device {
    /// Counts processes.
    pub(crate) process: u32,
    /// Whether a process runs.
    pub(crate) up: bool,
    pub(crate) machine: Machine<Dice>,
    disk: Disk,
    /// The credential on disk; `None` while it cannot be read.
    pub(crate) generation: Option<u64>,
    /// How often each execution was started, over all processes.
    pub(crate) started: BTreeMap<String, u32>,
    /// What runs in this process.
    pub(crate) running: BTreeSet<String>,
    /// Executions that were put on record as ended.
    pub(crate) ended: BTreeSet<String>,
    /// Executions that an end of the device has cut off.
    pub(crate) interrupted: u64,
    /// The socket that the machine holds.
    pub(crate) live: Option<Socket>,
    pub(crate) opened: bool,
    pub(crate) registered: bool,
    pub(crate) wishes: Vec<Wish>,
}

impl Device {
    pub(crate) fn new(dice: Dice, now: Moment) -> Self {
        let mut device = Self {
            process: 0,
            up: false,
            machine: machine(dice.clone(), now),
            disk: Disk::default(),
            generation: Some(1),
            started: BTreeMap::new(),
            running: BTreeSet::new(),
            ended: BTreeSet::new(),
            interrupted: 0,
            live: None,
            opened: false,
            registered: false,
            wishes: Vec::new(),
        };
        device.start(dice, now);
        device
    }

    /// A new process, with what its predecessor left on disk.
    pub(crate) fn start(&mut self, dice: Dice, now: Moment) {
        self.process += 1;
        self.up = true;
        self.machine = machine(dice, now);
        let held = self.disk.held();
        self.handle(Event::Restored(Box::new(held)), now);
        self.handle(Event::Start { device_id: None }, now);
    }

    /// SIGKILL: the tasks die with their runners. Yields the socket that breaks.
    pub(crate) fn kill(&mut self) -> Option<Socket> {
        self.up = false;
        self.running.clear();
        self.wishes.clear();
        self.opened = false;
        self.registered = false;
        self.live.take()
    }

    /// Puts a record on the disk.
    pub(crate) fn write(&mut self, record: &Record) {
        if let Record::Ended { execution_id, frame } = record {
            let first = self.ended.insert(execution_id.clone());
            assert!(first, "{execution_id} ended twice");
            let interrupted = |failed: &ExecutionFailed| failed.cause == Some(Cause::Interrupted);
            if matches!(decode_agent(frame), Ok(AgentMessage::Failed(failed)) if interrupted(&failed)) {
                self.interrupted += 1;
            }
        }
        self.disk.write(record);
    }

    pub(crate) fn held(&self) -> Held {
        self.disk.held()
    }

    pub(crate) fn handle(&mut self, event: Event, now: Moment) {
        if self.up {
            self.machine.handle(event, now);
            self.perform(now);
        }
    }

    pub(crate) fn timeout(&mut self, now: Moment) {
        self.machine.handle_timeout(now);
        self.perform(now);
    }

    /// What must hold at every moment.
    pub(crate) fn check(&self, now: Moment) {
        if !self.up {
            return;
        }
        let state = self.machine.condition().state;
        assert!(
            state != State::Online || self.registered,
            "online without device:registered"
        );
        assert!(self.machine.running() <= 2, "more run than may");
        if let Some(timer) = self.machine.next_timer() {
            let left = timer.at.since(now);
            if timer.reason == TimerReason::Retry && state == State::Backoff {
                assert!(left <= super::secs(360), "a backoff of {left:?}");
            }
            assert!(left <= super::secs(24 * 3600), "a wait of {left:?}");
        }
    }

    fn perform(&mut self, now: Moment) {
        while let Some(action) = self.machine.next_action() {
            self.act(action, now);
        }
    }

    fn socket(&self, id: SocketId) -> Socket {
        (self.process, id)
    }

    fn leave(&mut self, socket: Socket) {
        assert_eq!(self.live, Some(socket), "it left a socket that it does not hold");
        self.live = None;
        self.opened = false;
        self.registered = false;
    }

    fn act(&mut self, action: Action, now: Moment) {
        match action {
            Action::LoadCredential => {
                let event = match self.generation {
                    Some(generation) => Event::CredentialReady { generation },
                    None => Event::CredentialMissing(NoCredential {
                        kind: NoCredentialKind::Unreadable,
                        id: "keyfile-missing".to_owned(),
                        problem: String::new(),
                        hint: String::new(),
                        generation: 0,
                    }),
                };
                self.machine.handle(event, now);
            }
            Action::PollCredential => {
                let generation = self.generation.unwrap_or(0);
                self.machine.handle(Event::CredentialGeneration(generation), now);
            }
            Action::Connect(id) => {
                assert!(self.live.is_none(), "a second socket beside a live one");
                let socket = self.socket(id);
                self.live = Some(socket);
                self.wishes.push(Wish::Connect(socket));
            }
            Action::Send(id, message) => {
                let socket = self.socket(id);
                self.check_send(socket, &message);
                self.wishes.push(Wish::Send(socket, message));
            }
            Action::SendPong(_) => {}
            Action::SendResult {
                socket,
                execution_id,
                frame,
            } => {
                let socket = self.socket(socket);
                let message = decode_agent(&frame).unwrap();
                self.check_send(socket, &message);
                self.wishes
                    .push(Wish::SendResult(socket, execution_id, Box::new(message)));
            }
            Action::Ping(id, number) => self.wishes.push(Wish::Ping(self.socket(id), number)),
            Action::Close(id, _) | Action::Abort(id) => {
                let socket = self.socket(id);
                self.leave(socket);
                self.wishes.push(Wish::Close(socket));
            }
            Action::Journal {
                execution_id,
                executor,
            } => self.wishes.push(Wish::Write(Record::Accepted {
                execution_id,
                executor: executor.as_str().to_owned(),
            })),
            Action::Persist { execution_id, frame } => {
                assert!(
                    !self.running.contains(&execution_id),
                    "{execution_id} ended while it runs"
                );
                self.wishes
                    .push(Wish::Write(Record::Ended { execution_id, frame }));
            }
            Action::Quarantine {
                execution_id,
                replacement,
            } => {
                self.wishes.push(Wish::Write(Record::Quarantined {
                    execution_id,
                    replacement,
                }));
            }
            Action::Forget(execution_id) => self.wishes.push(Wish::Write(Record::Delivered { execution_id })),
            Action::Start(job) => {
                let id = job.task.execution_id.clone();
                assert!(
                    self.disk.has_accepted(&id),
                    "{id} was started before it was on record"
                );
                let times = self.started.entry(id.clone()).or_default();
                *times += 1;
                assert_eq!(*times, 1, "{id} was started again");
                assert!(!self.ended.contains(&id), "{id} was started after its end");
                self.running.insert(id.clone());
                self.wishes.push(Wish::Run(id));
            }
            Action::Cancel(id) => self.wishes.push(Wish::Stop(id)),
            Action::SaveDeviceId(_) | Action::ForgetDeviceId => {}
            Action::Scan => self.machine.handle(Event::Scanned(None), now),
            Action::StageCredential(_)
            | Action::ProveCredential(_)
            | Action::PromoteCredential
            | Action::DropStagedCredential { .. } => panic!("it rotates a key that was not offered"),
            Action::Finish => panic!("nobody asked it to end"),
        }
    }

    fn check_send(&self, socket: Socket, message: &AgentMessage) {
        assert!(
            self.live == Some(socket) && self.opened,
            "sent on a socket that is not open"
        );
        let may = match message {
            AgentMessage::Register(_) | AgentMessage::Reconnect(_) | AgentMessage::Capabilities(_) => true,
            AgentMessage::Complete(end) => {
                assert!(
                    self.disk.has_result(&end.execution_id),
                    "{} was told before it was on record",
                    end.execution_id
                );
                self.registered
            }
            _ => self.registered,
        };
        assert!(may, "sent {} before it was registered", message.kind());
    }
}

fn machine(dice: Dice, now: Moment) -> Machine<Dice> {
    let mut config = MachineConfig::new(DeviceFacts::default(), vec![ExecutorKind::Shell]);
    config.queue_limit = 4;
    config.outbox_entries = 24;
    Machine::new(config, dice, now)
}
