//! The connection as a state machine without input and output: events and the time go in, actions come out.
//!
//! It knows no socket, no clock, no file and no chance of its own, so that a test can drive it through a year of
//! faults in a second, and the same code runs behind the real socket.

mod action;
mod audit_anchor;
mod backoff;
mod connection;
mod credential;
mod disposition;
mod event;
mod executions;
mod fault;
mod journal;
mod lifecycle;
mod moment;
mod outbox;
mod phase;
mod reconfigure;
mod result;
mod rotation;
mod scheduler;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod timers;

pub use action::{Action, Timer, TimerReason};
pub use backoff::Jitter;
pub(crate) use disposition::{COMES_BACK, PAIR};
pub use disposition::{Disposition, Recheck, Verdict};
pub use event::{Command, Event, Proof, SocketId};
pub use fault::{BadFrame, CertificateProblem, Fault, Oddity, Wait};
pub use moment::Moment;
pub use scheduler::Job;
pub use state::{Condition, State, StateReason};

use std::collections::VecDeque;
use std::time::Duration;

use askalf_proto::{AgentMessage, Executor as ExecutorKind, Feature, Features, MAX_HELD_EXECUTIONS};

use crate::{DeviceFacts, Timings};
use audit_anchor::AuditAnchor;
use backoff::Backoff;
use credential::Credential;
use lifecycle::Ending;
use outbox::Outbox;
use phase::Phase;
use rotation::Rotation;
use scheduler::Scheduler;

/// What a [`Machine`] is made of.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    /// What the device says about itself.
    pub facts: DeviceFacts,
    /// The executors that it has, the preferred one first. Among those that take prompts it serves a task that leaves the choice
    /// to the device.
    pub executors: Vec<ExecutorKind>,
    /// Most executions at once; at least 1.
    pub max_concurrent: u32,
    /// Most executions that wait for a place.
    pub queue_limit: usize,
    /// Longest run of a task that names none.
    pub default_timeout: Duration,
    /// Most results held; beyond it new tasks are refused. At most [`MAX_HELD_EXECUTIONS`].
    pub outbox_entries: usize,
    /// Bytes of held results, in memory and in the journal alike, beyond which new tasks are refused.
    pub outbox_bytes: usize,
    /// The extensions that the device announces.
    pub features: Features,
    /// How long to wait for what.
    pub timings: Timings,
}

impl MachineConfig {
    /// A configuration with the documented defaults: 2 executions at once, 64 waiting, 10 minutes for a task, and
    /// an outbox of 512 results and 32 MiB.
    pub fn new(facts: DeviceFacts, executors: Vec<ExecutorKind>) -> Self {
        Self {
            facts,
            executors,
            max_concurrent: 2,
            queue_limit: 64,
            default_timeout: Duration::from_secs(10 * 60),
            outbox_entries: MAX_HELD_EXECUTIONS,
            outbox_bytes: 32 * 1024 * 1024,
            features: Features::from_iter([
                Feature::ExecutionAck,
                Feature::Resume,
                Feature::Redelivery,
                Feature::Rotation,
            ]),
            timings: Timings::default(),
        }
    }
}

