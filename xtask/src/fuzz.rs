//! `cargo xtask fuzz [TARGET] [--seconds N]`

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use askalf_e2e::workspace_root;

use crate::tools;

/// The targets: the files in `fuzz/fuzz_targets`.
const TARGETS: [&str; 9] = [
    "agent_json",
    "connection",
    "executor_json",
    "frames",
    "key_hash",
    "pair_code",
    "policy",
    "redactor",
    "token",
];
const SECONDS: u64 = 600;
/// Longest input in bytes: a little over the largest agent.json that is read.
const MAX_LEN: usize = 66_000;

/// Runs one target, or each, for so many seconds.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let (targets, seconds) = parse(arguments)?;
    tools::require(&[tools::nightly(), tools::cargo_fuzz(), tools::cpp_compiler()])?;
    let mut lines = Vec::new();
    for target in targets {
        lines.push(run_target(target, seconds)?);
    }
    println!("\n{}", lines.join("\n"));
    Ok(())
}

fn parse<'a>(arguments: &[&'a str]) -> Result<(Vec<&'a str>, u64)> {
    let mut targets = Vec::new();
    let mut seconds = SECONDS;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if *word == "--seconds" {
            let number = words.next().and_then(|word| word.parse().ok());
            seconds = number.context("--seconds needs a number")?;
        } else if TARGETS.contains(word) {
            targets.push(*word);
        } else {
            bail!("no fuzz target '{word}'; there is: {}", TARGETS.join(", "));
        }
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    Ok((targets, seconds))
}

/// Runs it; what is to be said of it at the end.
fn run_target(target: &str, seconds: u64) -> Result<String> {
    let root = workspace_root()?;
    let found = root.join("fuzz/found").join(target);
    std::fs::create_dir_all(&found)?;
    // Not `cargo +nightly`: the cargo that started this process is the one behind rustup's, and does not know the word.
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly", "cargo", "fuzz", "run", target])
        // New inputs go to the first folder.
        .arg(&found)
        .arg(root.join("fuzz/corpus").join(target))
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_LEN}"))
        .args(["-timeout=10", "-print_final_stats=1"])
        .current_dir(root)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    // A home for each input: in memory where that is at hand.
    if std::env::var_os("TMPDIR").is_none() && Path::new("/dev/shm").is_dir() {
        command.env("TMPDIR", "/dev/shm");
    }
    let mut child = command.spawn().context("rustup cannot be run")?;
    let mut inputs = None;
    for line in BufReader::new(child.stderr.take().context("no output")?).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        eprintln!("{line}");
        if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
            inputs = number.trim().parse::<u64>().ok();
        }
    }
    if !child.wait()?.success() {
        bail!(
            "{target} failed: the input is named above, in fuzz/artifacts/{target}; once it is mended, it belongs into \
             fuzz/corpus/{target}"
        );
    }
    let inputs = inputs.context("the fuzzer gave no figures")?;
    Ok(format!("{target}: {inputs} inputs in {seconds} s, none failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_targets_and_a_time() {
        assert_eq!(parse(&[]).unwrap(), (TARGETS.to_vec(), SECONDS));
        assert_eq!(
            parse(&["agent_json", "--seconds", "5"]).unwrap(),
            (vec!["agent_json"], 5)
        );
        assert_eq!(
            parse(&["other"]).unwrap_err().to_string(),
            format!("no fuzz target 'other'; there is: {}", TARGETS.join(", "))
        );
        assert!(parse(&["--seconds", "soon"]).is_err());
    }

    #[test]
    fn every_target_that_stands_there_is_listed() {
        let folder = workspace_root().unwrap().join("fuzz/fuzz_targets");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(files, TARGETS.map(|target| format!("{target}.rs")));
    }
}
