//! Tasks on Windows, with real processes under the agent's own `runner`.
#![cfg(windows)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper of a test ends at the first surprise, as the test does"
)]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::windows::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use askalf_agent_core::{
    CancelHandle, CommandSpec, Ended, Executor, ExitStatus, Runner, RunnerEvent, RunningCommand, Task,
    TaskOutput,
};
use askalf_exec::{ProcessRunner, ShellExecutor, ShellOptions, scrubbed_environment};
use askalf_proto::{Cause, OutputStream};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than any test takes on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// Names the port of the test to the processes that it starts.
const PORT: &str = "TEST_PORT";

/// What a process that stays prints once it is connected.
const CONNECTED: &str = "connected";

fn runner() -> ProcessRunner {
    ProcessRunner::new(
        PathBuf::from(env!("CARGO_BIN_EXE_askalf-agent")),
        vec!["runner".into()],
    )
}

fn environment() -> Vec<(OsString, OsString)> {
    scrubbed_environment(std::env::vars_os())
}

fn command(program: &str, arguments: &[&str]) -> CommandSpec {
    CommandSpec {
        program: program.into(),
        arguments: arguments.iter().map(Into::into).collect(),
        environment: environment(),
        working_directory: std::env::temp_dir(),
        standard_input: Vec::new().into(),
        timeout: LONG,
        grace: Duration::from_millis(100),
        private_folder: None,
    }
}

fn cmd(script: &str) -> CommandSpec {
    command("cmd.exe", &["/d", "/s", "/c", &format!("\"{script}\"")])
}

/// One of the processes below.
fn helper(name: &str, port: u16) -> CommandSpec {
    let myself = std::env::current_exe().unwrap();
    let mut spec = command(myself.to_str().unwrap(), &helper_arguments(name));
    spec.environment.push((PORT.into(), port.to_string().into()));
    spec
}

fn helper_arguments(name: &str) -> [&str; 5] {
    [name, "--exact", "--ignored", "--nocapture", "--quiet"]
}

/// The port that this process was started with; `None` where somebody runs the ignored tests by hand.
fn port() -> Option<u16> {
    std::env::var(PORT).ok()?.parse().ok()
}

/// Connects to the test and stays until that ends the connection, or this process is ended.
#[test]
#[ignore = "a process that other tests start"]
fn stay() {
    if let Some(port) = port() {
        let mut test = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        println!("{CONNECTED}");
        let _ended = test.read_to_end(&mut Vec::new());
    }
}

/// Starts one that stays, and leaves it behind once it is connected.
#[test]
#[ignore = "a process that other tests start"]
fn leave_one() {
    if port().is_some() {
        let mut left = start_helper("stay", 0, Stdio::piped());
        let mut lines = BufReader::new(left.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == CONNECTED));
    }
}

/// Four that stay: a child, one that is detached in a group of its own, one whose parent has left, and itself.
#[test]
#[ignore = "a process that other tests start"]
fn family() {
    const DETACHED_IN_A_NEW_GROUP: u32 = 0x8 | 0x200;
    if port().is_some() {
        start_helper("stay", 0, Stdio::null());
        start_helper("stay", DETACHED_IN_A_NEW_GROUP, Stdio::null());
        start_helper("leave_one", 0, Stdio::null());
        stay();
    }
}
const FAMILY_SIZE: usize = 4;

/// A process that nobody waits for: to be left behind is what it is for.
fn start_helper(name: &str, flags: u32, stdout: Stdio) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(helper_arguments(name))
        .creation_flags(flags)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Stays until Ctrl-Break, and then leaves in an order of its own.
#[test]
#[ignore = "a process that other tests start"]
fn heed_break() {
    let Some(port) = port() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut breaks = tokio::signal::windows::ctrl_break().unwrap();
        let _test = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        breaks.recv().await;
    });
    std::io::stderr().write_all(b"cleaned").unwrap();
    #[expect(clippy::exit, reason = "the harness would exit with a status of its own")]
    std::process::exit(7);
}