/// The agent's connection and its executions.
///
/// ```
/// use std::time::Duration;
/// use askalf_agent_core::DeviceFacts;
/// use askalf_agent_core::machine::{Action, Event, Jitter, Machine, MachineConfig, Moment, State};
///
/// struct Half;
/// impl Jitter for Half {
///     fn below(&mut self, bound: Duration) -> Duration {
///         bound / 2
///     }
/// }
///
/// let now = Moment::default();
/// let mut machine = Machine::new(MachineConfig::new(DeviceFacts::default(), Vec::new()), Half, now);
/// machine.handle(Event::Start { device_id: None }, now);
/// assert!(matches!(machine.next_action(), Some(Action::LoadCredential)));
///
/// machine.handle(Event::CredentialReady { generation: 1 }, now);
/// let Some(Action::Connect(socket)) = machine.next_action() else { panic!("it dials") };
///
/// // An open socket is not an accepted device.
/// machine.handle(Event::Opened(socket), now);
/// assert_eq!(machine.condition().state, State::Authenticating);
/// ```
#[derive(Debug)]
pub struct Machine<J> {
    config: MachineConfig,
    jitter: J,
    actions: VecDeque<Action>,
    condition: Condition,
    /// The state of the connection alone, and why.
    connection: (State, StateReason),
    phase: Phase,
    last_socket: u64,
    credential: Credential,
    backoff: Backoff,
    /// The refusal that stands until the bridge registers the device or there is a new credential.
    blocked: Option<Blocked>,
    /// An old forge has refused the key without a reason, and the one more try has not succeeded yet.
    refused_unexplained: bool,
    replaced_at: Option<Moment>,
    device_id: Option<String>,
    /// The connection on which the bridge waits for the answer to a scan that is under way.
    scan_for: Option<SocketId>,
    /// This process was registered with this credential, so the bridge has its facts.
    facts_told: bool,
    /// What the bridge knows of the device is not what the device is set up as by now.
    retell: bool,
    ending: Option<Ending>,
    /// What an earlier process left is known, and the first dial is under way or behind.
    started: bool,
    /// Why nothing can be put on record at the moment.
    journal_fault: Option<StateReason>,
    scheduler: Scheduler,
    outbox: Outbox,
    audit_anchor: AuditAnchor,
    rotation: Rotation,
}

#[derive(Debug)]
struct Blocked {
    reason: StateReason,
    recheck: Recheck,
}

impl<J: Jitter> Machine<J> {
    /// A machine that does nothing before [`Event::Start`].
    pub fn new(mut config: MachineConfig, jitter: J, now: Moment) -> Self {
        config.max_concurrent = config.max_concurrent.max(1);
        config.outbox_entries = config.outbox_entries.min(MAX_HELD_EXECUTIONS);
        let limit = usize::try_from(config.max_concurrent).unwrap_or(usize::MAX);
        let starting = StateReason::plain("starting", "the agent starts");
        Self {
            scheduler: Scheduler::new(limit, config.queue_limit),
            outbox: Outbox::new(config.outbox_entries, config.outbox_bytes),
            config,
            jitter,
            actions: VecDeque::new(),
            condition: Condition {
                state: State::Connecting,
                reason: starting.clone(),
                since: now,
            },
            connection: (State::Connecting, starting),
            phase: Phase::Idle,
            last_socket: 0,
            credential: Credential::default(),
            backoff: Backoff::default(),
            blocked: None,
            refused_unexplained: false,
            replaced_at: None,
            device_id: None,
            scan_for: None,
            facts_told: false,
            retell: false,
            ending: None,
            started: false,
            journal_fault: None,
            audit_anchor: AuditAnchor::default(),
            rotation: Rotation::default(),
        }
    }

