//! Tasks in, results out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use askalf_proto::{
    AgentMessage, Cause, DecodeError, ExecutionAccepted, ExecutionProgress, ExecutionQueued,
    Executor as ExecutorKind, Feature, TaskDispatch, one_line,
};
use tracing::{info, warn};

use super::action::Action;
use super::event::SocketId;
use super::phase::Phase;
use super::scheduler::{Cancelled, CancelledBy, Job, Known, QueueFull};
use super::{Jitter, Machine, Moment, result};
use crate::{OutputChunk, Task, TaskEnd};

/// Shortest time-out that a task may be given.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest time-out that a task may be given.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

impl<J: Jitter> Machine<J> {
    pub(crate) fn dispatched(&mut self, dispatch: TaskDispatch) {
        let execution_id = dispatch.execution_id.clone();
        if self.repeated(&execution_id) {
            return;
        }
        match self.job(dispatch) {
            Ok(job) => self.admit(job),
            Err(refusal) => self.refuse(&execution_id, &refusal),
        }
    }

    /// A frame that should have been a dispatch still has somebody waiting for its end.
    pub(crate) fn undecodable(&mut self, error: DecodeError) {
        let DecodeError::InvalidPayload {
            kind,
            detail,
            execution_id: Some(execution_id),
        } = error
        else {
            return;
        };
        if kind == "task:dispatch" && !self.repeated(&execution_id) {
            self.refuse(&execution_id, &format!("the task cannot be read: {detail}"));
        }
    }

    pub(crate) fn cancelled(&mut self, execution_id: &str) {
        self.cancel(execution_id, CancelledBy::Bridge);
    }

    pub(crate) fn cancel(&mut self, execution_id: &str, by: CancelledBy) {
        match self.scheduler.cancel(execution_id, by) {
            Cancelled::Waiting(job) => {
                let (cause, error) = match by {
                    CancelledBy::Bridge => (Cause::Cancelled, "cancelled before it started"),
                    CancelledBy::Stop => (
                        Cause::Interrupted,
                        "the agent was stopped before the task started",
                    ),
                };
                let frame = result::of_not_run(&job.task.execution_id, cause, error);
                self.conclude(execution_id, frame);
            }
            Cancelled::Running => self.act(Action::Cancel(execution_id.to_owned())),
            Cancelled::Nothing => {
                info!(
                    "nothing to cancel: execution {} does not run here",
                    one_line(execution_id)
                );
            }
        }
    }

    pub(crate) fn journalled(&mut self, execution_id: &str) {
        self.scheduler.journalled(execution_id);
        self.start_waiting();
        if let Some(position) = self.scheduler.position(execution_id) {
            self.say_queued(execution_id, position);
        }
    }

    pub(crate) fn start_waiting(&mut self) {
        while let Some(job) = self.scheduler.start_next() {
            self.say_accepted(&job.task.execution_id, Some(job.executor.clone()));
            self.act(Action::Start(Box::new(job)));
        }
    }

    /// Output is worth something only while somebody can watch: the result carries it in any case.
    pub(crate) fn output(&mut self, chunk: OutputChunk) {
        if matches!(self.scheduler.known(&chunk.execution_id), Some(Known::Running)) {
            let progress = ExecutionProgress::output(chunk.execution_id, chunk.stream, chunk.text);
            self.send_online(AgentMessage::Progress(progress));
        }
    }

    pub(crate) fn task_ended(&mut self, execution_id: &str, mut end: TaskEnd) {
        let Some(run) = self.scheduler.end(execution_id) else {
            warn!("execution {} ended, but does not run", one_line(execution_id));
            return;
        };
        if run.cancelled == Some(CancelledBy::Stop) && end.cause == Some(Cause::Cancelled) {
            end.cause = Some(Cause::Interrupted);
            end.error = Some("the agent was stopped".to_owned());
        }
        let frame = result::of_end(execution_id, run.executor, end);
        self.conclude(execution_id, frame);
    }

