//! Running tasks: each executor's future in a task of its own, its output in order before its end.

use std::collections::HashMap;
use std::sync::Arc;

use askalf_proto::{Cause, Executor as ExecutorKind};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::machine::Job;
use crate::{CancelHandle, CancelSignal, Executor, OutputChunk, Task, TaskEnd, TaskOutput};

/// Pieces of output that wait between a task and the driver, for all tasks together and for each again.
const QUEUE: usize = 16;

/// What a running task tells the driver.
#[derive(Debug)]
pub(crate) enum TaskNews {
    Output(OutputChunk),
    Ended { execution_id: String, end: TaskEnd },
}

/// Every running task. Dropping it drops them, and with them their processes.
pub(crate) struct Tasks {
    executors: Vec<Arc<dyn Executor>>,
    cancels: HashMap<String, CancelHandle>,
    running: JoinSet<()>,
    sender: mpsc::Sender<TaskNews>,
    news: mpsc::Receiver<TaskNews>,
}

impl Tasks {
    pub(crate) fn new(executors: Vec<Arc<dyn Executor>>) -> Self {
        let (sender, news) = mpsc::channel(QUEUE);
        Self {
            executors,
            cancels: HashMap::new(),
            running: JoinSet::new(),
            sender,
            news,
        }
    }

    pub(crate) fn kinds(&self) -> Vec<ExecutorKind> {
        self.executors.iter().map(|executor| executor.kind()).collect()
    }

    /// What runs tasks from now on.
    pub(crate) fn replace_executors(&mut self, executors: Vec<Arc<dyn Executor>>) {
        self.executors = executors;
    }

    pub(crate) fn executors(&self) -> Vec<Arc<dyn Executor>> {
        self.executors.clone()
    }

    pub(crate) fn start(&mut self, job: Job) {
        // Ends that were told already; so the set never holds more than what runs and what ended since.
        while self.running.try_join_next().is_some() {}
        let execution_id = job.task.execution_id.clone();
        let (handle, signal) = CancelHandle::new();
        self.cancels.insert(execution_id, handle);
        let executor = self
            .executors
            .iter()
            .find(|it| it.kind() == job.executor)
            .cloned();
        let sender = self.sender.clone();
        self.running.spawn(run(executor, job.task, signal, sender));
    }

    pub(crate) fn cancel(&self, execution_id: &str) {
        if let Some(handle) = self.cancels.get(execution_id) {
            handle.cancel();
        }
    }

    /// The next news. Cancel-safe.
    pub(crate) async fn next(&mut self) -> TaskNews {
        match self.news.recv().await {
            Some(news) => {
                if let TaskNews::Ended { execution_id, .. } = &news {
                    self.cancels.remove(execution_id);
                }
                news
            }
            // It holds a sender itself.
            None => std::future::pending().await,
        }
    }
}

async fn run(
    executor: Option<Arc<dyn Executor>>,
    task: Task,
    signal: CancelSignal,
    news: mpsc::Sender<TaskNews>,
) {
    let execution_id = task.execution_id.clone();
    let end = match executor {
        Some(executor) => run_with(executor, task, signal, &news).await,
        None => interrupted("the device has lost the executor of this task"),
    };
    let _nobody_listens = news.send(TaskNews::Ended { execution_id, end }).await;
}

async fn run_with(
    executor: Arc<dyn Executor>,
    task: Task,
    signal: CancelSignal,
    news: &mpsc::Sender<TaskNews>,
) -> TaskEnd {
    let (sender, mut chunks) = mpsc::channel(QUEUE);
    let output = TaskOutput::new(task.execution_id.clone(), sender);
    let mut cancelled = signal.clone();
    // Its own task, so that it goes on while its output waits, and so that its panic is only its own.
    let mut work = JoinSet::new();
    work.spawn(async move { executor.run(task, output, signal).await });
    let end = loop {
        tokio::select! {
            Some(chunk) = chunks.recv() => pass_on(chunk, news, &mut cancelled).await,
            end = work.join_next() => break end,
        }
    };
    chunks.close();
    while let Some(chunk) = chunks.recv().await {
        pass_on(chunk, news, &mut cancelled).await;
    }
    match end {
        Some(Ok(end)) => end,
        Some(Err(_)) | None => interrupted("the executor of this task failed"),
    }
}

/// Waits for room, unless the task is to end: then a slow connection must not hold it up.
async fn pass_on(chunk: OutputChunk, news: &mpsc::Sender<TaskNews>, cancelled: &mut CancelSignal) {
    tokio::select! {
        biased;
        permit = news.reserve() => if let Ok(permit) = permit {
            permit.send(TaskNews::Output(chunk));
        },
        () = cancelled.cancelled() => {}
    }
}

fn interrupted(why: &str) -> TaskEnd {
    TaskEnd {
        cause: Some(Cause::Interrupted),
        error: Some(why.to_owned()),
        ..TaskEnd::default()
    }
}
