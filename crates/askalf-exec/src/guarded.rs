//! The gate in front of every executor: policy, approval, audit.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use askalf_agent_core::{
    ApprovalQueue, CancelSignal, Executor, PendingApproval, Task, TaskEnd, TaskOutput, Verdict,
};
use askalf_proto::{Cause, Executor as ExecutorKind, one_line};
use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::audit::{AuditError, AuditLog, AuditRecord, Details, Event};
use crate::ending::end_without_command;
use crate::policy::{AuditMode, Decision, Effect, Policy, PolicyError, PolicyFile, TaskFacts};

/// Most tasks that are judged at once: as many as a device may run at once. Each holds a thread for as long as a disk lets it
/// wait, and other work needs some too.
const MAX_JUDGED: usize = 64;

/// What a guard is made of.
#[derive(Debug)]
pub struct GuardOptions {
    /// The rules, looked at before each task.
    pub policy: PolicyFile,
    /// Where tasks wait whose rule asks.
    pub approvals: ApprovalQueue,
    /// Where decisions, starts and ends are recorded.
    pub audit: AuditLog,
    /// Folder of a task that names none; absolute. That of the executors.
    pub working_directory: PathBuf,
    /// The wall clock, in milliseconds since the Unix epoch.
    pub unix_ms: fn() -> u64,
}

/// What stands between the bridge and all executors of a device.
#[derive(Debug)]
pub struct Guard {
    options: GuardOptions,
    judging: Arc<Semaphore>,
    /// The log failed the last time: it was told.
    audit_fails: AtomicBool,
}

impl Guard {
    /// A guard for any number of executors.
    pub fn new(options: GuardOptions) -> Arc<Self> {
        Arc::new(Self {
            options,
            judging: Arc::new(Semaphore::new(MAX_JUDGED)),
            audit_fails: AtomicBool::new(false),
        })
    }

    /// This executor behind the guard.
    pub fn around(self: &Arc<Self>, inner: Arc<dyn Executor>) -> Arc<dyn Executor> {
        Arc::new(Guarded {
            inner,
            guard: Arc::clone(self),
        })
    }
}

/// An executor that runs only what the device's policy lets it, and records it.
///
/// The policy is read when the task's turn has come, so that a change counts from the next task on. While it waits for an approval
/// a task holds its place among those that run. A refusal ends with [`Cause::Refused`] and says which rule it was.
pub struct Guarded {
    inner: Arc<dyn Executor>,
    guard: Arc<Guard>,
}

#[async_trait]
impl Executor for Guarded {
    fn kind(&self) -> ExecutorKind {
        self.inner.kind()
    }

    fn is_installed(&self) -> bool {
        self.inner.is_installed()
    }

    async fn run(&self, task: Task, output: TaskOutput, cancel: CancelSignal) -> TaskEnd {
        let began = Instant::now();
        let executor = self.inner.kind().as_str().to_owned();
        match self.guard.admit(task, executor, cancel.clone()).await {
            Ok(admitted) => self.guard.run(&*self.inner, admitted, output, cancel).await,
            Err(kept_out) => end_without_command(kept_out.cause, Some(kept_out.error), began.elapsed()),
        }
    }
}

/// A task that may run.
struct Admitted {
    task: Task,
    traits: Traits,
    audit: AuditMode,
}

/// A task that may not.
struct KeptOut {
    cause: Cause,
    error: String,
}

impl KeptOut {
    fn refused(error: impl Into<String>) -> Self {
        Self {
            cause: Cause::Refused,
            error: error.into(),
        }
    }
}

/// What every record of a task says.
struct Traits {
    execution: String,
    executor: String,
    agent: Option<String>,
    input_bytes: usize,
}

impl Traits {
    fn record(&self, event: Event) -> AuditRecord {
        AuditRecord {
            executor: Some(self.executor.clone()),
            agent: self.agent.clone(),
            ..AuditRecord::new(event, &self.execution)
        }
    }
}

/// What was found out about a task on a thread that may block.
struct Judged {
    task: Task,
    policy: Result<Arc<Policy>, PolicyError>,
    decision: Option<(Decision, Option<PathBuf>)>,
}

/// A disk that hangs, such as that of a server which is gone, must not hold a task for ever.
fn without_an_answer(within: Duration) -> KeptOut {
    KeptOut {
        cause: Cause::Timeout,
        error: format!(
            "the device could not look at the task's folder and at its policy within {} s: one of its disks hangs",
            within.as_secs()
        ),
    }
}