    pub(crate) fn acknowledged(&mut self, execution_id: &str) {
        if self.outbox.forget(execution_id) {
            self.act(Action::Forget(execution_id.to_owned()));
        }
    }

    /// An old forge acknowledges nothing: a ping follows, whose pong shows that the result was read at least.
    pub(crate) fn written(&mut self, socket: SocketId, execution_id: &str, now: Moment) {
        let Phase::Online(session) = &mut self.phase else {
            return;
        };
        if session.socket != socket {
            return;
        }
        if session.features.contains(Feature::ExecutionAck) {
            let wait = self.config.timings.acknowledgement;
            self.outbox.written(execution_id, now, wait);
        } else {
            let number = session.next_ping();
            if self.outbox.pinged(execution_id, number) {
                self.act(Action::Ping(socket, number));
            }
        }
    }

    pub(crate) fn send_results(&mut self) {
        let Phase::Online(session) = &self.phase else {
            return;
        };
        let socket = session.socket;
        // The last chance of what no record can be made of. Such a bridge keeps the first end that it is told.
        let unpersisted = self.is_stopping()
            && self.journal_fault.is_some()
            && session.features.contains(Feature::ExecutionAck);
        while let Some((execution_id, frame)) = self.outbox.send_next(unpersisted) {
            self.act(Action::SendResult {
                socket,
                execution_id,
                frame,
            });
        }
    }

    /// Whether the execution was dispatched before; it is answered by how far it is, and never runs again.
    fn repeated(&mut self, execution_id: &str) -> bool {
        if self.outbox.send_again(execution_id) {
            info!(
                "execution {} was dispatched again: it has ended, its result follows",
                one_line(execution_id)
            );
            return true;
        }
        let Some(known) = self.scheduler.known(execution_id) else {
            return false;
        };
        match known {
            Known::Waiting(position) => self.say_queued(execution_id, position),
            Known::Running => self.say_accepted(execution_id, self.scheduler.executor(execution_id)),
            Known::Ended => self.say_ended_before(execution_id),
        }
        true
    }

    /// The bridge asks for an execution whose end it was told. One that may ask so keeps the first end that it recorded;
    /// should it have lost that, it must not wait for ever.
    fn say_ended_before(&mut self, execution_id: &str) {
        warn!(
            "execution {} was dispatched again after its end: it does not run again",
            one_line(execution_id)
        );
        if let Phase::Online(session) = &self.phase
            && session.features.contains(Feature::Redelivery)
        {
            let why = "the task ended on this device before; its result is no longer kept";
            let frame = result::of_not_run(execution_id, Cause::Interrupted, why);
            let socket = session.socket;
            self.send_unrecorded(socket, execution_id, frame);
        }
    }

    fn job(&mut self, dispatch: TaskDispatch) -> Result<Job, String> {
        let held = self.scheduler.running() + self.scheduler.waiting();
        let gone = self.outbox.make_room_for(held + 1);
        self.forget_all(gone);
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let requested = dispatch.requested_executor();
        let Some(input) = dispatch.input else {
            return Err("the task has no input: there is nothing to run".to_owned());
        };
        let executor = self.executor(&requested).ok_or_else(|| match requested {
            ExecutorKind::Auto => {
                "this device has no executor for a prompt: neither claude nor codex is installed. Name the \
                                   executor 'shell' where the input is a command"
                    .to_owned()
            }
            _ => format!("this device has no executor '{}'", one_line(requested.as_str())),
        })?;
        let timeout = dispatch
            .timeout_ms
            .map_or(self.config.default_timeout, Duration::from_millis);
        Ok(Job {
            task: Task {
                execution_id: dispatch.execution_id,
                agent_id: dispatch.agent_id,
                agent_name: dispatch.agent_name,
                input,
                named_command: None,
                timeout: timeout.clamp(MIN_TIMEOUT, MAX_TIMEOUT),
                working_directory: dispatch.working_directory.map(PathBuf::from),
                credentials: dispatch.credentials,
                max_turns: dispatch.max_turns,
                max_budget: dispatch.max_budget,
            },
            executor,
        })
    }

