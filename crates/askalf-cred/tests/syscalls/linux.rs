//! The acts, their system calls, and what must hold after each.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use askalf_cred::{
    AgentConfig, Home, LoadOptions, LoadOutcome, MachineFacts, MigrationStep, SaveOptions, SealMode, load,
    load_next, migrate, promote_next, rotate_key, save, stage_next,
};
use serde_json::{Value, json};

use crate::common::{OTHER_TOKEN, Scratch, TOKEN, now, token, unseal_as_3_3};

const HOME: &str = "ASKALF_SYSCALLS_HOME";
const ACT: &str = "ASKALF_SYSCALLS_ACT";
const ACTS: [&str; 6] = ["create", "save", "migrate", "rotate", "stage", "promote"];

/// Every call that reads or changes a file, by any of its names.
const CALLS: &str = "openat,open,read,write,lseek,statx,newfstatat,fstat,fsync,fdatasync,rename,renameat,renameat2,link,\
                     linkat,unlink,unlinkat,flock,mkdir,mkdirat,chmod,fchmodat,getdents64,getrandom,close";

pub(crate) fn main() {
    if let (Ok(home), Ok(act)) = (std::env::var(HOME), std::env::var(ACT)) {
        return perform(&Home::new(home), &act);
    }
    if std::env::args().any(|argument| argument == "--ignored" || argument == "--include-ignored") {
        killed_at_each_system_call_nothing_is_lost();
        with_each_system_call_failing_nothing_is_lost();
    } else {
        println!("skipped: needs strace; add `-- --ignored`");
    }
}

fn perform(home: &Home, act: &str) {
    let options = SaveOptions::default();
    let done = match act {
        "create" | "save" => save(
            home,
            &token(OTHER_TOKEN),
            &AgentConfig::default(),
            SealMode::Keyfile,
            now(),
        )
        .map(drop),
        "migrate" => match migrate(home, &MachineFacts::default(), now()).step {
            MigrationStep::Failed { why, .. } => Err(why),
            _ => Ok(()),
        },
        "rotate" => rotate_key(home).map(drop),
        "stage" => stage_next(home, &token(OTHER_TOKEN), &options),
        "promote" => promote_next(home, &token(OTHER_TOKEN), now(), &options).map(drop),
        other => panic!("{other}"),
    };
    if let Err(error) = done {
        println!("reported: {error}");
    }
}

fn set_scene(act: &str) -> Scratch {
    let scratch = Scratch::new();
    let home = scratch.home();
    match act {
        "create" => fs::remove_dir(home.path()).unwrap(),
        "migrate" => scratch.write_config(json!({"apiKey": TOKEN}).to_string()),
        _ => {
            crate::common::save(&home, TOKEN, SealMode::Keyfile);
        }
    }
    if act == "promote" {
        stage_next(&home, &token(OTHER_TOKEN), &SaveOptions::default()).unwrap();
    }
    scratch
}

/// Runs an act under strace with these arguments.
fn run(home: &Home, act: &str, strace: &[&str]) -> Output {
    Command::new("strace")
        .args(["-qq", "-e"])
        .arg(format!("trace={CALLS}"))
        .args(strace)
        .arg(std::env::current_exe().unwrap())
        .env(HOME, home.path())
        .env(ACT, act)
        .output()
        .unwrap()
}

/// Which of its calls an act makes on its home, from the first: name, and how many of that name came before.
fn calls_of(act: &str) -> Vec<(String, usize)> {
    let scratch = set_scene(act);
    let log = scratch.home().path().with_extension("log");
    let output = run(&scratch.home(), act, &["-o", log.to_str().unwrap()]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let log = fs::read_to_string(log).unwrap();
    let home = scratch.home().path().display().to_string();
    let first = log.lines().position(|line| line.contains(&home)).unwrap();
    let mut before: BTreeMap<&str, usize> = BTreeMap::new();
    let mut calls = Vec::new();
    for (n, line) in log.lines().enumerate() {
        if let Some((name, _)) = line.split_once('(') {
            let count = before.entry(name).or_default();
            *count += 1;
            if n >= first {
                calls.push((name.to_owned(), *count));
            }
        }
    }
    calls
}

fn token_of(outcome: &LoadOutcome) -> Option<String> {
    match outcome {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => {
            Some(credential.token.expose_secret().to_owned())
        }
        LoadOutcome::Absent | LoadOutcome::Refused(_) => None,
    }
}

/// A normal start, and what it must find.
fn check(scratch: &Scratch, act: &str, point: &str) {
    let home = scratch.home();
    let start = migrate(&home, &MachineFacts::default(), now());
    assert_eq!(start.recovery.fault, None, "{point}");
    let found = token_of(&start.outcome);
    let fits = match (act, found.as_deref()) {
        ("create", None) => matches!(start.outcome, LoadOutcome::Absent),
        ("create", Some(found)) => found == OTHER_TOKEN,
        ("save" | "promote", Some(found)) => [TOKEN, OTHER_TOKEN].contains(&found),
        (_, Some(found)) => found == TOKEN,
        (_, None) => false,
    };
    assert!(fits, "{point}: a start finds {}", start.outcome);
    if act == "promote" && found.as_deref() == Some(TOKEN) {
        let next = load_next(&home, &LoadOptions::default());
        assert_eq!(
            token_of(&next).as_deref(),
            Some(OTHER_TOKEN),
            "{point}: the pending key is lost"
        );
    }
    if found.is_some() {
        let config: Value = serde_json::from_slice(&fs::read(home.config_path()).unwrap()).unwrap();
        let keyfile = fs::read(home.keyfile_path()).unwrap();
        let read = unseal_as_3_3(config["apiKey"].as_str().unwrap(), &keyfile);
        assert_eq!(read, found, "{point}: an agent 3.3 cannot read it");
        assert_eq!(token_of(&load(&home)), found, "{point}");
    }
}

fn killed_at_each_system_call_nothing_is_lost() {
    let mut points = 0;
    for act in ACTS {
        for (call, n) in calls_of(act) {
            let scratch = set_scene(act);
            let inject = format!("inject={call}:signal=KILL:when={n}");
            let output = run(&scratch.home(), act, &["-o", "/dev/null", "-e", &inject]);
            let point = format!("{act}, killed at {call} {n}");
            assert!(!output.status.success(), "{point}: it was not killed");
            check(&scratch, act, &point);
            points += 1;
        }
    }
    println!("killed at {points} system calls, 0 lost");
}

fn with_each_system_call_failing_nothing_is_lost() {
    let mut points = 0;
    for act in ACTS {
        for (call, n) in calls_of(act) {
            for error in ["ENOSPC", "EIO", "EINTR"] {
                // What the standard library does with a failed close is its own matter: it is not made again.
                if call == "close" {
                    continue;
                }
                let scratch = set_scene(act);
                let inject = format!("inject={call}:error={error}:when={n}");
                let output = run(&scratch.home(), act, &["-o", "/dev/null", "-e", &inject]);
                let told = String::from_utf8_lossy(&output.stdout).into_owned();
                let point = format!(
                    "{act}, {error} at {call} {n}: {told}{}",
                    String::from_utf8_lossy(&output.stderr)
                );
                assert!(told.matches("reported: ").count() <= 1, "{point}");
                check(&scratch, act, &point);
                points += 1;
            }
        }
    }
    println!("{points} failed system calls, 0 lost");
}
