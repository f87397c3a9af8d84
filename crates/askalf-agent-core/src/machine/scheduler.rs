//! Which execution runs when: a limit, a bounded queue, and a memory of what has ended.

use std::collections::{HashSet, VecDeque};

use askalf_proto::{Executor as ExecutorKind, HeldExecution, HeldState};

use crate::Task;
use crate::journal::{EndedId, REMEMBERED};

/// A task and what runs it.
#[derive(Debug, Clone)]
pub struct Job {
    /// The task.
    pub task: Task,
    /// The executor, chosen among those that the device has.
    pub executor: ExecutorKind,
}

impl Job {
    fn id(&self) -> &str {
        &self.task.execution_id
    }
}

/// Executions by what became of them. It decides and remembers; it runs nothing.
#[derive(Debug)]
pub(crate) struct Scheduler {
    limit: usize,
    queue_limit: usize,
    waiting: VecDeque<Waiting>,
    running: Vec<Running>,
    ended: Memory,
}

#[derive(Debug)]
struct Waiting {
    job: Job,
    journalled: bool,
}

/// An execution that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) execution_id: String,
    pub(crate) executor: ExecutorKind,
    /// Who asked for its end, if somebody did.
    pub(crate) cancelled: Option<CancelledBy>,
    /// The bridge was told that it runs.
    told: bool,
}

/// Who asked for the end of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CancelledBy {
    /// The bridge.
    Bridge,
    /// The agent, because it stops.
    Stop,
}

/// How far an execution is that was dispatched before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// It waits, at this place of the queue, from 1.
    Waiting(u32),
    Running,
    Ended,
}

/// What a cancellation met.
#[derive(Debug)]
pub(crate) enum Cancelled {
    /// It had not started, and never will.
    Waiting(Box<Job>),
    /// It runs and should be told.
    Running,
    /// Nothing is known of it, or it has ended.
    Nothing,
}

/// The queue has no place left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueFull;