    /// Why nothing at all is taken at the moment.
    pub(crate) fn refusal(&self) -> Option<String> {
        if self.ending.is_some() {
            return Some("the device takes no new tasks: its agent is about to end".to_owned());
        }
        if let Some(fault) = &self.journal_fault {
            return Some(format!("the device takes no new tasks: {}", fault.text));
        }
        let held = self.scheduler.running() + self.scheduler.waiting();
        if !self.outbox.has_room_for(held + 1) {
            return Some("the device holds too many results that the bridge has not taken yet".to_owned());
        }
        None
    }

    /// Who leaves the choice to the device sends a prompt: it must never reach a shell, which would run it as a command.
    fn executor(&self, requested: &ExecutorKind) -> Option<ExecutorKind> {
        let serves = |kind: &&ExecutorKind| match requested {
            ExecutorKind::Auto => matches!(kind, ExecutorKind::Claude | ExecutorKind::Codex),
            named => *kind == named,
        };
        self.config.executors.iter().find(serves).cloned()
    }

    fn admit(&mut self, job: Job) {
        let (execution_id, executor) = (job.task.execution_id.clone(), job.executor.clone());
        match self.scheduler.admit(job) {
            Ok(()) => self.act(Action::Journal {
                execution_id,
                executor,
            }),
            Err(QueueFull) => {
                self.refuse(&execution_id, "the device's queue is full");
            }
        }
    }

    fn refuse(&mut self, execution_id: &str, why: &str) {
        let held = self.scheduler.running() + self.scheduler.waiting();
        if self.journal_fault.is_some() || !self.outbox.has_room_for(held + 1) {
            return self.refuse_unrecorded(execution_id, why);
        }
        info!("execution {} refused: {why}", one_line(execution_id));
        let frame = result::of_not_run(execution_id, Cause::Refused, why);
        self.conclude(execution_id, frame);
    }

    /// There is no place to keep the refusal without taking one from a result, or no journal to keep it in. Where it is
    /// lost, the bridge learns from the next registration that the device does not hold the execution.
    pub(crate) fn refuse_unrecorded(&mut self, execution_id: &str, why: &str) {
        info!("execution {} refused: {why}", one_line(execution_id));
        if let Phase::Online(session) = &self.phase {
            let socket = session.socket;
            self.scheduler.remember_ended(execution_id);
            let frame = result::of_not_run(execution_id, Cause::Refused, why);
            self.send_unrecorded(socket, execution_id, frame);
        }
    }

    fn send_unrecorded(&mut self, socket: SocketId, execution_id: &str, frame: Arc<str>) {
        self.act(Action::SendResult {
            socket,
            execution_id: execution_id.to_owned(),
            frame,
        });
    }

    /// The execution has ended, once and for all.
    pub(crate) fn conclude(&mut self, execution_id: &str, frame: Arc<str>) {
        self.scheduler.remember_ended(execution_id);
        self.outbox.push(execution_id.to_owned(), Arc::clone(&frame));
        self.act(Action::Persist {
            execution_id: execution_id.to_owned(),
            frame,
        });
    }

    fn say_queued(&mut self, execution_id: &str, position: u32) {
        self.send_online(AgentMessage::Queued(ExecutionQueued {
            execution_id: execution_id.to_owned(),
            position,
        }));
    }

    fn say_accepted(&mut self, execution_id: &str, executor: Option<ExecutorKind>) {
        if self.is_online() {
            self.scheduler.was_told(execution_id);
        }
        self.send_online(AgentMessage::Accepted(ExecutionAccepted {
            execution_id: execution_id.to_owned(),
            executor,
        }));
    }

    /// Tells of what started after the registration was written and before it was answered.
    pub(crate) fn say_untold(&mut self) {
        for (execution_id, executor) in self.scheduler.untold() {
            self.say_accepted(&execution_id, Some(executor));
        }
    }

    pub(crate) fn send_online(&mut self, message: AgentMessage) {
        if let Phase::Online(session) = &self.phase {
            let socket = session.socket;
            self.send(socket, message);
        }
    }
}
