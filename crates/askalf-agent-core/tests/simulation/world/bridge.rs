//! A bridge in as few words as the specification of its half of delivery allows.

use std::collections::{BTreeMap, BTreeSet};

use askalf_proto::{
    AgentMessage, BridgeError, BridgeMessage, ErrorCode, ExecutionAck, Executor as ExecutorKind, Feature,
    Features, HeldExecution, HeldState, Reason, Registered, TaskCancel, TaskDispatch,
};

use super::{Moment, Socket, secs};

/// What a device that is gone is given before its executions end.
const GRACE: std::time::Duration = secs(150);

/// A session that says nothing for so long is closed.
const SILENCE: std::time::Duration = secs(90);

/// What the bridge wants done.
#[derive(Debug)]
pub(crate) enum Wish {
    Send(Socket, Box<BridgeMessage>),
    Close(Socket, u16),
    /// Look again then: a grace or a silence may be over.
    Wake(Moment),
}

/// An execution's row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) state: RowState,
    pub(crate) had_credentials: bool,
    /// Its device was gone, and this is when that counts.
    pub(crate) grace_over: Option<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowState {
    Pending,
    Running,
    /// The device told how.
    Told,
    /// The bridge ended it by itself.
    Interrupted(Why),
}

/// Why the bridge ended an execution by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The device came back and did not name it.
    NotNamed,
    /// The device did not come back in time.
    GraceOver,
}

#[derive(Debug)]
struct Session {
    socket: Socket,
    features: Option<Features>,
    heard: Moment,
}

/// What survives the bridge's death, and what does not.
#[derive(Debug)]
pub(crate) struct Bridge {
    /// Whether its process runs.
    pub(crate) up: bool,
    /// The generation of the key that it takes.
    pub(crate) generation: u64,
    /// The extensions that it knows.
    pub(crate) features: Features,
    /// Its database does not answer.
    pub(crate) database_down: bool,
    pub(crate) rows: BTreeMap<String, Row>,
    session: Option<Session>,
    /// The newest socket that has registered with this process.
    newest: Option<Socket>,
    /// Sockets that did not register yet.
    newcomers: BTreeSet<Socket>,
    pub(crate) wishes: Vec<Wish>,
}

impl Bridge {
    pub(crate) fn new(features: Features) -> Self {
        Self {
            up: true,
            generation: 1,
            features,
            database_down: false,
            rows: BTreeMap::new(),
            session: None,
            newest: None,
            newcomers: BTreeSet::new(),
            wishes: Vec::new(),
        }
    }

    /// A socket was upgraded, with a key of this generation.
    pub(crate) fn opened(&mut self, socket: Socket, generation: u64) {
        if self.database_down {
            self.send(
                socket,
                error(ErrorCode::InternalError, Some(Reason::Unavailable), Some(2_000)),
            );
            self.close(socket, 1013);
        } else if generation != self.generation {
            let reason = (!self.features.is_empty()).then_some(Reason::Unknown);
            self.send(socket, error(ErrorCode::AuthFailed, reason, None));
            self.close(socket, 4001);
        } else {
            self.newcomers.insert(socket);
        }
    }

    pub(crate) fn closed(&mut self, socket: Socket, now: Moment) {
        self.newcomers.remove(&socket);
        if self
            .session
            .as_ref()
            .is_some_and(|session| session.socket == socket)
        {
            self.session = None;
            self.arm(now);
        }
    }

    pub(crate) fn received(&mut self, socket: Socket, message: AgentMessage, now: Moment) {
        if let Some(session) = self.session.as_mut().filter(|session| session.socket == socket) {
            session.heard = now;
        } else if !self.newcomers.contains(&socket) {
            return;
        }
        match message {
            AgentMessage::Register(register) => {
                self.registered(socket, register.features, &register.executions, now);
            }
            AgentMessage::Reconnect(reconnect) => {
                self.registered(socket, reconnect.features, &reconnect.executions, now);
            }
            _ if self.newcomers.contains(&socket) => {}
            AgentMessage::Accepted(accepted) => match self.rows.get_mut(&accepted.execution_id) {
                Some(row) if row.state == RowState::Pending => row.state = RowState::Running,
                Some(row) if row.state == RowState::Running => {}
                _ => self.cancel(socket, &accepted.execution_id),
            },
            AgentMessage::Complete(complete) => self.told(socket, &complete.execution_id),
            AgentMessage::Failed(failed) => self.told(socket, &failed.execution_id),
            _ => {}
        }
    }

    /// Takes a task in, and sends it; nothing happens where the device is not there. Whether it was taken.
    pub(crate) fn dispatch(&mut self, id: &str, had_credentials: bool) -> bool {
        let Some(session) = self.session.as_ref().filter(|_| self.up && !self.database_down) else {
            return false;
        };
        let socket = session.socket;
        let row = Row {
            state: RowState::Pending,
            had_credentials,
            grace_over: None,
        };
        self.rows.insert(id.to_owned(), row);
        self.send(socket, BridgeMessage::Dispatch(task(id)));
        true
    }

    /// Sends the task of a row again, as a bridge may that did not hear of it.
    pub(crate) fn dispatch_again(&mut self, id: &str) {
        let known = |row: &Row| row.is_open() || row.state == RowState::Told;
        if let Some(session) = &self.session
            && self.rows.get(id).is_some_and(known)
        {
            let socket = session.socket;
            self.send(socket, BridgeMessage::Dispatch(task(id)));
        }
    }