/// Tells how much came on its standard input.
#[test]
#[ignore = "a process that other tests start"]
fn count_input() {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).unwrap();
    write!(std::io::stderr(), "{} bytes", input.len()).unwrap();
}

/// An agent that runs a family until it is killed.
#[test]
#[ignore = "a process that other tests start"]
fn agent() {
    let Some(port) = port() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut running = runner().start(helper("family", port)).await.unwrap();
        while let RunnerEvent::Output(..) = running.next().await {}
    });
}

/// Processes that are connected to the test.
struct Connected {
    listener: TcpListener,
    port: u16,
}

impl Connected {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, port }
    }

    async fn take(&self, count: usize) -> Vec<TcpStream> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let accepted = timeout(LONG, self.listener.accept())
                .await
                .expect("a process connects");
            taken.push(accepted.unwrap().0);
        }
        taken
    }
}

/// Waits for the end of each of the processes: the system closes what a dead process held.
async fn assert_ended(processes: Vec<TcpStream>) {
    for mut process in processes {
        let mut byte = [0];
        let read = timeout(LONG, process.read(&mut byte))
            .await
            .expect("the process ends");
        assert!(matches!(read, Ok(0) | Err(_)), "it speaks");
    }
}

async fn start(command: CommandSpec) -> Box<dyn RunningCommand> {
    runner().start(command).await.unwrap()
}