    /// Takes in what happened. Afterwards [`Machine::next_action`] yields what to do.
    pub fn handle(&mut self, event: Event, now: Moment) {
        if matches!(self.phase, Phase::Stopped) {
            return;
        }
        match event {
            Event::Restored(held) => self.restored(*held),
            Event::Start { device_id } => {
                self.started = true;
                self.device_id = device_id;
                self.load_credential();
            }
            Event::CredentialReady { generation } => self.credential_ready(generation, false, now),
            Event::CredentialUnchanged { generation } => self.credential_unchanged(generation, now),
            Event::StagedCredentialReady { generation } => self.credential_ready(generation, true, now),
            Event::CredentialStaged { rotation_id, staged } => self.credential_staged(rotation_id, staged),
            Event::CredentialProved { rotation_id, proof } => {
                self.credential_proved(&rotation_id, proof, now);
            }
            Event::CredentialPromoted(promoted) => self.credential_promoted(promoted, now),
            Event::StagedCredentialDropped => self.staged_credential_dropped(),
            Event::CredentialMissing(missing) => self.credential_missing(missing, now),
            Event::CredentialGeneration(generation) => self.credential_generation(generation, now),
            Event::Opened(socket) => self.opened(socket, now),
            Event::Received(socket, message) => self.received(socket, *message, now),
            Event::Odd(socket, oddity) => self.odd(socket, oddity, now),
            Event::Ponged(socket, number) => self.ponged(socket, number, now),
            Event::Heard(socket) => _ = self.heard(socket, now),
            Event::Written(socket, execution_id) => self.written(socket, &execution_id, now),
            Event::Ended(socket, fault) => self.ended(socket, fault, now),
            Event::Journalled(execution_id) => self.journalled(&execution_id),
            Event::NotJournalled(execution_id) => self.not_journalled(&execution_id),
            Event::JournalFailed(fault) => self.journal_failed(fault, now),
            Event::JournalWorks => self.journal_works(now),
            Event::Persisted(execution_id) => self.outbox.persisted(&execution_id),
            Event::Scanned(scan) => self.scanned(scan),
            Event::Output(chunk) => self.output(chunk),
            Event::TaskEnded { execution_id, end } => self.task_ended(&execution_id, end),
            Event::AuditHead(head) => self.audit_anchor.know(head),
            Event::Reconfigured {
                name,
                max_concurrent,
                default_timeout,
            } => self.reconfigure(name, max_concurrent, default_timeout),
            Event::Command(command) => self.command(command, now),
        }
        self.settle(now);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some(timer) = self.next_timer()
            && timer.at <= now
        {
            self.fire(timer.reason, now);
            self.settle(now);
        }
    }

    /// The next thing to do.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The agent's state.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// The id that the bridge gave the device, as far as it is known.
    pub fn device_id(&self) -> Option<&str> {
        self.device_id.as_deref()
    }

    /// Executions that run.
    pub fn running(&self) -> usize {
        self.scheduler.running()
    }

    /// Executions that wait for a place.
    pub fn queued(&self) -> usize {
        self.scheduler.waiting()
    }

    /// Results that the bridge has not acknowledged yet.
    pub fn unacknowledged(&self) -> usize {
        self.outbox.unacknowledged().count()
    }

    /// Bytes of their frames.
    pub fn unacknowledged_bytes(&self) -> usize {
        self.outbox.unacknowledged().map(str::len).sum()
    }

    /// Time between the last ping and its pong on this connection.
    pub fn round_trip(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Online(session) => session.round_trip,
            Phase::Idle
            | Phase::NoCredential
            | Phase::Dialing { .. }
            | Phase::Registering(_)
            | Phase::Waiting { .. }
            | Phase::Stopped => None,
        }
    }

    /// What follows from any change: free places are taken, results go out, an end is noticed.
    fn settle(&mut self, now: Moment) {
        self.start_waiting();
        self.tell_anew(now);
        self.send_results();
        self.send_audit_head(now);
        self.check_end(now);
    }

    /// The connection is in this state now.
    fn show(&mut self, state: State, reason: StateReason, now: Moment) {
        self.connection = (state, reason);
        self.refresh(now);
    }

    /// Shows the connection's state, unless something stronger must be shown: the agent is about to end, its key stands
    /// refused, or nothing can be put on record.
    fn refresh(&mut self, now: Moment) {
        let (state, reason) = self.connection.clone();
        let (state, reason) = match &self.blocked {
            Some(blocked) if !matches!(state, State::Online | State::Stopped) => {
                (State::RepairRequired, blocked.reason.clone())
            }
            _ => (state, reason),
        };
        let (state, reason) = match (&self.ending, &self.journal_fault) {
            (_, _) if state == State::Stopped => (state, reason),
            (Some(ending), _) => (State::Draining, ending.reason(&reason)),
            (None, Some(fault)) if state == State::Online || !self.started => {
                (State::LocalFault, fault.clone())
            }
            (None, _) => (state, reason),
        };
        let since = if state == self.condition.state {
            self.condition.since
        } else {
            now
        };
        self.condition = Condition { state, reason, since };
    }

    fn send(&mut self, socket: SocketId, message: AgentMessage) {
        self.act(Action::Send(socket, Box::new(message)));
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }
}
