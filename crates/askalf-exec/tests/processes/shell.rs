//! Shell tasks with real shells, from their input to their result.

use std::sync::Arc;
use std::time::Duration;

use askalf_agent_core::{CancelHandle, CancelSignal, Executor, OutputChunk, Task, TaskEnd, TaskOutput};
use askalf_exec::{DEFAULT_OUTPUT_CAP, ShellExecutor, ShellOptions, scrubbed_environment};
use askalf_proto::{Cause, ExecutionComplete, OutputStream, json_len};
use tokio::sync::mpsc;

use crate::support::*;

fn executor() -> ShellExecutor {
    let environment = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "/nowhere"),
        ("ASKALF_API_KEY", "sk_live_secret"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let environment = environment.map(|(name, value)| (name.into(), value.into()));
    let options = ShellOptions {
        environment: scrubbed_environment(environment),
        grace: Duration::from_millis(100),
        ..ShellOptions::new("/bin/sh".into(), "/".into())
    };
    ShellExecutor::new(Arc::new(runner()), options)
}

pub(crate) fn task(input: &str) -> Task {
    Task {
        execution_id: "exec_1".into(),
        input: input.into(),
        timeout: LONG,
        working_directory: None,
        credentials: None,
        max_turns: None,
        max_budget: None,
        agent_id: None,
        agent_name: None,
        named_command: None,
    }
}

/// Runs a task to its end: the result, and what a watcher saw.
async fn run_task(task: Task, cancel: CancelSignal) -> (TaskEnd, Vec<OutputChunk>) {
    run_by(&executor(), task, cancel).await
}

/// Runs a task to its end by this executor.
pub(crate) async fn run_by(
    executor: &dyn Executor,
    task: Task,
    cancel: CancelSignal,
) -> (TaskEnd, Vec<OutputChunk>) {
    let (sender, mut receiver) = mpsc::channel(4);
    let seen = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            seen.push(chunk);
        }
        seen
    });
    let output = TaskOutput::new(task.execution_id.clone(), sender);
    let end = tokio::time::timeout(LONG, executor.run(task, output, cancel))
        .await
        .expect("the task ends");
    (end, seen.await.unwrap())
}

async fn run_input(input: &str) -> (TaskEnd, Vec<OutputChunk>) {
    let (_handle, cancel) = CancelHandle::new();
    run_task(task(input), cancel).await
}

pub(crate) fn seen(chunks: &[OutputChunk], stream: OutputStream) -> String {
    chunks
        .iter()
        .filter(|chunk| chunk.stream == stream)
        .map(|chunk| chunk.text.as_str())
        .collect()
}

#[tokio::test]
async fn a_task_that_works_is_a_success_with_its_output() {
    let (end, chunks) = run_input("echo out; echo err >&2").await;
    assert!(end.succeeded());
    assert_eq!((end.error, end.signal), (None, None));
    assert!(end.duration > Duration::ZERO);
    assert_eq!(seen(&chunks, OutputStream::Stdout), "out\n");
    assert_eq!(seen(&chunks, OutputStream::Stderr), "err\n");
    assert!(end.output.contains("out\n") && end.output.contains("err\n") && end.output.len() == 8);
    assert!(chunks.iter().all(|chunk| chunk.execution_id == "exec_1"));
}

#[tokio::test]
async fn a_status_other_than_0_is_a_failure_with_its_output() {
    let (end, _) = run_input("echo before; exit 3").await;
    assert_eq!((end.cause, end.exit_code), (Some(Cause::Exit), Some(3)));
    assert_eq!(
        (end.error.as_deref(), end.output.as_str()),
        (Some("exited with status 3"), "before\n")
    );
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_the_shells_to_report() {
    let (end, _) = run_input("no-such-command-here").await;
    assert_eq!((end.cause, end.exit_code), (Some(Cause::Exit), Some(127)));
    assert!(end.output.contains("no-such-command-here"), "{}", end.output);
}

#[tokio::test]
async fn a_signal_is_named() {
    let (end, _) = run_input("kill -9 $$").await;
    assert_eq!(
        (end.cause, end.signal, end.exit_code),
        (Some(Cause::Signal), Some(9), None)
    );
    assert_eq!(end.error.as_deref(), Some("ended by signal 9 (SIGKILL)"));
}

#[tokio::test]
async fn a_time_out_is_told_as_one() {
    let (_handle, cancel) = CancelHandle::new();
    let short = Task {
        timeout: Duration::from_millis(200),
        ..task("echo begun; sleep 1000")
    };
    let (end, _) = run_task(short, cancel).await;
    assert_eq!(
        (end.cause, end.output.as_str()),
        (Some(Cause::Timeout), "begun\n")
    );
    assert_eq!(end.error.as_deref(), Some("ran longer than 0.2 s and was ended"));
}

#[tokio::test]
async fn a_cancel_ends_a_running_task() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, cancel) = CancelHandle::new();
    let (sender, mut receiver) = mpsc::channel(4);
    let there = Task {
        working_directory: Some(folder.path().into()),
        ..task("pwd; sleep 1000 & wait")
    };
    let running = tokio::spawn(async move {
        executor()
            .run(there, TaskOutput::new("exec_1", sender), cancel)
            .await
    });
    let first = receiver.recv().await.unwrap();
    assert_eq!(first.text, format!("{}\n", folder.path().display()));
    handle.cancel();
    let end = running.await.unwrap();
    assert_eq!(
        (end.cause, end.error.as_deref()),
        (Some(Cause::Cancelled), Some("cancelled"))
    );
    assert_eq!(end.output, first.text);
}