async fn to_the_end(running: &mut Box<dyn RunningCommand>) -> (String, String, Ended) {
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

async fn run(command: CommandSpec) -> (String, String, Ended) {
    to_the_end(&mut start(command).await).await
}

fn exited(code: i32) -> Ended {
    Ended::Exited {
        status: ExitStatus::Code(code),
        timed_out: false,
        terminated: false,
    }
}

#[tokio::test]
async fn a_status_is_told_as_it_is() {
    for code in [0, 1, 255, -1_073_741_510] {
        let (_, _, ended) = run(cmd(&format!("exit {code}"))).await;
        assert_eq!(ended, exited(code));
    }
}

#[tokio::test]
async fn the_streams_are_told_apart_and_quotes_stay() {
    let (out, err, ended) = run(cmd("echo \"a b\"&echo to-err>&2")).await;
    assert_eq!((out.trim_end(), err.trim_end()), ("\"a b\"", "to-err"));
    assert_eq!(ended, exited(0));
}

#[tokio::test]
async fn standard_input_arrives_whole_and_ends() {
    let input = vec![b'x'; 1024 * 1024];
    let spec = CommandSpec {
        standard_input: input.into(),
        ..helper("count_input", 0)
    };
    let (_, err, ended) = run(spec).await;
    assert_eq!((err.as_str(), ended), ("1048576 bytes", exited(0)));
}

#[tokio::test]
async fn the_environment_is_the_given_one() {
    let spec = CommandSpec {
        environment: [environment(), vec![("GIVEN".into(), "1 2".into())]].concat(),
        ..cmd("set")
    };
    let (out, _, _) = run(spec).await;
    assert!(out.contains("GIVEN=1 2"), "{out}");
    assert!(!out.contains("CARGO"), "{out}");
}

#[tokio::test]
async fn what_cannot_start_is_told_in_words() {
    let temp = std::env::temp_dir();
    for (spec, words) in [
        (
            CommandSpec {
                working_directory: r"C:\no\such\folder".into(),
                ..cmd("exit 0")
            },
            r"the working directory C:\no\such\folder does not exist".to_owned(),
        ),
        (
            CommandSpec {
                working_directory: "here".into(),
                ..cmd("exit 0")
            },
            "the working directory here is not an absolute path".to_owned(),
        ),
        (
            command(temp.join("no-such.exe").to_str().unwrap(), &[]),
            format!("{} does not exist", temp.join("no-such.exe").display()),
        ),
    ] {
        let (_, _, ended) = run(spec).await;
        assert_eq!(ended, Ended::NotStarted(words));
    }
}

#[tokio::test]
async fn a_cancel_ends_the_whole_tree() {
    let test = Connected::listen().await;
    let mut running = start(helper("family", test.port)).await;
    let processes = test.take(FAMILY_SIZE).await;
    running.terminate().await;
    let (_, _, ended) = to_the_end(&mut running).await;
    assert!(
        matches!(
            ended,
            Ended::Exited {
                status: ExitStatus::Code(_),
                timed_out: false,
                terminated: true
            }
        ),
        "{ended:?}"
    );
    assert_ended(processes).await;
}

#[tokio::test]
async fn a_time_out_ends_the_whole_tree() {
    let test = Connected::listen().await;
    let mut running = start(CommandSpec {
        timeout: Duration::from_secs(5),
        ..helper("family", test.port)
    })
    .await;
    let processes = test.take(FAMILY_SIZE).await;
    let (_, _, ended) = to_the_end(&mut running).await;
    assert!(
        matches!(
            ended,
            Ended::Exited {
                status: ExitStatus::Code(_),
                timed_out: true,
                terminated: false
            }
        ),
        "{ended:?}"
    );
    assert_ended(processes).await;
}

#[tokio::test]
#[ignore = "Wine sends no Ctrl-Break through a console without a window"]
async fn who_heeds_ctrl_break_has_the_grace_to_clean_up() {
    let test = Connected::listen().await;
    let mut running = start(CommandSpec {
        grace: LONG,
        ..helper("heed_break", test.port)
    })
    .await;
    let processes = test.take(1).await;
    running.terminate().await;
    let (_, err, ended) = to_the_end(&mut running).await;
    assert_eq!(
        (err.as_str(), ended),
        (
            "cleaned",
            Ended::Exited {
                status: ExitStatus::Code(7),
                timed_out: false,
                terminated: true
            }
        )
    );
    assert_ended(processes).await;
}

#[tokio::test]
async fn what_a_command_leaves_running_at_its_exit_ends_with_it() {
    let test = Connected::listen().await;
    let mut running = start(helper("leave_one", test.port)).await;
    let processes = test.take(1).await;
    let (_, _, ended) = to_the_end(&mut running).await;
    assert_eq!(ended, exited(0));
    assert_ended(processes).await;
}

#[tokio::test]
async fn a_command_that_is_dropped_is_killed_with_its_tree() {
    let test = Connected::listen().await;
    let running = start(helper("family", test.port)).await;
    let processes = test.take(FAMILY_SIZE).await;
    drop(running);
    assert_ended(processes).await;
}

#[tokio::test]
async fn an_agent_that_is_killed_takes_every_task_with_it() {
    let test = Connected::listen().await;
    let mut agent = Command::new(std::env::current_exe().unwrap())
        .args(helper_arguments("agent"))
        .env(PORT, test.port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let processes = test.take(FAMILY_SIZE).await;
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert_ended(processes).await;
}

#[tokio::test]
async fn a_shell_task_runs_from_its_input_to_its_result() {
    let options = ShellOptions {
        environment: environment(),
        grace: Duration::from_millis(100),
        ..ShellOptions::new("cmd.exe".into(), std::env::temp_dir())
    };
    let executor = ShellExecutor::new(Arc::new(runner()), options);
    let task = |input: &str| Task {
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
    };
    for (input, status, output) in [("echo hello", 0, "hello"), ("exit 5", 5, "")] {
        let (_handle, cancel) = CancelHandle::new();
        let (sender, mut chunks) = mpsc::channel(64);
        let end = executor
            .run(task(input), TaskOutput::new("exec_1", sender), cancel)
            .await;
        assert_eq!(end.cause, Some(Cause::Exit), "{end:?}");
        assert_eq!(end.exit_code, Some(status));
        assert_eq!(end.output.trim_end(), output);
        assert_eq!(chunks.recv().await.is_some(), !output.is_empty());
    }
}
