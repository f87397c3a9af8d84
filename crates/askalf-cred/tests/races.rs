//! Processes that create and rotate at once in one home.
//!
//! `ASKALF_RACE_PROCESSES` (of each kind, default 8) and `ASKALF_RACE_ROUNDS` (default 3) make it larger.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

mod common;

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use askalf_cred::{AgentConfig, Home, LoadOutcome, SealMode, load, recover, rotate_key, save};
use common::{OTHER_TOKEN, Scratch, TOKEN, now, token, unseal_as_3_3};

const HOME: &str = "ASKALF_RACE_HOME";
const PART: &str = "ASKALF_RACE_PART";

/// Not a test: what the processes of the tests below run.
#[test]
#[ignore = "run by the others, as a process of its own"]
fn part() {
    let (Ok(home), Ok(part)) = (std::env::var(HOME), std::env::var(PART)) else {
        return;
    };
    let home = Home::new(home);
    // All start when the parent says so.
    std::io::stdin().read_exact(&mut [0]).unwrap();
    let done = match part.as_str() {
        "create" => save(
            &home,
            &token(TOKEN),
            &AgentConfig::default(),
            SealMode::Keyfile,
            now(),
        )
        .map(|saved| if saved.new_keyfile { "new keyfile" } else { "done" }),
        "rotate" => rotate_key(&home).map(|rotated| {
            assert_eq!(rotated.unfinished, None);
            "done"
        }),
        // A reader sees a credential at every moment, whatever the others do.
        "read" => {
            for _ in 0..200 {
                let outcome = load(&home);
                assert!(matches!(outcome, LoadOutcome::Ready(_)), "{outcome}");
            }
            Ok("done")
        }
        other => panic!("{other}"),
    };
    let word = done.unwrap_or_else(|error| match error.id() {
        "save-busy" => "busy",
        _ => panic!("{error}"),
    });
    println!("outcome: {word}");
}

fn start(home: &Home, part: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "part", "--ignored", "--nocapture"])
        .env(HOME, home.path())
        .env(PART, part)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn run(home: &Home, parts: &[&str]) -> Vec<String> {
    let mut children: Vec<Child> = parts.iter().map(|part| start(home, part)).collect();
    for child in &mut children {
        child.stdin.take().unwrap().write_all(b"g").unwrap();
    }
    let outcome = |child: Child| {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let word = text.lines().find_map(|line| line.split_once("outcome: "));
        word.unwrap().1.trim().to_owned()
    };
    children.into_iter().map(outcome).collect()
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Processes of each kind, and rounds.
fn size() -> (usize, usize) {
    (
        number("ASKALF_RACE_PROCESSES", 8),
        number("ASKALF_RACE_ROUNDS", 3),
    )
}

fn check_end(scratch: &Scratch) {
    let home = scratch.home();
    assert!(recover(&home, now()).is_nothing(), "something was left half done");
    assert_eq!(scratch.names(), ["agent.json", "keyfile"]);
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(home.config_path()).unwrap()).unwrap();
    let keyfile = std::fs::read(home.keyfile_path()).unwrap();
    let found = unseal_as_3_3(config["apiKey"].as_str().unwrap(), &keyfile);
    assert!(
        [Some(TOKEN), Some(OTHER_TOKEN)].contains(&found.as_deref()),
        "the final config is not under the final keyfile"
    );
}

#[test]
fn creators_alone_end_with_one_key() {
    let (processes, rounds) = size();
    for _ in 0..rounds {
        let scratch = Scratch::new();
        let outcomes = run(&scratch.home(), &vec!["create"; processes]);
        let new = outcomes.iter().filter(|word| *word == "new keyfile").count();
        assert_eq!(new, 1, "{outcomes:?}");
        check_end(&scratch);
    }
    println!("proof: {processes} creators at once, {rounds} rounds: one key in each, 0 lost");
}

#[test]
fn creators_rotators_and_readers_end_with_one_pair() {
    let (processes, rounds) = size();
    for _ in 0..rounds {
        let scratch = Scratch::new();
        common::save(&scratch.home(), OTHER_TOKEN, SealMode::Keyfile);
        let parts = ["create", "rotate"].repeat(processes);
        let outcomes = run(&scratch.home(), &[&parts[..], &["read", "read"]].concat());
        let done = |part: usize| {
            let acts = outcomes[..parts.len()].iter().skip(part).step_by(2);
            acts.filter(|word| *word != "busy").count()
        };
        assert!(done(0) > 0, "no save came through: {outcomes:?}");
        assert!(done(1) > 0, "no rotation came through: {outcomes:?}");
        check_end(&scratch);
    }
    println!(
        "proof: {processes} savers, {processes} rotators and 2 readers at once, {rounds} rounds: 0 lost"
    );
}