impl Scheduler {
    /// At most `limit` executions at once (at least 1), and `queue_limit` that wait for a place.
    pub(crate) fn new(limit: usize, queue_limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            queue_limit,
            waiting: VecDeque::new(),
            running: Vec::new(),
            ended: Memory::default(),
        }
    }

    /// At most so many at once from now on (at least 1). What runs beyond it runs on.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
    }

    pub(crate) fn known(&self, execution_id: &str) -> Option<Known> {
        if let Some(position) = self.position(execution_id) {
            return Some(Known::Waiting(position));
        }
        if self.running.iter().any(|run| run.execution_id == execution_id) {
            return Some(Known::Running);
        }
        self.ended.contains(execution_id).then_some(Known::Ended)
    }

    /// Takes a job that is not known yet. It waits for [`Scheduler::journalled`] and for its turn.
    pub(crate) fn admit(&mut self, job: Job) -> Result<(), QueueFull> {
        let free = self.limit.saturating_sub(self.running.len());
        if self.waiting.len() >= self.queue_limit + free {
            return Err(QueueFull);
        }
        self.waiting.push_back(Waiting {
            job,
            journalled: false,
        });
        Ok(())
    }

    /// The job is on record and may start.
    pub(crate) fn journalled(&mut self, execution_id: &str) {
        if let Some(waiting) = self.waiting.iter_mut().find(|it| it.job.id() == execution_id) {
            waiting.journalled = true;
        }
    }

    /// Takes back a job whose acceptance could not be put on record. Whether it still waited for that.
    pub(crate) fn withdraw(&mut self, execution_id: &str) -> bool {
        let unrecorded = |it: &Waiting| it.job.id() == execution_id && !it.journalled;
        let index = self.waiting.iter().position(unrecorded);
        index.and_then(|index| self.waiting.remove(index)).is_some()
    }

    /// The next job that may start now; it counts as running from here on.
    pub(crate) fn start_next(&mut self) -> Option<Job> {
        if self.running.len() >= self.limit || !self.waiting.front()?.journalled {
            return None;
        }
        let job = self.waiting.pop_front()?.job;
        self.running.push(Running {
            execution_id: job.task.execution_id.clone(),
            executor: job.executor.clone(),
            cancelled: None,
            told: false,
        });
        Some(job)
    }

    /// Place in the queue, from 1.
    pub(crate) fn position(&self, execution_id: &str) -> Option<u32> {
        let index = self.waiting.iter().position(|it| it.job.id() == execution_id)?;
        u32::try_from(index + 1).ok()
    }

    pub(crate) fn cancel(&mut self, execution_id: &str, by: CancelledBy) -> Cancelled {
        if let Some(index) = self.waiting.iter().position(|it| it.job.id() == execution_id)
            && let Some(waiting) = self.waiting.remove(index)
        {
            return Cancelled::Waiting(Box::new(waiting.job));
        }
        match self
            .running
            .iter_mut()
            .find(|run| run.execution_id == execution_id)
        {
            Some(run) => {
                run.cancelled.get_or_insert(by);
                Cancelled::Running
            }
            None => Cancelled::Nothing,
        }
    }

    /// A running execution has ended. `None` where it does not run, or not any more.
    pub(crate) fn end(&mut self, execution_id: &str) -> Option<Running> {
        let index = self
            .running
            .iter()
            .position(|run| run.execution_id == execution_id)?;
        Some(self.running.remove(index))
    }

    /// Remembers that the execution has ended and must never run.
    pub(crate) fn remember_ended(&mut self, execution_id: &str) {
        self.ended.insert(EndedId::of(execution_id));
    }

    /// As [`Scheduler::remember_ended`], from what an earlier process remembered.
    pub(crate) fn remember(&mut self, ended: EndedId) {
        self.ended.insert(ended);
    }

    /// The bridge was told that this execution runs.
    pub(crate) fn was_told(&mut self, execution_id: &str) {
        for run in self
            .running
            .iter_mut()
            .filter(|run| run.execution_id == execution_id)
        {
            run.told = true;
        }
    }

    /// A registration named all that runs.
    pub(crate) fn running_were_told(&mut self) {
        for run in &mut self.running {
            run.told = true;
        }
    }

    /// What runs without the bridge having been told.
    pub(crate) fn untold(&self) -> Vec<(String, ExecutorKind)> {
        let untold = self.running.iter().filter(|run| !run.told);
        untold
            .map(|run| (run.execution_id.clone(), run.executor.clone()))
            .collect()
    }

    /// What runs the execution.
    pub(crate) fn executor(&self, execution_id: &str) -> Option<ExecutorKind> {
        let run = self.running.iter().find(|run| run.execution_id == execution_id)?;
        Some(run.executor.clone())
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The ids of what waits and of what runs.
    pub(crate) fn ids(&self) -> Vec<String> {
        let waiting = self.waiting.iter().map(|it| it.job.task.execution_id.clone());
        let running = self.running.iter().map(|run| run.execution_id.clone());
        waiting.chain(running).collect()
    }

    /// What runs and what waits, with what runs it.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = (&str, &ExecutorKind)> {
        let running = self.running.iter().map(|run| (&*run.execution_id, &run.executor));
        let waiting = self.waiting.iter().map(|it| (it.job.id(), &it.job.executor));
        running.chain(waiting)
    }

    /// What is remembered as ended, the oldest first.
    pub(crate) fn ended(&self) -> impl Iterator<Item = EndedId> {
        self.ended.order.iter().copied()
    }

    /// What a registration says about what runs and what waits.
    pub(crate) fn held(&self) -> impl Iterator<Item = HeldExecution> {
        let held = |execution_id: &str, state| HeldExecution {
            execution_id: execution_id.to_owned(),
            state,
        };
        let running = self
            .running
            .iter()
            .map(move |run| held(&run.execution_id, HeldState::Running));
        let waiting = self
            .waiting
            .iter()
            .map(move |it| held(it.job.id(), HeldState::Queued));
        running.chain(waiting)
    }
}

/// What ended last.
#[derive(Debug, Default)]
struct Memory {
    order: VecDeque<EndedId>,
    ids: HashSet<EndedId>,
}

impl Memory {
    fn contains(&self, execution_id: &str) -> bool {
        self.ids.contains(&EndedId::of(execution_id))
    }