#[tokio::test]
async fn a_cancel_before_the_start_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, cancel) = CancelHandle::new();
    handle.cancel();
    let there = Task {
        working_directory: Some(folder.path().into()),
        ..task("touch ran")
    };
    let (end, chunks) = run_task(there, cancel).await;
    assert_eq!(
        (end.cause, end.error.as_deref()),
        (Some(Cause::Cancelled), Some("cancelled"))
    );
    assert!(chunks.is_empty());
    assert!(!folder.path().join("ran").exists());
}

#[tokio::test]
async fn a_task_that_kills_its_runner_is_interrupted() {
    let (end, _) = run_input("kill -9 $PPID; sleep 1000").await;
    assert_eq!(end.cause, Some(Cause::Interrupted));
    assert_eq!(
        end.error.as_deref(),
        Some("the runner of the task was killed, and what it left running was ended")
    );
}

#[tokio::test]
async fn a_folder_that_does_not_exist_is_refused() {
    let (_handle, cancel) = CancelHandle::new();
    let lost = Task {
        working_directory: Some("no/such/folder".into()),
        ..task("true")
    };
    let (end, _) = run_task(lost, cancel).await;
    assert_eq!(end.cause, Some(Cause::Refused));
    assert_eq!(
        end.error.as_deref(),
        Some("the working directory /no/such/folder does not exist")
    );
}

#[tokio::test]
async fn a_task_sees_no_secret_of_its_agent() {
    let (end, _) = run_input("env").await;
    assert!(end.output.contains("HOME=/nowhere\n"), "{}", end.output);
    for secret in ["ASKALF", "AWS", "secret", "CARGO"] {
        assert!(!end.output.contains(secret), "{secret} in {}", end.output);
    }
}

#[tokio::test]
async fn fifty_megabytes_stay_within_one_frame_with_head_and_tail() {
    let (end, chunks) =
        run_input("echo first line; head -c 52428800 /dev/zero | tr '\\0' '\"'; echo; echo last line").await;
    assert!(end.succeeded());
    assert!(end.output.starts_with("first line\n\"\"\"") && end.output.ends_with("\"\"\"\nlast line\n"));
    assert!(end.output.contains(" bytes left out]\n"));
    let length = json_len(&end.output);
    assert!(
        length <= DEFAULT_OUTPUT_CAP && length > DEFAULT_OUTPUT_CAP - 1024,
        "{length}"
    );
    assert_eq!(
        seen(&chunks, OutputStream::Stdout).len(),
        52428800 + 22,
        "a watcher sees it all"
    );
    assert!(chunks.iter().all(|chunk| chunk.text.len() <= 16 * 1024));
    let result = ExecutionComplete {
        execution_id: "exec_1".into(),
        output: end.output,
        ..Default::default()
    };
    assert!(askalf_proto::AgentMessage::Complete(result).encode().is_ok());
}

#[tokio::test]
async fn characters_survive_the_borders_of_pieces_and_garbage_becomes_a_mark() {
    // 3 bytes each, so that no power of two is a border between two of them.
    let (end, chunks) = run_input("yes '€€€€€€€' | head -n 20000; printf 'bad \\377 cut \\342\\202'").await;
    let text = "€€€€€€€\n".repeat(20000) + "bad \u{fffd} cut \u{fffd}";
    assert!(end.output == text, "{} bytes", end.output.len());
    assert!(seen(&chunks, OutputStream::Stdout) == text);
}
