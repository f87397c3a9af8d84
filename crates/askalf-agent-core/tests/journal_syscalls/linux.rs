//! The life of a journal, its system calls, and what must hold after each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use askalf_agent_core::journal::{Held, Journal, JournalFile, Record};

const PATH: &str = "ASKALF_JOURNAL_SYSCALLS_PATH";

/// One point of so many is run where not all are: a number that shares no factor with the faults at each call.
const SAMPLE: usize = 13;

/// Every call that reads or changes a file, by any of its names.
const CALLS: &str = "openat,read,pread64,write,pwrite64,lseek,statx,newfstatat,fstat,lstat,fsync,fdatasync,ftruncate,\
                     fallocate,unlink,rename,fcntl,chmod,fchmod,close";

const KILL: &str = "signal=KILL";
const INJECTED: [&str; 4] = [KILL, "error=ENOSPC", "error=EIO", "error=EINTR"];

/// How often the agent tries a commit here before it gives up.
const TRIES: usize = 4;

pub(crate) fn main() {
    if let Ok(path) = std::env::var(PATH) {
        return live(Path::new(&path));
    }
    let mut arguments = std::env::args();
    // As the standard harness does, for `cargo test FILTER` and the tools that list tests.
    if arguments.any(|argument| argument == "--list") {
        return;
    }
    let all = std::env::args().any(|argument| argument == "--ignored" || argument == "--include-ignored");
    if !may_trace() {
        assert!(!all, "this needs strace and the right to trace");
        println!("not run: the kill at each system call of the journal: it needs strace");
        return;
    }
    let every = if all { 1 } else { SAMPLE };
    let (run, points) = nothing_is_lost(every);
    println!(
        "proof: {points} points at which the journal is killed or has a call failing; {run} run, 0 lost"
    );
    // As the standard harness counts.
    println!("test result: ok. 1 passed; 0 failed; 0 ignored");
}

/// What an agent records in its life, commit by commit.
fn commits() -> Vec<Vec<Record>> {
    let accepted = |id: &str| Record::Accepted {
        execution_id: id.to_owned(),
        executor: "shell".to_owned(),
    };
    let ended = |id: &str, bytes: usize| Record::Ended {
        execution_id: id.to_owned(),
        frame: "f".repeat(bytes).into(),
    };
    let delivered = |id: &str| Record::Delivered {
        execution_id: id.to_owned(),
    };
    vec![
        vec![accepted("a"), accepted("b")],
        vec![ended("a", 20_000)],
        vec![accepted("c")],
        vec![ended("b", 300_000), delivered("a")],
        vec![
            Record::Quarantined {
                execution_id: "b".to_owned(),
                replacement: Some("short".into()),
            },
            ended("c", 10),
        ],
        vec![delivered("c")],
    ]
}

/// The agent's process: reads what there is, and says after each commit that it is done.
fn live(path: &Path) {
    let journal = JournalFile::new(path);
    if !(0..TRIES).any(|_| journal.load(0).is_ok()) {
        return println!("gave up");
    }
    for records in commits() {
        if !(0..TRIES).any(|_| journal.commit(&records, 0).is_ok()) {
            return println!("gave up");
        }
        println!("done");
    }
}

/// What is held after each number of commits.
fn expected() -> Vec<Held> {
    let folder = tempfile::tempdir().unwrap();
    let journal = JournalFile::new(folder.path().join("executions.db"));
    let mut expected = vec![journal.load(0).unwrap()];
    for records in commits() {
        journal.commit(&records, 0).unwrap();
        expected.push(journal.load(0).unwrap());
    }
    expected
}

fn nothing_is_lost(every: usize) -> (usize, usize) {
    let expected = expected();
    let (mut run, mut points) = (0, 0_usize);
    for (call, n) in calls() {
        for injected in INJECTED {
            // A close is not made again; what is written without a place is what this process says.
            if injected != KILL && (call == "close" || call == "write") {
                continue;
            }
            points += 1;
            if points.is_multiple_of(every) {
                run_point(&call, n, injected, &expected);
                run += 1;
            }
        }
    }
    (run, points)
}

fn run_point(call: &str, n: usize, injected: &str, expected: &[Held]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("executions.db");
    let inject = format!("inject={call}:{injected}:when={n}");
    let output = run(&path, &["-o", "/dev/null", "-e", &inject]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    let point = format!("{injected} at {call} {n}: {told}{errors}");
    let done = told.matches("done").count();
    if injected != KILL {
        assert_eq!(
            done,
            expected.len() - 1,
            "{point}: one failed call is made up for"
        );
    }
    let held = JournalFile::new(&path).load(0).unwrap();
    assert_eq!(held.moved_aside, None, "{point}");
    // The commit under way may have come through without being told.
    let fits = held == expected[done] || expected.get(done + 1) == Some(&held);
    assert!(fits, "{point}: after {done} commits a start finds {held:?}");
}

/// Which calls a life makes, from the first on its file: name, and how many of that name came before.
fn calls() -> Vec<(String, usize)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("executions.db");
    let log = folder.path().join("log");
    let output = run(&path, &["-o", log.to_str().unwrap()]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let log = std::fs::read_to_string(log).unwrap();
    let first = log
        .lines()
        .position(|line| line.contains("executions.db"))
        .unwrap();
    let mut before: BTreeMap<&str, usize> = BTreeMap::new();
    let mut calls = Vec::new();
    for (at, line) in log.lines().enumerate() {
        if let Some((name, _)) = line.split_once('(') {
            let count = before.entry(name).or_default();
            *count += 1;
            if at >= first {
                calls.push((name.to_owned(), *count));
            }
        }
    }
    assert!(calls.len() > 100, "{calls:?}");
    calls
}

fn run(path: &PathBuf, strace: &[&str]) -> Output {
    Command::new("strace")
        .args(["-qq", "-e"])
        .arg(format!("trace={CALLS}"))
        .args(strace)
        .arg(std::env::current_exe().unwrap())
        .env(PATH, path)
        .output()
        .unwrap()
}

fn may_trace() -> bool {
    let status = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