impl Guard {
    async fn admit(
        self: &Arc<Self>,
        task: Task,
        executor: String,
        mut cancel: CancelSignal,
    ) -> Result<Admitted, KeptOut> {
        let traits = Traits {
            execution: task.execution_id.clone(),
            agent: task.agent_name.clone().or_else(|| task.agent_id.clone()),
            input_bytes: task.input.len(),
            executor,
        };
        let within = task.timeout;
        let judged = tokio::select! {
            biased;
            () = cancel.cancelled() => {
                let error = "cancelled before it started".to_owned();
                return Err(KeptOut { cause: Cause::Cancelled, error });
            }
            judged = timeout(within, self.judge(task, traits.executor.clone())) => match judged {
                Ok(judged) => judged?,
                Err(_) => return Err(without_an_answer(within)),
            },
        };
        let mut task = judged.task;
        let (policy, (decision, folder)) = match (judged.policy, judged.decision) {
            (Ok(policy), Some(decided)) => (policy, decided),
            (Ok(_), None) => return Err(KeptOut::refused("the device's policy did not decide")),
            (Err(error), _) => return Err(self.without_policy(&traits, &task, &error).await),
        };
        let audit = policy.audit();
        let folder_shown = folder
            .as_ref()
            .map(|folder| folder.to_string_lossy().into_owned());
        let details = Details::of_task(&task.input, folder_shown.clone());
        let event = match decision.effect {
            Effect::Allow => Event::Allowed,
            Effect::Ask => Event::Asked,
            Effect::Deny => Event::Denied,
        };
        let record = AuditRecord {
            rule: Some(decision.rule.clone()),
            input_bytes: u64::try_from(traits.input_bytes).ok(),
            ..traits.record(event)
        };
        self.must_record(audit, record, Some(details)).await?;
        match decision.effect {
            Effect::Deny => {
                tracing::info!(
                    "execution {} refused by the policy: {}",
                    one_line(&traits.execution),
                    decision.rule_shown()
                );
                return Err(KeptOut::refused(decision.refusal()));
            }
            Effect::Ask => {
                let shown = self.shown(&traits, &task, &decision, folder_shown, policy.approval_timeout());
                self.await_approval(&traits, audit, shown, policy.approval_timeout(), cancel)
                    .await?;
            }
            Effect::Allow => {}
        }
        if let Some(most) = policy.max_timeout() {
            task.timeout = task.timeout.min(most);
        }
        // What was decided on is what it runs in, even if a link in the way there is turned meanwhile. Paths that Windows makes of
        // links are not understood by every shell.
        if cfg!(unix) && folder.is_some() {
            task.working_directory = folder;
        }
        task.named_command = decision.command;
        Ok(Admitted { task, traits, audit })
    }

    async fn judge(self: &Arc<Self>, task: Task, executor: String) -> Result<Judged, KeptOut> {
        let guard = Arc::clone(self);
        let place = Arc::clone(&self.judging).acquire_owned().await;
        tokio::task::spawn_blocking(move || {
            let _place = place;
            let policy = guard.options.policy.current();
            let decision = policy.as_ref().ok().map(|policy| {
                let facts = TaskFacts {
                    executor: &executor,
                    agent_id: task.agent_id.as_deref(),
                    agent_name: task.agent_name.as_deref(),
                    folder: None,
                    input: &task.input,
                };
                policy.decide_here(
                    &facts,
                    &guard.options.working_directory,
                    task.working_directory.as_deref(),
                )
            });
            Judged {
                task,
                policy,
                decision,
            }
        })
        .await
        .map_err(|_| KeptOut {
            cause: Cause::Interrupted,
            error: "the agent was stopped before the task started".to_owned(),
        })
    }

    async fn without_policy(&self, traits: &Traits, task: &Task, error: &PolicyError) -> KeptOut {
        tracing::warn!("no task runs: {error}. {}", error.hint());
        let record = AuditRecord {
            rule: Some(error.id().to_owned()),
            ..traits.record(Event::Denied)
        };
        let details = Details::of_task(&task.input, None);
        self.record(AuditMode::On, record, Some(details)).await;
        KeptOut::refused(format!(
            "the device refuses every task, as it cannot go by its policy: {error}. {}",
            error.hint()
        ))
    }

