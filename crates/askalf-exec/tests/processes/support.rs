//! Processes that the tests need, and ways to look at them.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use askalf_agent_core::{CommandSpec, Ended, ExitStatus, Runner, RunnerEvent, RunningCommand};
use askalf_exec::ProcessRunner;
use askalf_proto::OutputStream;
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::time::timeout;

/// Longer than any test takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// The runner process of all tests: they start their own executable with the arguments that run this alone.
#[test]
#[ignore = "a process that other tests start"]
fn runner_process() {
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    if stream.peer_addr().is_err() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let options = askalf_exec::RunnerOptions {
        private_folders: std::env::temp_dir(),
    };
    assert_eq!(
        runtime.block_on(askalf_exec::run_runner(stream, &options)),
        std::process::ExitCode::SUCCESS
    );
}

/// An agent that runs the script on its standard input and passes its output on until it is killed.
#[test]
#[ignore = "a process that other tests start"]
fn agent_process() {
    let mut script = String::new();
    std::io::stdin().read_to_string(&mut script).unwrap();
    if script.is_empty() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut running = runner().start(sh(&script)).await.unwrap();
        while let RunnerEvent::Output(_, bytes) = running.next().await {
            std::io::Write::write_all(&mut std::io::stderr(), &bytes).unwrap();
        }
    });
}

pub(crate) fn arguments_of(process: &str) -> Vec<String> {
    let test = format!("support::{process}");
    [test.as_str(), "--exact", "--ignored", "--nocapture", "--quiet"]
        .map(str::to_owned)
        .to_vec()
}

pub(crate) fn runner() -> ProcessRunner {
    let arguments = arguments_of("runner_process")
        .into_iter()
        .map(Into::into)
        .collect();
    ProcessRunner::new(PathBuf::from("/proc/self/exe"), arguments)
}

/// A script under `/bin/sh` that may take long, with a grace of 100 ms.
pub(crate) fn sh(script: &str) -> CommandSpec {
    CommandSpec {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        environment: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
        working_directory: "/".into(),
        standard_input: Bytes::new(),
        timeout: LONG,
        grace: Duration::from_millis(100),
        private_folder: None,
    }
}

pub(crate) async fn start(command: CommandSpec) -> Box<dyn RunningCommand> {
    runner().start(command).await.unwrap()
}

/// Runs to the end: what it wrote, and how it ended.
pub(crate) async fn to_the_end(running: &mut Box<dyn RunningCommand>) -> (String, String, Ended) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let ended = loop {
        match timeout(LONG, running.next()).await.expect("the command ends") {
            RunnerEvent::Output(OutputStream::Stdout, bytes) => out.extend_from_slice(&bytes),
            RunnerEvent::Output(OutputStream::Stderr, bytes) => err.extend_from_slice(&bytes),
            RunnerEvent::Ended(ended) => break ended,
        }
    };
    (
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
        ended,
    )
}

pub(crate) async fn run(command: CommandSpec) -> (String, String, Ended) {
    to_the_end(&mut start(command).await).await
}

/// The first `lines` numbers that the command prints, one a line.
pub(crate) async fn numbers(running: &mut Box<dyn RunningCommand>, lines: usize) -> Vec<i32> {
    let mut text = String::new();
    while text.matches('\n').count() < lines {
        match timeout(LONG, running.next()).await.expect("the command prints") {
            RunnerEvent::Output(_, bytes) => text += str::from_utf8(&bytes).unwrap(),
            RunnerEvent::Ended(ended) => panic!("it ended early ({ended:?}) after {text:?}"),
        }
    }
    text.lines().map(|line| line.parse().unwrap()).collect()
}

pub(crate) fn exited(status: ExitStatus) -> Ended {
    Ended::Exited {
        status,
        timed_out: false,
        terminated: false,
    }
}

/// Asserts that none of the processes exists, not even as one that nobody has collected.
#[track_caller]
pub(crate) fn assert_gone(pids: &[i32]) {
    for pid in pids {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        assert!(status.is_err(), "process {pid} is left: {}", status.unwrap());
    }
}

#[track_caller]
pub(crate) fn assert_alive(pids: &[i32]) {
    for pid in pids {
        assert!(
            Path::new(&format!("/proc/{pid}")).exists(),
            "process {pid} should run"
        );
    }
}

/// Waits for the end of a process that is nobody's child here.
pub(crate) async fn wait_for_end(pid: i32) {
    tokio::task::spawn_blocking(move || {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        // One that has ended already is not found.
        if let Ok(handle) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            let mut ends = [PollFd::new(&handle, PollFlags::IN)];
            let longest = Timespec::try_from(LONG).unwrap();
            assert_eq!(
                rustix::event::poll(&mut ends, Some(&longest)),
                Ok(1),
                "process {pid:?} stays"
            );
        }
    })
    .await
    .unwrap();
}

/// Prints five numbers and stays: itself, a child, a grandchild, one in a session of its own, one forked twice.
pub(crate) const FAMILY: &str = "
    echo $$
    sleep 1000 & echo $!
    sh -c 'sleep 1000 & echo $!; wait' &
    setsid sh -c 'echo $$; exec sleep 1000' &
    ( ( sh -c 'echo $$; exec sleep 1000' & ) & )
    wait
    sleep 1000
";
pub(crate) const FAMILY_SIZE: usize = 5;