    pub(crate) fn cancel_one(&mut self, id: &str) {
        if let Some(session) = &self.session {
            let socket = session.socket;
            self.cancel(socket, id);
        }
    }

    /// Another machine with the same key takes the device's place.
    pub(crate) fn replaced(&mut self, now: Moment) {
        if let Some(session) = self.session.take() {
            self.close(session.socket, 4003);
            self.arm(now);
        }
    }

    /// The process is killed: rows stay, sessions do not.
    pub(crate) fn killed(&mut self) {
        self.up = false;
        self.session = None;
        self.newest = None;
        self.newcomers.clear();
        self.wishes.clear();
    }

    /// A new process: every open row is given its grace anew.
    pub(crate) fn started(&mut self, now: Moment) {
        self.up = true;
        self.database_down = false;
        self.arm(now);
    }

    /// Looks what is over.
    pub(crate) fn woken(&mut self, now: Moment) {
        if !self.up || self.database_down {
            return;
        }
        if let Some(session) = &self.session {
            let over = session.heard + SILENCE;
            if over <= now {
                let socket = session.socket;
                self.session = None;
                self.close(socket, 4002);
                self.arm(now);
            } else {
                self.wishes.push(Wish::Wake(over));
            }
        }
        let gone = self.session.is_none();
        for row in self.rows.values_mut().filter(|row| row.is_open()) {
            if gone && row.grace_over.is_some_and(|over| over <= now) {
                row.state = RowState::Interrupted(Why::GraceOver);
            }
        }
    }

    pub(crate) fn open_rows(&self) -> impl Iterator<Item = &String> {
        self.rows
            .iter()
            .filter(|(_, row)| row.is_open())
            .map(|(id, _)| id)
    }

    fn registered(&mut self, socket: Socket, theirs: Features, held: &[HeldExecution], now: Moment) {
        if self
            .session
            .as_ref()
            .is_some_and(|session| session.socket == socket)
        {
            return self.send(socket, error(ErrorCode::AlreadyRegistered, None, None));
        }
        self.newcomers.remove(&socket);
        if self.newest > Some(socket) {
            // It comes late: the device has had a newer one since.
            return self.close(socket, 4003);
        }
        self.newest = Some(socket);
        if let Some(before) = self.session.take() {
            self.close(before.socket, 4003);
        }
        let shared = self.features.shared_with(&theirs);
        self.session = Some(Session {
            socket,
            features: Some(shared.clone()),
            heard: now,
        });
        self.wishes.push(Wish::Wake(now + SILENCE));
        self.send(
            socket,
            BridgeMessage::Registered(Registered {
                device_id: "dev_1".to_owned(),
                features: self.features.clone(),
                ..Registered::default()
            }),
        );
        if shared.contains(Feature::Resume) {
            self.take_stock(socket, &shared, held);
        }
    }

    /// Compares what the device holds with what is open here.
    fn take_stock(&mut self, socket: Socket, shared: &Features, held: &[HeldExecution]) {
        let open: Vec<String> = self.open_rows().cloned().collect();
        for id in open {
            let named = held.iter().find(|held| held.execution_id == id);
            let Some(row) = self.rows.get_mut(&id) else {
                continue;
            };
            row.grace_over = None;
            match named.map(|held| held.state) {
                Some(HeldState::Running) => row.state = RowState::Running,
                Some(HeldState::Queued | HeldState::Ended) => {}
                None if row.state == RowState::Pending
                    && !row.had_credentials
                    && shared.contains(Feature::Redelivery) =>
                {
                    self.send(socket, BridgeMessage::Dispatch(task(&id)));
                }
                None => row.state = RowState::Interrupted(Why::NotNamed),
            }
        }
        for held in held.iter().filter(|held| held.state != HeldState::Ended) {
            let ended = self.rows.get(&held.execution_id).is_none_or(|row| !row.is_open());
            if ended {
                self.cancel(socket, &held.execution_id);
            }
        }
    }

    fn told(&mut self, socket: Socket, id: &str) {
        if self.database_down {
            self.send(
                socket,
                error(ErrorCode::InternalError, Some(Reason::Unavailable), Some(2_000)),
            );
            return self.close(socket, 1013);
        }
        if let Some(row) = self.rows.get_mut(id).filter(|row| row.is_open()) {
            row.state = RowState::Told;
        }
        let acknowledges = self
            .session
            .as_ref()
            .and_then(|session| session.features.as_ref())
            .is_some_and(|features| features.contains(Feature::ExecutionAck));
        if acknowledges {
            let execution_id = id.to_owned();
            self.send(socket, BridgeMessage::ExecutionAck(ExecutionAck { execution_id }));
        }
    }

    fn arm(&mut self, now: Moment) {
        for row in self.rows.values_mut().filter(|row| row.is_open()) {
            row.grace_over.get_or_insert(now + GRACE);
        }
        self.wishes.push(Wish::Wake(now + GRACE));
    }

    fn cancel(&mut self, socket: Socket, id: &str) {
        let execution_id = id.to_owned();
        self.send(socket, BridgeMessage::Cancel(TaskCancel { execution_id }));
    }

    fn send(&mut self, socket: Socket, message: BridgeMessage) {
        self.wishes.push(Wish::Send(socket, Box::new(message)));
    }

    fn close(&mut self, socket: Socket, code: u16) {
        self.newcomers.remove(&socket);
        self.wishes.push(Wish::Close(socket, code));
    }
}

impl Row {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, RowState::Pending | RowState::Running)
    }
}

fn error(code: ErrorCode, reason: Option<Reason>, retry_after_ms: Option<u64>) -> BridgeMessage {
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