    fn shown(
        &self,
        traits: &Traits,
        task: &Task,
        decision: &Decision,
        folder: Option<String>,
        patience: Duration,
    ) -> PendingApproval {
        let wait = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        PendingApproval {
            execution: traits.execution.clone(),
            rule: decision.rule.clone(),
            executor: traits.executor.clone(),
            agent: traits.agent.clone(),
            working_directory: folder.unwrap_or_default(),
            input: match &decision.command {
                Some(argv) => argv.join(" "),
                None => task.input.clone(),
            },
            arguments: decision.command.clone().unwrap_or_default(),
            expires_at: (self.options.unix_ms)().saturating_add(wait),
        }
    }

    async fn await_approval(
        &self,
        traits: &Traits,
        audit: AuditMode,
        shown: PendingApproval,
        patience: Duration,
        mut cancel: CancelSignal,
    ) -> Result<(), KeptOut> {
        tracing::info!(
            "execution {} waits for an approval: see 'askalf-agent approvals'",
            one_line(&traits.execution)
        );
        let verdict = tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            verdict = self.options.approvals.ask(shown, patience) => Some(verdict),
        };
        let not_asked = match &verdict {
            Some(Err(not_asked)) => Some(not_asked.id().to_owned()),
            _ => None,
        };
        let (event, by, outcome) = match verdict {
            Some(Ok(Verdict::Approved(by))) => (Event::ApprovalGiven, Some(by), Ok(())),
            Some(Ok(Verdict::Denied(by))) => (
                Event::ApprovalDenied,
                Some(by),
                Err(KeptOut::refused("the device's owner was asked and refused it")),
            ),
            Some(Ok(Verdict::Expired)) => (
                Event::ApprovalExpired,
                None,
                Err(KeptOut::refused(format!(
                    "the device's owner was asked and did not answer within {} s; see 'askalf-agent approvals' there",
                    patience.as_secs()
                ))),
            ),
            Some(Err(not_asked)) => (
                Event::ApprovalNotAsked,
                None,
                Err(KeptOut::refused(format!("{not_asked}. {}", not_asked.hint()))),
            ),
            None => (
                Event::ApprovalCancelled,
                None,
                Err(KeptOut {
                    cause: Cause::Cancelled,
                    error: "cancelled while it waited for an approval".to_owned(),
                }),
            ),
        };
        let record = AuditRecord {
            by,
            rule: not_asked,
            ..traits.record(event)
        };
        if outcome.is_ok() {
            self.must_record(audit, record, None).await?;
        } else {
            self.record(audit, record, None).await;
        }
        outcome
    }

    async fn run(
        &self,
        inner: &dyn Executor,
        admitted: Admitted,
        output: TaskOutput,
        cancel: CancelSignal,
    ) -> TaskEnd {
        let Admitted { task, traits, audit } = admitted;
        let started = AuditRecord {
            timeout_ms: u64::try_from(task.timeout.as_millis()).ok(),
            ..traits.record(Event::Started)
        };
        self.record(audit, started, None).await;
        let end = inner.run(task, output, cancel).await;
        let ended = AuditRecord {
            exit_code: end.exit_code,
            signal: end.signal,
            duration_ms: u64::try_from(end.duration.as_millis()).ok(),
            output_bytes: u64::try_from(end.output.len()).ok(),
            ..traits.record(Event::Ended).cause(end.cause)
        };
        let details = end.error.as_deref().map(Details::of_error);
        self.record(audit, ended, details).await;
        end
    }

    /// Records what has to be on record before a task may go on.
    async fn must_record(
        &self,
        mode: AuditMode,
        record: AuditRecord,
        details: Option<Details>,
    ) -> Result<(), KeptOut> {
        match self.record(mode, record, details).await {
            Some(error) if mode == AuditMode::Required => Err(KeptOut::refused(format!(
                "the device runs only what it has recorded: {error}. {}",
                error.hint()
            ))),
            _ => Ok(()),
        }
    }

    /// Records, and says once where that fails.
    async fn record(
        &self,
        mode: AuditMode,
        record: AuditRecord,
        details: Option<Details>,
    ) -> Option<AuditError> {
        if mode == AuditMode::Off {
            return None;
        }
        let record = AuditRecord {
            time: (self.options.unix_ms)(),
            ..record
        };
        let durable = mode == AuditMode::Required;
        let error = self.options.audit.record(record, details, durable).await.err();
        let failed = self.audit_fails.swap(error.is_some(), Ordering::Relaxed);
        match &error {
            Some(error) if !failed => tracing::warn!("{error}. {}", error.hint()),
            None if failed => {
                tracing::info!("the audit log is written again; what happened meanwhile is not in it")
            }
            _ => {}
        }
        error
    }
}
