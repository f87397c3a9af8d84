//! Two hundred secrets, cut at each byte: none gets out, by progress, by result or by error.
#![allow(clippy::unwrap_used, reason = "a helper of a test ends at the first surprise, as the test does")]

mod secret_corpus;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use askalf_agent_core::{
    CancelHandle, CommandSpec, Ended, Executor, ExitStatus, Runner, RunnerError, RunnerEvent, RunningCommand,
    Task, TaskEnd, TaskOutput,
};
use askalf_exec::redact::Secrets;
use askalf_exec::{ShellExecutor, ShellOptions};
use askalf_proto::{Credentials, OutputStream};
use async_trait::async_trait;
use bytes::Bytes;
use secret_corpus::{Case, Random, by_hand, grammar};
use tokio::sync::mpsc;

/// Secrets of the grammar; `cargo xtask prove redaction` asks for more.
fn corpus() -> Vec<Case> {
    let more = std::env::var("ASKALF_REDACTION_SECRETS");
    let count = more.map_or(100, |count| count.parse().unwrap());
    let mut cases = by_hand();
    assert_eq!(cases.len(), 100);
    cases.extend(grammar(20_261_124, count));
    cases
}

fn check(case: &Case, way: &str, output: &str) {
    if let Some(part) = case.leaked(output) {
        panic!("{way}: '{part}' of {case:?} is in {output:?}");
    }
    assert!(output.contains("[redacted:"), "{way}: {case:?}: {output:?}");
}

#[test]
fn no_secret_gets_through_a_stream_wherever_it_is_cut() {
    let redaction = Secrets::default().redaction(None);
    let mut cuts = 0;
    for case in corpus() {
        let text = &case.text;
        let whole = redaction.text(text);
        check(&case, "whole", &whole);
        let places: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
        for first in &places {
            // Each pair of places in short texts.
            let seconds = if text.len() <= 80 {
                places.as_slice()
            } else {
                &places[places.len() - 1..]
            };
            for second in seconds.iter().filter(|second| *second >= first) {
                let mut stream = redaction.stream();
                let mut out = stream.push(&text[..*first]);
                out += &stream.push(&text[*first..*second]);
                out += &stream.push(&text[*second..]);
                out += &stream.finish();
                assert_eq!(out, whole, "{case:?} cut at {first} and {second}");
                cuts += 1;
            }
        }
        let mut stream = redaction.stream();
        let mut out = String::new();
        for letter in text.chars() {
            out += &stream.push(letter.encode_utf8(&mut [0; 4]));
            assert!(stream.held() <= 264, "{} held of {case:?}", stream.held());
        }
        assert_eq!(out + &stream.finish(), whole, "{case:?} letter by letter");
    }
    println!(
        "proof: {} secrets, {cuts} ways to cut their streams, none leaked",
        corpus().len()
    );
}

/// Yields these pieces, then ends.
struct Script(Mutex<Option<(VecDeque<Bytes>, Ended)>>);

struct ScriptedCommand(VecDeque<Bytes>, Option<Ended>);

#[async_trait]
impl Runner for Script {
    async fn start(&self, _command: CommandSpec) -> Result<Box<dyn RunningCommand>, RunnerError> {
        let (pieces, ended) = self.0.lock().unwrap().take().unwrap();
        Ok(Box::new(ScriptedCommand(pieces, Some(ended))))
    }
}

#[async_trait]
impl RunningCommand for ScriptedCommand {
    async fn next(&mut self) -> RunnerEvent {
        match self.0.pop_front() {
            Some(piece) => RunnerEvent::Output(OutputStream::Stdout, piece),
            None => RunnerEvent::Ended(self.1.take().unwrap()),
        }
    }

    async fn terminate(&mut self) {}
}

/// What a watcher saw, and the end.
async fn run(
    secrets: &Secrets,
    credentials: Option<Credentials>,
    pieces: &[&[u8]],
    ended: Ended,
) -> (String, TaskEnd) {
    let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
    let runner = Arc::new(Script(Mutex::new(Some((pieces, ended)))));
    let options = ShellOptions {
        secrets: secrets.clone(),
        ..ShellOptions::new("/bin/sh".into(), "/".into())
    };
    let task = Task {
        execution_id: "exec_1".into(),
        input: String::new(),
        timeout: Duration::from_secs(60),
        working_directory: None,
        credentials,
        max_turns: None,
        max_budget: None,
        agent_id: None,
        agent_name: None,
        named_command: None,
    };
    let (sender, mut receiver) = mpsc::channel(64);
    let (_handle, cancel) = CancelHandle::new();
    let end = ShellExecutor::new(runner, options)
        .run(task, TaskOutput::new("exec_1", sender), cancel)
        .await;
    let mut seen = String::new();
    while let Some(chunk) = receiver.recv().await {
        seen += &chunk.text;
    }
    (seen, end)
}

fn exited() -> Ended {
    Ended::Exited {
        status: ExitStatus::Code(0),
        timed_out: false,
        terminated: false,
    }
}

