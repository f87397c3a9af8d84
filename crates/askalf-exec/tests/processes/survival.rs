//! Nothing of a task survives its end, whatever that is.

use std::process::Stdio;
use std::time::Duration;

use askalf_agent_core::{CommandSpec, Ended, ExitStatus};
use tokio::io::AsyncBufReadExt;

use crate::support::*;

fn terminated(status: ExitStatus) -> Ended {
    Ended::Exited {
        status,
        timed_out: false,
        terminated: true,
    }
}

#[tokio::test]
async fn a_time_out_ends_the_whole_tree() {
    let mut running = start(CommandSpec {
        timeout: Duration::from_secs(3),
        ..sh(FAMILY)
    })
    .await;
    let pids = numbers(&mut running, FAMILY_SIZE).await;
    let (_, _, ended) = to_the_end(&mut running).await;
    assert_gone(&pids);
    assert_eq!(
        ended,
        Ended::Exited {
            status: ExitStatus::Signal(15),
            timed_out: true,
            terminated: false
        }
    );
}

#[tokio::test]
async fn a_cancel_ends_the_whole_tree() {
    let mut running = start(sh(FAMILY)).await;
    let pids = numbers(&mut running, FAMILY_SIZE).await;
    assert_alive(&pids);
    running.terminate().await;
    let (_, _, ended) = to_the_end(&mut running).await;
    assert_gone(&pids);
    assert_eq!(ended, terminated(ExitStatus::Signal(15)));
}

#[tokio::test]
async fn who_ignores_sigterm_is_killed_after_the_grace() {
    let mut running = start(sh(&format!("trap '' TERM; {FAMILY}"))).await;
    let pids = numbers(&mut running, FAMILY_SIZE).await;
    running.terminate().await;
    let (_, _, ended) = to_the_end(&mut running).await;
    assert_gone(&pids);
    assert_eq!(ended, terminated(ExitStatus::Signal(9)));
}

#[tokio::test]
async fn who_heeds_sigterm_has_the_grace_to_clean_up() {
    let script = "trap 'echo cleaned; exit 7' TERM; echo $$; while :; do sleep 0.01; done";
    let mut running = start(CommandSpec {
        grace: LONG,
        ..sh(script)
    })
    .await;
    numbers(&mut running, 1).await;
    running.terminate().await;
    let (out, _, ended) = to_the_end(&mut running).await;
    assert_eq!(
        (out.as_str(), ended),
        ("cleaned\n", terminated(ExitStatus::Code(7)))
    );
}

#[tokio::test]
async fn a_stopped_process_hears_sigterm() {
    let mut running = start(CommandSpec {
        grace: LONG,
        ..sh("echo $$; kill -STOP $$")
    })
    .await;
    let pids = numbers(&mut running, 1).await;
    running.terminate().await;
    let (_, _, ended) = to_the_end(&mut running).await;
    assert_gone(&pids);
    assert_eq!(ended, terminated(ExitStatus::Signal(15)));
}

#[tokio::test]
async fn what_a_command_leaves_running_at_its_exit_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let script = "sleep 1000 & echo $!
        setsid sh -c 'trap \"\" TERM; echo $$; touch deaf; while :; do sleep 1000; done' &
        while ! [ -e deaf ]; do sleep 0.01; done
        exit 3";
    let command = CommandSpec {
        working_directory: folder.path().into(),
        ..sh(script)
    };
    let (out, _, ended) = run(command).await;
    let pids: Vec<i32> = out.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    assert_gone(&pids);
    assert_eq!(ended, exited(ExitStatus::Code(3)));
}

#[tokio::test]
async fn a_process_that_hops_from_fork_to_fork_is_caught() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("hopper");
    std::fs::write(&script, "trap '' TERM\nsetsid sh \"$0\" &\nexit 0\n").unwrap();
    let (_, err, ended) = run(sh(&format!("exec sh {}", script.display()))).await;
    assert_eq!((ended, err.as_str()), (exited(ExitStatus::Code(0)), ""));
    assert_eq!(processes_with(&script.display().to_string()), 0);
}

#[tokio::test]
async fn a_crowd_of_forkers_is_caught() {
    let mark = "1000.424242";
    let script = format!("trap '' TERM; for i in 1 2 3; do (while :; do sleep {mark} & done) & done; wait");
    let timeout = Duration::from_millis(200);
    let (_, _, ended) = run(CommandSpec {
        timeout,
        ..sh(&script)
    })
    .await;
    assert_eq!(
        ended,
        Ended::Exited {
            status: ExitStatus::Signal(9),
            timed_out: true,
            terminated: false
        }
    );
    assert_eq!(processes_with(mark), 0);
}

fn processes_with(argument: &str) -> usize {
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok());
    processes.filter(|line| line.contains(argument)).count()
}

/// The family, and one more that kills or stops the runner of them all when it is told to.
fn family_against_runner(signal: &str, go: &std::path::Path) -> String {
    let go = go.display();
    format!("runner=$PPID; (while ! [ -e {go} ]; do sleep 0.01; done; kill -{signal} $runner) & {FAMILY}")
}

