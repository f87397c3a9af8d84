//! What the journal holds, and what follows where it fails.

use std::sync::Arc;

use askalf_proto::{Cause, Executor as ExecutorKind, Feature, one_line};
use tracing::{error, info, warn};

use super::action::Action;
use super::outbox::GivenUp;
use super::{Jitter, Machine, Moment, StateReason, result};
use crate::journal::{Held, Record};

impl<J: Jitter> Machine<J> {
    /// Takes up what an earlier process left: its results follow in their order, and what died with it ends now.
    pub(crate) fn restored(&mut self, held: Held) {
        if held.moved_aside.is_some() {
            // What it has run before is not known: nothing may be dispatched to it again.
            self.config.features = self.config.features.without(Feature::Redelivery);
        }
        for ended in held.ended {
            self.scheduler.remember(ended);
        }
        for result in held.results {
            self.scheduler.remember_ended(&result.execution_id);
            self.outbox.push(result.execution_id.clone(), result.frame);
            self.outbox.persisted(&result.execution_id);
        }
        for accepted in held.accepted {
            let execution_id = accepted.execution_id;
            warn!(
                "execution {} was cut off by the end of an earlier agent process; it does not run again",
                one_line(&execution_id)
            );
            let executor = ExecutorKind::from_wire(&accepted.executor);
            let frame = result::of_cut_off(&execution_id, executor);
            self.conclude(&execution_id, frame);
        }
    }

    /// The journal cannot be read or written.
    pub(crate) fn journal_failed(&mut self, fault: StateReason, now: Moment) {
        self.journal_fault = Some(fault);
        self.refresh(now);
    }

    pub(crate) fn journal_works(&mut self, now: Moment) {
        if self.journal_fault.take().is_some() {
            info!("the execution journal takes records again");
            self.refresh(now);
        }
    }

    /// The acceptance of an execution could not be put on record, so it never was one.
    pub(crate) fn not_journalled(&mut self, execution_id: &str) {
        if self.scheduler.withdraw(execution_id) {
            let refusal = self.refusal().unwrap_or_else(|| "its journal failed".to_owned());
            self.refuse_unrecorded(execution_id, &refusal);
        }
    }

    /// Everything that a fresh journal must hold, in order: for a driver whose journal was lost.
    pub fn records(&self) -> Vec<Record> {
        let ended = self.scheduler.ended().map(Record::Remembered);
        let accepted = self.scheduler.accepted().map(|(id, executor)| Record::Accepted {
            execution_id: id.to_owned(),
            executor: executor.as_str().to_owned(),
        });
        let results = self.outbox.results().map(|(id, frame)| Record::Ended {
            execution_id: id.to_owned(),
            frame: Arc::clone(frame),
        });
        ended.chain(accepted).chain(results).collect()
    }

    /// The bridge closed the connection over a frame of ours: a result that it happens to again and again must not
    /// hold up the others.
    pub(crate) fn frame_refused(&mut self) {
        match self.outbox.frame_refused() {
            None => {}
            Some(GivenUp::Result(execution_id)) => {
                error!(
                    "the bridge closed the connection over the result of execution {} again and again: it is kept in \
                     quarantine, and the execution ends as interrupted",
                    one_line(&execution_id)
                );
                let why =
                    "the bridge could not take the result of this task; the device keeps it in quarantine";
                let frame = result::of_not_run(&execution_id, Cause::Interrupted, why);
                self.outbox.replace(&execution_id, Arc::clone(&frame));
                self.act(Action::Quarantine {
                    execution_id,
                    replacement: Some(frame),
                });
            }
            Some(GivenUp::StandIn(execution_id)) => {
                error!(
                    "the bridge takes no report at all on execution {}: it is given up",
                    one_line(&execution_id)
                );
                self.act(Action::Quarantine {
                    execution_id,
                    replacement: None,
                });
            }
        }
    }

    /// Results that count as taken without an acknowledgement.
    pub(crate) fn forget_all(&mut self, execution_ids: Vec<String>) {
        for execution_id in execution_ids {
            self.act(Action::Forget(execution_id));
        }
    }

    pub(crate) fn let_go_settled(&mut self, now: Moment) {
        let gone = self
            .outbox
            .let_go_settled(now, self.config.timings.keep_unacknowledged);
        self.forget_all(gone);
    }
}
