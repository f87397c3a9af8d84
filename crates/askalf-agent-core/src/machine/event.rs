//! What the machine is told.

use std::time::Duration;

use askalf_proto::{AuditHead, BridgeMessage};

use super::StateReason;
use super::fault::{Fault, Oddity};
use crate::journal::Held;
use crate::{NoCredential, OutputChunk, RotationFault, Scan, TaskEnd};

/// A connection of this process, from its dial on. Numbers are never used again, so news of a connection that the
/// machine has given up are known as such and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub(crate) u64);

/// Something happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// What an earlier process left on record. It comes before [`Event::Start`], or not at all.
    Restored(Box<Held>),
    /// The process starts. `device_id` is the one of an earlier process, if it was kept.
    Start {
        /// The kept id.
        device_id: Option<String>,
    },
    /// A credential was read, is fit for a header, and its URL is good.
    CredentialReady {
        /// Its generation.
        generation: u64,
    },
    /// The same, and it is the one that the connection of the moment was dialled by: only what does not concern the connection was
    /// changed beside it.
    CredentialUnchanged {
        /// Its generation.
        generation: u64,
    },
    /// The same of a staged key, which a rotation of the key has left: it is presented before the present one.
    StagedCredentialReady {
        /// The generation of the present one.
        generation: u64,
    },
    /// The offered key is beside the present one, or could not be put there.
    CredentialStaged {
        /// The rotation.
        rotation_id: String,
        /// Whether it is.
        staged: Result<(), RotationFault>,
    },
    /// What came of the connection with the staged key.
    CredentialProved {
        /// The rotation.
        rotation_id: String,
        /// What came of it.
        proof: Proof,
    },
    /// The staged key is in the place of the present one, or could not be put there.
    CredentialPromoted(Result<(), RotationFault>),
    /// The staged key is not presented any more.
    StagedCredentialDropped,
    /// There is no credential that could be used.
    CredentialMissing(NoCredential),
    /// The answer to [`Action::PollCredential`](super::Action::PollCredential).
    CredentialGeneration(u64),
    /// A connection was dialled and upgraded. Nothing is proved by it.
    Opened(SocketId),
    /// A message came.
    Received(SocketId, Box<BridgeMessage>),
    /// A frame came that is no message.
    Odd(SocketId, Oddity),
    /// A WebSocket pong with the number of a ping of ours.
    Ponged(SocketId, u64),
    /// Something else came that shows life: a WebSocket ping, a foreign pong.
    Heard(SocketId),
    /// The result was written to the socket and flushed.
    Written(SocketId, String),
    /// The connection did not come about, or it is gone.
    Ended(SocketId, Fault),
    /// The acceptance of the execution is on record.
    Journalled(String),
    /// The acceptance of the execution could not be put on record, and will not be.
    NotJournalled(String),
    /// Nothing can be put on record at the moment, or nobody knows what is.
    JournalFailed(StateReason),
    /// Records can be kept again.
    JournalWorks,
    /// The result of the execution is on record.
    Persisted(String),
    /// The device was looked at, because [`Action::Scan`](super::Action::Scan) wanted it or unasked. `None` where that failed:
    /// what was known stands.
    Scanned(Option<Box<Scan>>),
    /// A running task wrote something.
    Output(OutputChunk),
    /// A running task has ended.
    TaskEnded {
        /// The execution.
        execution_id: String,
        /// How.
        end: TaskEnd,
    },
    /// The audit log has a new head.
    AuditHead(AuditHead),
    /// The device was set up otherwise.
    Reconfigured {
        /// Its name.
        name: Option<String>,
        /// Most executions at once; at least 1.
        max_concurrent: u32,
        /// Longest run of a task that names none.
        default_timeout: Duration,
    },
    /// Somebody wants something of the agent.
    Command(Command),
}

/// What a bridge made of a staged key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// It is the device's key from now on.
    Committed,
    /// It lets nobody in, for certain.
    Refused {
        /// Why, for a person.
        problem: String,
    },
    /// Nothing is known: the bridge was not reached, or could not say.
    Undecided {
        /// Why, for a person.
        problem: String,
    },
}

/// What a person, or the system, may ask of a running agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// End what runs, report it, leave. A second one does not wait for anything.
    Stop,
    /// Take no new tasks, finish what there is, report it, leave.
    Drain,
    /// The credential may have changed: look at once.
    CredentialChanged,
}
