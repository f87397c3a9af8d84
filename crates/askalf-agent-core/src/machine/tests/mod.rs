//! Tests of the machine as a whole.

mod audit_anchor;
mod connection;
mod disposition;
mod ending;
mod executions;
mod journal;
mod reconfigure;
mod rotation;
mod rotation_walk;
mod walk;

use std::time::Duration;

use askalf_proto::{
    AgentMessage, BridgeError, BridgeMessage, ErrorCode, ExecutionAck, Executor as ExecutorKind, Features,
    Registered, TaskCancel, TaskDispatch, decode_agent,
};

use super::*;
use crate::TaskEnd;

/// Always the middle.
struct Half;

impl Jitter for Half {
    fn below(&mut self, bound: Duration) -> Duration {
        bound / 2
    }
}

/// A machine, its clock, and what it has asked for and not been given yet.
struct Rig {
    machine: Machine<Half>,
    now: Moment,
    actions: Vec<Action>,
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

impl Rig {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut MachineConfig)) -> Self {
        let facts = DeviceFacts {
            name: Some("desk".to_owned()),
            version: "1.0.0".to_owned(),
            ..DeviceFacts::default()
        };
        let mut config = MachineConfig::new(facts, vec![ExecutorKind::Shell]);
        change(&mut config);
        let now = Moment::new(secs(1000));
        Self {
            machine: Machine::new(config, Half, now),
            now,
            actions: Vec::new(),
        }
    }

    /// Started, with a credential, and dialling.
    fn dialling() -> (Self, SocketId) {
        let mut rig = Self::new();
        rig.start();
        let socket = rig.connect().unwrap();
        (rig, socket)
    }

    /// Registered at a bridge with these features.
    fn online(features: Features) -> (Self, SocketId) {
        let (mut rig, socket) = Self::dialling();
        rig.open(socket);
        rig.registered(socket, features);
        rig.actions.clear();
        (rig, socket)
    }

    fn start(&mut self) {
        self.handle(Event::Start { device_id: None });
        assert!(matches!(self.actions.as_slice(), [Action::LoadCredential]));
        self.actions.clear();
        self.handle(Event::CredentialReady { generation: 1 });
    }

    fn handle(&mut self, event: Event) {
        self.machine.handle(event, self.now);
        self.collect();
    }

    /// Records are kept at once, as in the driver.
    fn collect(&mut self) {
        while let Some(action) = self.machine.next_action() {
            let unrecorded = !matches!(action, Action::Journal { .. } | Action::Persist { .. });
            match &action {
                Action::Journal { execution_id, .. } => {
                    self.machine
                        .handle(Event::Journalled(execution_id.clone()), self.now);
                }
                Action::Persist { execution_id, .. }
                | Action::Quarantine {
                    execution_id,
                    replacement: Some(_),
                } => {
                    self.machine
                        .handle(Event::Persisted(execution_id.clone()), self.now);
                }
                _ => {}
            }
            if unrecorded {
                self.actions.push(action);
            }
        }
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(timer) = self.machine.next_timer()
            && timer.at <= end
        {
            self.now = self.now.max(timer.at);
            self.machine.handle_timeout(self.now);
            self.collect();
        }
        self.now = end;
    }

    /// Goes to the next timer of that kind and yields how long that took.
    fn pass_to(&mut self, reason: TimerReason) -> Duration {
        let start = self.now;
        for _ in 0..10_000 {
            let timer = self.machine.next_timer().expect("a timer");
            self.now = timer.at;
            self.machine.handle_timeout(self.now);
            self.answer_polls();
            if timer.reason == reason {
                return self.now.since(start);
            }
        }
        panic!("{reason:?} never came");
    }

    /// The credential stays as it is.
    fn answer_polls(&mut self) {
        self.collect();
        while let Some(index) = self
            .actions
            .iter()
            .position(|it| matches!(it, Action::PollCredential))
        {
            self.actions.remove(index);
            self.handle(Event::CredentialGeneration(1));
        }
    }

    fn connect(&mut self) -> Option<SocketId> {
        let index = self
            .actions
            .iter()
            .position(|action| matches!(action, Action::Connect(_)))?;
        match self.actions.remove(index) {
            Action::Connect(socket) => Some(socket),
            _ => None,
        }
    }

    fn open(&mut self, socket: SocketId) {
        self.handle(Event::Opened(socket));
    }

    fn registered(&mut self, socket: SocketId, features: Features) {
        let registered = Registered {
            device_id: "dev_1".to_owned(),
            features,
            ..Registered::default()
        };
        self.receive(socket, BridgeMessage::Registered(registered));
    }

    fn receive(&mut self, socket: SocketId, message: BridgeMessage) {
        self.handle(Event::Received(socket, Box::new(message)));
    }

    fn error(&mut self, socket: SocketId, code: ErrorCode, reason: Option<askalf_proto::Reason>) {
        self.receive(socket, error(code, reason, None));
    }

    fn close(&mut self, socket: SocketId, code: u16) {
        let text = String::new();
        let code = Some(code);
        self.handle(Event::Ended(socket, Fault::Closed { code, text }));
    }

    fn dispatch(&mut self, socket: SocketId, id: &str) {
        self.receive(socket, BridgeMessage::Dispatch(task(id)));
    }

    fn ack(&mut self, socket: SocketId, id: &str) {
        let execution_id = id.to_owned();
        self.receive(socket, BridgeMessage::ExecutionAck(ExecutionAck { execution_id }));
    }

    fn cancel(&mut self, socket: SocketId, id: &str) {
        let execution_id = id.to_owned();
        self.receive(socket, BridgeMessage::Cancel(TaskCancel { execution_id }));
    }

    fn end(&mut self, id: &str, end: TaskEnd) {
        let execution_id = id.to_owned();
        self.handle(Event::TaskEnded { execution_id, end });
    }

    /// Comes back after a loss and is registered again.
    fn come_back(&mut self, features: Features) -> SocketId {
        self.pass_to(TimerReason::Retry);
        let socket = self.connect().unwrap();
        self.open(socket);
        self.registered(socket, features);
        socket
    }

    fn state(&self) -> (State, &str) {
        let condition = self.machine.condition();
        (condition.state, &condition.reason.id)
    }

    /// The kinds of message sent since the last call, results included.
    fn sent(&mut self) -> Vec<String> {
        let sent = self
            .messages()
            .into_iter()
            .map(|message| message.kind().to_owned());
        sent.collect()
    }

    fn messages(&mut self) -> Vec<AgentMessage> {
        let mut messages = Vec::new();
        self.actions.retain(|action| match action {
            Action::Send(_, message) => {
                messages.push((**message).clone());
                false
            }
            Action::SendResult { frame, .. } => {
                messages.push(decode_agent(frame).unwrap());
                false
            }
            _ => true,
        });
        messages
    }

    /// The executions that were started since the last call.
    fn started(&mut self) -> Vec<String> {
        let mut started = Vec::new();
        self.actions.retain(|action| match action {
            Action::Start(job) => {
                started.push(job.task.execution_id.clone());
                false
            }
            _ => true,
        });
        started
    }

    fn has(&self, wanted: impl Fn(&Action) -> bool) -> bool {
        self.actions.iter().any(wanted)
    }
}

fn error(
    code: ErrorCode,
    reason: Option<askalf_proto::Reason>,
    retry_after_ms: Option<u64>,
) -> BridgeMessage {
    BridgeMessage::Error(BridgeError {
        code,
        message: String::new(),
        reason,
        retry_after_ms,
    })
}

fn task(id: &str) -> TaskDispatch {
    TaskDispatch {
        execution_id: id.to_owned(),
        input: Some("true".to_owned()),
        executor: Some(ExecutorKind::Shell),
        ..TaskDispatch::default()
    }
}

fn success() -> TaskEnd {
    TaskEnd {
        cause: Some(askalf_proto::Cause::Exit),
        exit_code: Some(0),
        ..TaskEnd::default()
    }
}