    fn insert(&mut self, id: EndedId) {
        if !self.ids.insert(id) {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn job(id: &str) -> Job {
        Job {
            task: Task {
                execution_id: id.to_owned(),
                input: "true".to_owned(),
                timeout: Duration::from_secs(1),
                working_directory: None,
                credentials: None,
                max_turns: None,
                max_budget: None,
                agent_id: None,
                agent_name: None,
                named_command: None,
            },
            executor: ExecutorKind::Shell,
        }
    }

    fn admit(scheduler: &mut Scheduler, id: &str) {
        scheduler.admit(job(id)).unwrap();
        scheduler.journalled(id);
    }

    fn start_all(scheduler: &mut Scheduler) -> Vec<String> {
        std::iter::from_fn(|| scheduler.start_next())
            .map(|job| job.task.execution_id)
            .collect()
    }

    #[test]
    fn five_at_once_with_a_limit_of_two_run_two_by_two_in_order() {
        let mut scheduler = Scheduler::new(2, 10);
        for id in ["a", "b", "c", "d", "e"] {
            admit(&mut scheduler, id);
        }
        assert_eq!(start_all(&mut scheduler), ["a", "b"]);
        assert_eq!(scheduler.known("c"), Some(Known::Waiting(1)));
        assert_eq!(scheduler.known("e"), Some(Known::Waiting(3)));
        scheduler.end("b").unwrap();
        assert_eq!(start_all(&mut scheduler), ["c"]);
        scheduler.end("a").unwrap();
        scheduler.end("c").unwrap();
        assert_eq!(start_all(&mut scheduler), ["d", "e"]);
    }

    #[test]
    fn nothing_starts_before_it_is_on_record_nor_out_of_turn() {
        let mut scheduler = Scheduler::new(2, 10);
        scheduler.admit(job("a")).unwrap();
        scheduler.admit(job("b")).unwrap();
        scheduler.journalled("b");
        assert!(start_all(&mut scheduler).is_empty());
        scheduler.journalled("a");
        assert_eq!(start_all(&mut scheduler), ["a", "b"]);
    }

    #[test]
    fn the_queue_is_bounded_beside_what_can_run() {
        let mut scheduler = Scheduler::new(1, 1);
        admit(&mut scheduler, "a");
        admit(&mut scheduler, "b");
        assert_eq!(scheduler.admit(job("c")), Err(QueueFull));
        start_all(&mut scheduler);
        assert_eq!(scheduler.admit(job("c")), Err(QueueFull));
        scheduler.end("a").unwrap();
        admit(&mut scheduler, "c");
    }

    #[test]
    fn a_limit_of_zero_still_runs_one() {
        let mut scheduler = Scheduler::new(0, 0);
        admit(&mut scheduler, "a");
        assert_eq!(start_all(&mut scheduler), ["a"]);
    }

    #[test]
    fn cancelling_meets_each_kind() {
        let mut scheduler = Scheduler::new(1, 5);
        admit(&mut scheduler, "a");
        admit(&mut scheduler, "b");
        start_all(&mut scheduler);
        assert!(matches!(
            scheduler.cancel("b", CancelledBy::Bridge),
            Cancelled::Waiting(_)
        ));
        assert!(matches!(
            scheduler.cancel("b", CancelledBy::Bridge),
            Cancelled::Nothing
        ));
        assert!(matches!(
            scheduler.cancel("a", CancelledBy::Bridge),
            Cancelled::Running
        ));
        assert!(matches!(
            scheduler.cancel("a", CancelledBy::Stop),
            Cancelled::Running
        ));
        let run = scheduler.end("a").unwrap();
        assert_eq!(
            run.cancelled,
            Some(CancelledBy::Bridge),
            "the first who asks counts"
        );
        assert!(scheduler.end("a").is_none(), "it ends once");
    }

    #[test]
    fn the_memory_of_what_ended_is_bounded_and_drops_the_oldest() {
        let mut scheduler = Scheduler::new(1, 1);
        for number in 0..=REMEMBERED {
            scheduler.remember_ended(&number.to_string());
        }
        scheduler.remember_ended("1");
        assert_eq!(scheduler.known("0"), None);
        assert_eq!(scheduler.known("1"), Some(Known::Ended));
        assert_eq!(scheduler.ended.order.len(), REMEMBERED);
    }
}
