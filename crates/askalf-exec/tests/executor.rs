//! The shell executor against a runner that follows a script.
#![allow(clippy::unwrap_used, reason = "a helper of a test ends at the first surprise, as the test does")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use askalf_agent_core::{
    CancelHandle, CommandSpec, Ended, Executor, ExitStatus, Runner, RunnerError, RunnerEvent, RunningCommand,
    Task, TaskEnd, TaskOutput,
};
use askalf_exec::{DEFAULT_OUTPUT_CAP, ShellExecutor, ShellOptions};
use askalf_proto::{Cause, Executor as ExecutorKind, OutputStream};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

/// Yields `floods` pieces of 32 KiB, then waits to be told to end.
struct Scripted {
    floods: usize,
    terminated: watch::Sender<bool>,
    commands: Mutex<Vec<CommandSpec>>,
}

impl Scripted {
    fn new(floods: usize) -> Arc<Self> {
        Arc::new(Self {
            floods,
            terminated: watch::channel(false).0,
            commands: Mutex::default(),
        })
    }
}

struct ScriptedCommand {
    floods: usize,
    terminated: watch::Sender<bool>,
}

#[async_trait]
impl Runner for Scripted {
    async fn start(&self, command: CommandSpec) -> Result<Box<dyn RunningCommand>, RunnerError> {
        self.commands.lock().unwrap().push(command);
        Ok(Box::new(ScriptedCommand {
            floods: self.floods,
            terminated: self.terminated.clone(),
        }))
    }
}

#[async_trait]
impl RunningCommand for ScriptedCommand {
    async fn next(&mut self) -> RunnerEvent {
        if self.floods > 0 {
            self.floods -= 1;
            return RunnerEvent::Output(OutputStream::Stdout, Bytes::from(vec![b'x'; 32 * 1024]));
        }
        self.terminated.subscribe().wait_for(|told| *told).await.unwrap();
        RunnerEvent::Ended(Ended::Exited {
            status: ExitStatus::Signal(15),
            timed_out: false,
            terminated: true,
        })
    }

    async fn terminate(&mut self) {
        self.terminated.send_replace(true);
    }
}

struct NoRunner;

#[async_trait]
impl Runner for NoRunner {
    async fn start(&self, _command: CommandSpec) -> Result<Box<dyn RunningCommand>, RunnerError> {
        Err(RunnerError::Spawn("no more processes".into()))
    }
}

fn options() -> ShellOptions {
    ShellOptions::new("/bin/bash".into(), "/srv".into())
}

fn task() -> Task {
    Task {
        execution_id: "exec_1".into(),
        input: "make \"$@\"".into(),
        timeout: Duration::from_secs(60),
        working_directory: None,
        credentials: None,
        max_turns: None,
        max_budget: None,
        agent_id: None,
        agent_name: None,
        named_command: None,
    }
}

#[tokio::test]
async fn the_shell_is_given_the_input_as_one_argument() {
    let runner = Scripted::new(0);
    runner.terminated.send_replace(true);
    let executor = ShellExecutor::new(runner.clone(), options());
    assert_eq!(executor.kind(), ExecutorKind::Shell);
    for folder in [None, Some("sub"), Some("/abs")] {
        let (_handle, cancel) = CancelHandle::new();
        let task = Task {
            working_directory: folder.map(Into::into),
            ..task()
        };
        executor
            .run(task, TaskOutput::new("exec_1", mpsc::channel(1).0), cancel)
            .await;
    }
    let commands = runner.commands.lock().unwrap();
    let first = &commands[0];
    assert_eq!(first.program, "/bin/bash");
    assert_eq!(first.arguments, ["-c", "--", "make \"$@\""]);
    assert_eq!(
        (first.timeout, first.grace),
        (Duration::from_secs(60), Duration::from_secs(5))
    );
    let folders: Vec<_> = commands
        .iter()
        .map(|command| command.working_directory.as_path())
        .collect();
    assert_eq!(folders, ["/srv", "/srv/sub", "/abs"].map(Path::new));
}

#[tokio::test]
async fn no_runner_is_a_refusal() {
    let executor = ShellExecutor::new(Arc::new(NoRunner), options());
    let (_handle, cancel) = CancelHandle::new();
    let end = executor
        .run(task(), TaskOutput::new("exec_1", mpsc::channel(1).0), cancel)
        .await;
    assert_eq!(end.cause, Some(Cause::Refused));
    assert_eq!(
        end.error.as_deref(),
        Some("the task runner could not be started: no more processes")
    );
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_takes_nothing_does_not_hold_up_a_cancel() {
    let runner = Scripted::new(50);
    let executor = ShellExecutor::new(runner.clone(), options());
    let (handle, cancel) = CancelHandle::new();
    let (sender, mut receiver) = mpsc::channel(1);
    let running = tokio::spawn(async move {
        executor
            .run(task(), TaskOutput::new("exec_1", sender), cancel)
            .await
    });
    // One piece is in the queue and the next waits: the executor is stuck on its watcher.
    while receiver.is_empty() {
        tokio::task::yield_now().await;
    }
    handle.cancel();
    let end: TaskEnd = running.await.unwrap();
    assert_eq!(end.cause, Some(Cause::Cancelled));
    let length = end.output.len();
    assert!(
        (DEFAULT_OUTPUT_CAP - 1024..=DEFAULT_OUTPUT_CAP).contains(&length),
        "{length}"
    );
    assert!(end.duration < Duration::from_secs(1), "{:?}", end.duration);
    assert_eq!(receiver.recv().await.unwrap().text.len(), 16 * 1024);
}

#[test]
fn options_that_are_printed_show_no_value_of_the_environment() {
    let options = ShellOptions {
        environment: vec![("HOME".into(), "/hunter2".into())],
        ..options()
    };
    let printed = format!("{options:?}");
    assert!(
        printed.contains("HOME") && !printed.contains("hunter2"),
        "{printed}"
    );
}