#[tokio::test]
async fn a_runner_that_is_signalled_ends_its_tree() {
    for signal in ["TERM", "INT", "HUP"] {
        let folder = tempfile::tempdir().unwrap();
        let go = folder.path().join("go");
        let mut running = start(sh(&family_against_runner(signal, &go))).await;
        let pids = numbers(&mut running, FAMILY_SIZE).await;
        std::fs::write(&go, "").unwrap();
        let (_, _, ended) = to_the_end(&mut running).await;
        assert_gone(&pids);
        assert_eq!(ended, exited(ExitStatus::Signal(15)), "{signal}");
    }
}

#[tokio::test]
async fn a_task_that_kills_its_runner_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let mut other = start(sh(FAMILY)).await;
    let unharmed = numbers(&mut other, FAMILY_SIZE).await;

    let mut running = start(sh(&family_against_runner("KILL", &go))).await;
    let pids = numbers(&mut running, FAMILY_SIZE).await;
    assert_alive(&pids);
    std::fs::write(&go, "").unwrap();
    let (_, _, ended) = to_the_end(&mut running).await;
    assert_gone(&pids);
    assert_eq!(ended, Ended::RunnerLost);

    assert_alive(&unharmed);
    other.terminate().await;
    let (_, _, ended) = to_the_end(&mut other).await;
    assert_eq!(ended, terminated(ExitStatus::Signal(15)));
}

/// A container often has its leader of sessions outside: `getsid` is 0 there for the agent, and for what `docker exec` starts.
#[tokio::test]
async fn the_same_holds_where_the_sessions_leader_is_in_another_pid_namespace() {
    let unshare = |program: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args([
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--mount-proc",
            program,
        ]);
        command
    };
    if !unshare("true").output().unwrap().status.success() {
        println!("not run: this machine allows no PID namespace");
        return;
    }
    let myself = std::env::current_exe().unwrap();
    let inside = unshare(myself.to_str().unwrap())
        .args(["--exact", "survival::a_task_that_kills_its_runner_leaves_nothing"])
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&inside.stdout);
    assert!(inside.status.success(), "{out}");
    assert!(out.contains("1 passed"), "{out}");
}

#[tokio::test]
async fn runners_that_start_while_others_are_killed_are_not_taken_for_orphans() {
    let killers = (0..8)
        .map(|_| tokio::spawn(async { run(sh("setsid sleep 1000 & kill -9 $PPID; sleep 1000")).await.2 }));
    let others = (0..8).map(|_| tokio::spawn(async { run(sh("setsid sleep 0.05 & wait; exit 5")).await.2 }));
    let (killers, others): (Vec<_>, Vec<_>) = killers.zip(others).unzip();
    for other in others {
        assert_eq!(other.await.unwrap(), exited(ExitStatus::Code(5)));
    }
    for killer in killers {
        assert_eq!(killer.await.unwrap(), Ended::RunnerLost);
    }
}

#[tokio::test]
async fn a_task_that_stops_its_runner_is_ended_by_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let mut running = start(sh(&family_against_runner("STOP", &go))).await;
    let pids = numbers(&mut running, FAMILY_SIZE).await;
    std::fs::write(&go, "").unwrap();
    tokio::time::pause();
    tokio::time::advance(LONG + Duration::from_secs(20)).await;
    tokio::time::resume();
    let (_, _, ended) = to_the_end(&mut running).await;
    assert_gone(&pids);
    assert_eq!(ended, Ended::RunnerLost);
}

#[tokio::test]
async fn a_command_that_is_dropped_is_killed_with_its_tree() {
    let mut running = start(sh(&format!("trap '' TERM; {FAMILY}"))).await;
    let pids = numbers(&mut running, FAMILY_SIZE).await;
    drop(running);
    for pid in pids {
        wait_for_end(pid).await;
    }
}

#[tokio::test]
async fn an_agent_that_is_killed_takes_every_task_with_it() {
    let (mut agent, pids) = agent_with(&format!("trap '' TERM; {FAMILY}")).await;
    assert_alive(&pids);
    agent.start_kill().unwrap();
    agent.wait().await.unwrap();
    for pid in pids {
        wait_for_end(pid).await;
    }
}

#[tokio::test]
async fn a_task_that_stops_its_runner_does_not_outlive_an_agent_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let (mut agent, pids) = agent_with(&family_against_runner("STOP", &go)).await;
    let runner = parent_of(pids[0]);
    std::fs::write(&go, "").unwrap();
    while state_of(runner) != "T" {
        tokio::task::yield_now().await;
    }
    assert_alive(&pids);
    agent.start_kill().unwrap();
    agent.wait().await.unwrap();
    for pid in pids {
        wait_for_end(pid).await;
    }
}

fn stat_of(pid: i32, field: usize) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(field).unwrap().to_owned()
}

fn state_of(pid: i32) -> String {
    stat_of(pid, 0)
}

fn parent_of(pid: i32) -> i32 {
    stat_of(pid, 1).parse().unwrap()
}

/// An agent in a process of its own that runs a family, and the family's numbers.
async fn agent_with(script: &str) -> (tokio::process::Child, Vec<i32>) {
    let mut agent = tokio::process::Command::new("/proc/self/exe")
        .args(arguments_of("agent_process"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = agent.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, script.as_bytes())
        .await
        .unwrap();
    drop(stdin);
    let mut lines = tokio::io::BufReader::new(agent.stderr.take().unwrap()).lines();
    let mut pids = vec![];
    for _ in 0..FAMILY_SIZE {
        pids.push(lines.next_line().await.unwrap().unwrap().parse().unwrap());
    }
    (agent, pids)
}