#[tokio::test(start_paused = true)]
async fn no_secret_gets_into_progress_result_or_error() {
    let secrets = Secrets::default();
    for (index, case) in corpus().into_iter().enumerate() {
        let bytes = case.text.as_bytes();
        // Every place over the corpus; the stream's own test has all of them for each text.
        for at in (index % 7..=bytes.len()).step_by(7) {
            let (seen, end) = run(&secrets, None, &[&bytes[..at], &bytes[at..]], exited()).await;
            check(&case, "progress", &seen);
            check(&case, "result", &end.output);
        }
        let (_, end) = run(&secrets, None, &[], Ended::NotStarted(case.text.clone())).await;
        check(&case, "error", &end.error.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_across_the_pieces_of_a_long_output_is_caught() {
    let secrets = Secrets::default();
    let case = grammar(7, 1).remove(0);
    for before in [16 * 1024 - 20, 32 * 1024 - 1] {
        let text = format!("{}\n{}{}", "x".repeat(before), case.text, "y\n".repeat(40_000));
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(32 * 1024).collect();
        let (seen, end) = run(&secrets, None, &pieces, exited()).await;
        check(&case, "progress", &seen);
        check(&case, "result", &end.output);
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_of_a_task_and_the_agents_key_never_come_back() {
    // Of a known shape, and still called what it is.
    let key = "sk_live_1qhYezFEMXjKWcErbnytdqelY1sf6ZaV";
    let secrets = Secrets::default();
    secrets.cover("agent-key", key);
    let long = "0123456789 abcdefghij".repeat(20);
    let credentials =
        serde_json::json!({"oauth": {"access": "tiny-one", "list": [long, "short"]}, "n": 5}).to_string();
    let text = format!("a tiny-one b {long} c {key} d short\n");
    for at in 0..text.len() {
        let pieces = [&text.as_bytes()[..at], &text.as_bytes()[at..]];
        let (seen, end) = run(&secrets, Some(Credentials::new(&credentials)), &pieces, exited()).await;
        let expected = "a [redacted:credential] b [redacted:credential] c [redacted:agent-key] d short\n";
        assert_eq!(
            (seen.as_str(), end.output.as_str()),
            (expected, expected),
            "cut at {at}"
        );
    }
    let (seen, _) = run(
        &secrets,
        Some(Credentials::new("not json at all")),
        &[b"not json at all"],
        exited(),
    )
    .await;
    assert_eq!(seen, "[redacted:credential]");
}

#[test]
fn a_key_that_is_rotated_is_covered_in_streams_that_run() {
    let secrets = Secrets::default();
    secrets.cover("agent-key", "first-key-of-all");
    let mut stream = secrets.redaction(None).stream();
    assert_eq!(
        stream.push("first-key-of-all second-key-of-all "),
        "[redacted:agent-key] second-key-of-all "
    );
    secrets.cover("agent-key", "second-key-of-all");
    assert_eq!(
        stream.push("first-key-of-all second-key-"),
        "[redacted:agent-key] "
    );
    assert_eq!(stream.push("of-all."), "[redacted:agent-key].");
    assert!(!format!("{secrets:?}").contains("key-of-all"));
}

#[test]
fn any_text_in_any_pieces_comes_out_alike_and_within_bounds() {
    // What secrets are made of, thrown together.
    let parts = [
        "eyJ",
        ".",
        "-----BEGIN ",
        "PRIVATE KEY-----",
        "-----END ",
        "\n",
        " ",
        "password",
        "token",
        "=",
        ": ",
        "\"",
        "'",
        "\\",
        "://",
        "user:",
        "@",
        "/",
        "ghp_",
        "sk-",
        "AKIA",
        "SG.",
        "Authorization",
        "Bearer ",
        "abcdEFGH1234",
        "null",
        "${",
        "é",
        "0123456789abcdef0123",
        "planted-literal",
        "planted-",
    ];
    let secrets = Secrets::default();
    secrets.cover("agent-key", "planted-literal");
    let redaction = secrets.redaction(None);
    let mut random = Random(1);
    for _ in 0..3_000 {
        let count = random.below(40);
        let text: String = (0..count).map(|_| random.pick(&parts)).collect();
        let whole = redaction.text(&text);
        assert!(!whole.contains("planted-literal"), "{text:?}");
        let mut stream = redaction.stream();
        let mut out = String::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let most = 1 + random.below(12);
            let at = (most.min(rest.len())..=rest.len())
                .find(|at| rest.is_char_boundary(*at))
                .unwrap();
            out += &stream.push(&rest[..at]);
            rest = &rest[at..];
            assert!(stream.held() <= 264, "{} held of {text:?}", stream.held());
        }
        assert_eq!(out + &stream.finish(), whole, "{text:?}");
    }
}

/// A device whose key is rotated for years keeps its gateway's secret out of output.
#[test]
fn what_is_named_again_is_not_forgotten_for_what_came_since() {
    let secrets = Secrets::default();
    for number in 0..40 {
        secrets.cover("gateway-secret", "the-secret-of-the-gateway");
        secrets.cover("agent-key", &format!("agent-key-number-{number}"));
    }
    let shown = secrets
        .redaction(None)
        .text("the-secret-of-the-gateway agent-key-number-39");
    assert_eq!(shown, "[redacted:gateway-secret] [redacted:agent-key]");
}
