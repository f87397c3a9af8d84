//! The acts, their system calls, and what must hold after each.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use crate::agent_json_case;
use crate::common::{self, OTHER_TOKEN, Scratch, TOKEN, now, token, unseal_as_3_3};
use askalf_cred::{
    AgentConfig, Bundle, Home, LoadOptions, LoadOutcome, MachineFacts, MigrationStep, Passphrase,
    SaveOptions, SealMode, discard_next, export, import, load, load_next, migrate, promote_next, rotate_key,
    save, stage_next,
};
use serde_json::{Value, json};

const HOME: &str = "ASKALF_SYSCALLS_HOME";
const ACT: &str = "ASKALF_SYSCALLS_ACT";
const ACTS: [&str; 10] = [
    "create", "save", "migrate", "rotate", "stage", "promote", "discard", "export", "import", "replace",
];
/// One point of so many is run where not all are: a number that shares no factor with the errors at each call.
const SAMPLE: usize = 17;

/// Every call that reads or changes a file, by any of its names.
const CALLS: &str = "openat,open,read,write,lseek,statx,newfstatat,fstat,fsync,fdatasync,rename,renameat,renameat2,link,\
                     linkat,unlink,unlinkat,flock,mkdir,mkdirat,chmod,fchmodat,getdents64,getrandom,close,exit_group";

pub(crate) fn main() {
    if let (Ok(home), Ok(act)) = (std::env::var(HOME), std::env::var(ACT)) {
        return perform(&Home::new(home), &act);
    }
    let mut arguments = std::env::args();
    // As the standard harness does, for `cargo test FILTER` and the tools that list tests.
    if arguments.any(|argument| argument == "--list") {
        return;
    }
    let all = std::env::args().any(|argument| argument == "--ignored" || argument == "--include-ignored");
    if !may_trace() {
        assert!(!all, "this needs strace and the right to trace");
        println!("not run: the kill at each system call of each act of the credential: it needs strace");
        return;
    }
    let started = Instant::now();
    let every = if all { 1 } else { SAMPLE };
    let (kills, failures, points) = nothing_is_lost(every);
    let run = kills + failures;
    println!(
        "proof: {points} points in {} acts: {kills} killed at a system call, {failures} with a failed call, 0 lost; \
         {run} run in {} s",
        ACTS.len(),
        started.elapsed().as_secs()
    );
    if run < points {
        println!(
            "not run: {} of {points} points at which an act of the credential is killed or has a call failing: \
             cargo xtask prove cred",
            points - run
        );
    }
    // As the standard harness counts.
    println!("test result: ok. 1 passed; 0 failed; 0 ignored");
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
        "discard" => discard_next(home, &token(OTHER_TOKEN), &options).map(drop),
        "export" => return export_all(home),
        "import" | "replace" => return import_and_save(home),
        other => panic!("{other}"),
    };
    if let Err(error) = done {
        println!("reported: {error}");
    }
}

fn export_all(home: &Home) {
    let (LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. }) = load(home) else {
        return println!("reported: no credential");
    };
    let bundle = Bundle {
        token: credential.token,
        config: credential.config,
        device_id: None,
    };
    let bytes = export(&bundle, &Passphrase::parse(agent_json_case::PASSPHRASE).unwrap());
    if let Err(error) = bytes {
        println!("reported: {error}");
    }
}

/// What `cred import` does: opens the bundle, then saves what is in it.
fn import_and_save(home: &Home) {
    let file = home.path().with_extension("bundle");
    let imported = fs::read(file)
        .map_err(|error| error.to_string())
        .and_then(|bytes| {
            import(&bytes, &Passphrase::parse(agent_json_case::PASSPHRASE).unwrap())
                .map_err(|error| error.to_string())
        });
    let saved = imported.and_then(|bundle| {
        save(home, &bundle.token, &bundle.config, SealMode::Keyfile, now()).map_err(|error| error.to_string())
    });
    if let Err(error) = saved {
        println!("reported: {error}");
    }
}

fn set_scene(act: &str) -> Scratch {
    let scratch = Scratch::new();
    let home = scratch.home();
    match act {
        "create" | "import" => fs::remove_dir(home.path()).unwrap(),
        "migrate" => scratch.write_config(json!({"apiKey": TOKEN}).to_string()),
        _ => {
            common::save(&home, TOKEN, SealMode::Keyfile);
        }
    }
    if act == "import" || act == "replace" {
        let content = json!({"token": OTHER_TOKEN, "config": {}}).to_string();
        let bundle = agent_json_case::bundle_of(content.as_bytes());
        fs::write(home.path().with_extension("bundle"), bundle).unwrap();
    }
    if act == "promote" || act == "discard" {
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
        ("create" | "import", None) => matches!(start.outcome, LoadOutcome::Absent),
        ("create" | "import", Some(found)) => found == OTHER_TOKEN,
        ("save" | "promote" | "replace", Some(found)) => [TOKEN, OTHER_TOKEN].contains(&found),
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

/// At each point of each act: a kill before the call, and before the exit, which is after the last one; and the call failing in
/// three ways. Returns the kills, the failed calls, and the points there are, of which one in `every` is run.
fn nothing_is_lost(every: usize) -> (usize, usize, usize) {
    let (mut kills, mut failures, mut points) = (0, 0, 0_usize);
    for act in ACTS {
        let calls = calls_of(act);
        assert!(
            calls.iter().any(|(call, _)| call == "exit_group"),
            "{act}: {calls:?}"
        );
        for (call, n) in calls {
            for injected in INJECTED {
                // What the standard library does with a failed close is its own matter: it is not made again. An exit cannot fail.
                if injected != KILL && (call == "close" || call == "exit_group") {
                    continue;
                }
                points += 1;
                if !points.is_multiple_of(every) {
                    continue;
                }
                run_point(act, &call, n, injected);
                if injected == KILL {
                    kills += 1;
                } else {
                    failures += 1;
                }
            }
        }
    }
    (kills, failures, points)
}

const KILL: &str = "signal=KILL";
const INJECTED: [&str; 4] = [KILL, "error=ENOSPC", "error=EIO", "error=EINTR"];

fn run_point(act: &str, call: &str, n: usize, injected: &str) {
    let scratch = set_scene(act);
    let before = (act == "export").then(|| scratch.snapshot());
    let inject = format!("inject={call}:{injected}:when={n}");
    let output = run(&scratch.home(), act, &["-o", "/dev/null", "-e", &inject]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let point = format!(
        "{act}, {injected} at {call} {n}: {told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    if injected == KILL {
        assert!(!output.status.success(), "{point}: it was not killed");
    }
    assert!(told.matches("reported: ").count() <= 1, "{point}");
    if act == "export" {
        assert_eq!(
            (act == "export").then(|| scratch.snapshot()),
            before,
            "{point}: an export wrote"
        );
    }
    check(&scratch, act, &point);
}
