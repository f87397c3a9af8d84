//! What the machine wants done.

use std::sync::Arc;

use askalf_proto::{AgentMessage, CloseCode, CredentialRotate, Executor as ExecutorKind};

use super::Moment;
use super::event::SocketId;
use super::scheduler::Job;

/// Something to do, in the order in which it comes.
#[derive(Debug, Clone)]
pub enum Action {
    /// Read the credential; answer with [`Event::CredentialReady`](super::Event::CredentialReady) or
    /// [`Event::CredentialMissing`](super::Event::CredentialMissing).
    LoadCredential,
    /// Ask for the credential's generation; answer with
    /// [`Event::CredentialGeneration`](super::Event::CredentialGeneration).
    PollCredential,
    /// Dial the bridge with the credential that was read last. There is never more than one connection.
    Connect(SocketId),
    /// Send a message; a heartbeat with the device's load as it is then.
    Send(SocketId, Box<AgentMessage>),
    /// Send a result, and say when it is written.
    SendResult {
        /// The connection.
        socket: SocketId,
        /// The execution.
        execution_id: String,
        /// The frame.
        frame: Arc<str>,
    },
    /// Send `device:pong` with the time of day.
    SendPong(SocketId),
    /// Send a WebSocket ping with this number.
    Ping(SocketId, u64),
    /// Close the connection politely, without waiting for it. Nothing that it says is listened to any more.
    Close(SocketId, CloseCode),
    /// Drop the connection: its peer does not answer.
    Abort(SocketId),
    /// Put the acceptance of an execution on record; answer with [`Event::Journalled`](super::Event::Journalled) or
    /// [`Event::NotJournalled`](super::Event::NotJournalled).
    Journal {
        /// The execution.
        execution_id: String,
        /// What is to run it.
        executor: ExecutorKind,
    },
    /// Put a result on record, however long that takes; answer with [`Event::Persisted`](super::Event::Persisted).
    Persist {
        /// The execution.
        execution_id: String,
        /// The frame that reports it.
        frame: Arc<str>,
    },
    /// Keep the result on record apart, for the bridge cannot take it, and put this one in its place, if any; answer
    /// with [`Event::Persisted`](super::Event::Persisted) where there is one.
    Quarantine {
        /// The execution.
        execution_id: String,
        /// The frame that reports it from now on.
        replacement: Option<Arc<str>>,
    },
    /// The bridge has the result: the record may go.
    Forget(String),
    /// Run a task. It ends with [`Event::TaskEnded`](super::Event::TaskEnded), once.
    Start(Box<Job>),
    /// Tell a running task to end.
    Cancel(String),
    /// Look at the device; answer with [`Event::Scanned`](super::Event::Scanned).
    Scan,
    /// Keep the device's id.
    SaveDeviceId(String),
    /// The device's id is worth nothing any more.
    ForgetDeviceId,
    /// Put the offered key beside the present one; answer with
    /// [`Event::CredentialStaged`](super::Event::CredentialStaged).
    StageCredential(Box<CredentialRotate>),
    /// Prove the staged key for this rotation on a connection of its own; answer with
    /// [`Event::CredentialProved`](super::Event::CredentialProved).
    ProveCredential(String),
    /// Put the staged key in the place of the present one; answer with
    /// [`Event::CredentialPromoted`](super::Event::CredentialPromoted).
    PromoteCredential,
    /// The staged key is not used any more; answer with
    /// [`Event::StagedCredentialDropped`](super::Event::StagedCredentialDropped).
    DropStagedCredential {
        /// Leave its file: a later process may try it again.
        keep_file: bool,
    },
    /// It is over: nothing more will come.
    Finish,
}

/// When the machine wants to be called again, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    /// When.
    pub at: Moment,
    /// Why.
    pub reason: TimerReason,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimerReason {
    /// Give up a dial that says nothing.
    DialOverdue,
    /// Register again, or give up.
    RegistrationOverdue,
    /// The bridge was silent for two heartbeats.
    PeerSilent,
    /// Beat.
    Heartbeat,
    /// A result was not acknowledged in time.
    AcknowledgementOverdue,
    /// A peer that acknowledges nothing has had a result for long enough.
    ResultSettled,
    /// Tell the newest head of the audit log.
    AuditHead,
    /// Dial again.
    Retry,
    /// Look for a new credential.
    CredentialPoll,
    /// Go on with a rotation of the key.
    Rotation,
    /// A stop has waited long enough.
    StopOverdue,
}
