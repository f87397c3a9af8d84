//! What a runner tells of its command.

use std::path::PathBuf;
use std::time::Duration;

use askalf_agent_core::{CommandSpec, Ended, ExitStatus, Runner, RunnerEvent};
use askalf_exec::ProcessRunner;
use askalf_proto::OutputStream;
use bytes::Bytes;

use crate::support::*;

#[tokio::test]
async fn a_status_is_told_as_it_is() {
    for code in [0, 1, 127, 255] {
        let (_, _, ended) = run(sh(&format!("exit {code}"))).await;
        assert_eq!(ended, exited(ExitStatus::Code(code)));
    }
}

#[tokio::test]
async fn a_signal_is_told_from_a_status() {
    let (_, _, ended) = run(sh("kill -SEGV $$")).await;
    assert_eq!(ended, exited(ExitStatus::Signal(11)));
}

#[tokio::test]
async fn the_end_stays_the_end() {
    let mut running = start(sh("exit 4")).await;
    let (_, _, ended) = to_the_end(&mut running).await;
    running.terminate().await;
    assert_eq!(running.next().await, RunnerEvent::Ended(ended));
}

#[tokio::test]
async fn the_streams_are_told_apart() {
    let (out, err, _) = run(sh("echo to-out; echo to-err >&2; printf tail")).await;
    assert_eq!((out.as_str(), err.as_str()), ("to-out\ntail", "to-err\n"));
}

#[tokio::test]
async fn output_arrives_while_the_command_runs() {
    let mut running = start(sh("echo here; sleep 1000")).await;
    assert_eq!(
        running.next().await,
        RunnerEvent::Output(OutputStream::Stdout, Bytes::from_static(b"here\n"))
    );
}

#[tokio::test]
async fn standard_input_arrives_whole_and_ends() {
    let input = Bytes::from("0123456789abcdef".repeat(64 * 1024));
    let (out, _, ended) = run(CommandSpec {
        standard_input: input.clone(),
        ..sh("cat")
    })
    .await;
    assert_eq!(ended, exited(ExitStatus::Code(0)));
    assert!(
        out.as_bytes() == input,
        "{} of {} bytes came back",
        out.len(),
        input.len()
    );
}

#[tokio::test]
async fn a_command_that_does_not_read_its_input_is_not_disturbed() {
    let input = Bytes::from(vec![b'x'; 1024 * 1024]);
    let (out, _, ended) = run(CommandSpec {
        standard_input: input,
        ..sh("exec <&-; echo done")
    })
    .await;
    assert_eq!((out.as_str(), ended), ("done\n", exited(ExitStatus::Code(0))));
}

#[tokio::test]
async fn the_environment_is_the_given_one_alone() {
    let command = CommandSpec {
        program: "env".into(),
        arguments: vec![],
        environment: vec![
            ("PATH".into(), "/usr/bin:/bin".into()),
            ("A".into(), "1 2".into()),
        ],
        ..sh("")
    };
    let (out, _, _) = run(command).await;
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A=1 2", "PATH=/usr/bin:/bin"]);
}

#[tokio::test]
async fn a_command_holds_no_way_to_its_runner_or_agent() {
    let (out, _, _) = run(sh("readlink /proc/$$/fd/*")).await;
    assert!(!out.contains("socket:"), "{out}");
    assert!(out.contains("pipe:"), "{out}");
}

#[tokio::test]
async fn a_command_is_in_another_session_than_the_agent() {
    let (out, _, _) = run(sh("cut -d' ' -f6 /proc/$$/stat")).await;
    let session: i32 = out.trim().parse().unwrap();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let own: i32 = stat.split(' ').nth(5).unwrap().parse().unwrap();
    assert_ne!(session, own);
}

#[tokio::test]
async fn what_cannot_start_is_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let file_name = file.display().to_string();
    for (command, words) in [
        (
            CommandSpec {
                working_directory: "/no/such/folder".into(),
                ..sh("true")
            },
            "the working directory /no/such/folder does not exist".to_owned(),
        ),
        (
            CommandSpec {
                working_directory: file.clone(),
                ..sh("true")
            },
            format!("the working directory {file_name} is not a directory"),
        ),
        (
            CommandSpec {
                working_directory: "here".into(),
                ..sh("true")
            },
            "the working directory here is not an absolute path".to_owned(),
        ),
        (
            CommandSpec {
                program: "/no/such/shell".into(),
                ..sh("true")
            },
            "/no/such/shell does not exist".to_owned(),
        ),
        (
            CommandSpec {
                program: file.clone().into(),
                ..sh("true")
            },
            format!("{file_name} cannot be started: permission denied"),
        ),
        (
            sh(&"x".repeat(4 * 1024 * 1024)),
            "/bin/sh cannot be started: the command is longer than this system takes".to_owned(),
        ),
    ] {
        let (_, _, ended) = run(command).await;
        assert_eq!(ended, Ended::NotStarted(words));
    }
}

#[tokio::test]
async fn a_program_that_is_no_runner_is_an_error() {
    let command = || sh("true");
    let missing = ProcessRunner::new(PathBuf::from("/no/such/runner"), vec![]);
    let error = missing.start(command()).await.err().unwrap();
    assert_eq!(
        (error.id(), error.to_string().as_str()),
        (
            "runner-spawn",
            "the task runner could not be started: No such file or directory"
        )
    );
    let other = ProcessRunner::new(PathBuf::from("/bin/true"), vec![]);
    assert_eq!(other.start(command()).await.err().unwrap().id(), "runner-socket");
}

#[tokio::test]
async fn a_command_that_no_dispatch_could_carry_is_refused() {
    let command = CommandSpec {
        standard_input: vec![0; 18 * 1024 * 1024].into(),
        ..sh("true")
    };
    assert_eq!(
        runner().start(command).await.err().unwrap().id(),
        "runner-command"
    );
}

#[tokio::test]
async fn a_reader_that_waits_slows_the_command_down_and_loses_nothing() {
    let mut running = start(sh("head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2")).await;
    let RunnerEvent::Output(_, first) = running.next().await else {
        panic!("output first")
    };
    // Far more than pipe and socket hold is on its way; the writer waits now.
    let (out, err, ended) = to_the_end(&mut running).await;
    assert_eq!((first.len() + out.len(), err.as_str()), (3_000_000, "end\n"));
    assert_eq!(ended, exited(ExitStatus::Code(0)));
}

#[tokio::test]
async fn the_time_out_is_the_runners_own_even_where_nobody_reads() {
    let mut running = start(CommandSpec {
        timeout: Duration::from_millis(300),
        ..sh("echo $$; exec yes")
    })
    .await;
    let RunnerEvent::Output(_, first) = running.next().await else {
        panic!("output first")
    };
    let pid = str::from_utf8(&first)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    // Not reading on: the pipes are full, and the end comes from the runner alone.
    wait_for_end(pid).await;
    let (_, _, ended) = to_the_end(&mut running).await;
    assert_eq!(
        ended,
        Ended::Exited {
            status: ExitStatus::Signal(15),
            timed_out: true,
            terminated: false
        }
    );
}
