//! `cargo xtask bench output` and `bench idle`: what a daemon costs under much output, and under none.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Binaries, Bridge, local_api};
use serde_json::json;

use crate::bench::{machine, median, millis, proc_field_kib};
use crate::{benchmarks_page, cargo, tools};

/// What the heavy task writes: 10 GB.
const HEAVY: u64 = 10_000_000_000;

/// A line as builds write them.
const LINE: &str = "   Compiling some-library v1.2.3 (registry), which has a line of about this length";

/// Writes of one byte each.
const FLUSHES: u32 = 100_000;

/// Tasks of which the first byte is timed.
const FIRST_BYTES: usize = 30;

/// How long the idle daemon is watched.
const WATCHED: Duration = Duration::from_secs(120);

/// Measures heavy output and writes its section of docs/benchmarks.md.
pub(crate) fn output() -> Result<()> {
    let (_folder, bridge, agent, device) = pair("output")?;
    let home = bridge.home();

    println!("{HEAVY} bytes through 'cat | wc -c' ...");
    let write = format!("yes '{LINE}' | head -c {HEAVY}");
    let began = Instant::now();
    let counted = Command::new("sh")
        .args(["-c", &format!("{write} | cat | wc -c")])
        .stderr(Stdio::inherit())
        .output()?;
    let peer = began.elapsed();
    ensure!(counted.status.success(), "the peer failed");

    println!("{HEAVY} bytes through a task ...");
    let began = Instant::now();
    let (mut told, mut status) = (0_usize, String::new());
    let task = json!({"device": device, "input": write, "executor": "shell", "timeout_ms": 3_600_000});
    local_api::follow(home, &task, |event| {
        told += event["data"].as_str().map_or(0, str::len);
        if let Some(word) = event["execution"]["status"].as_str() {
            status = word.to_owned();
        }
        Ok(())
    })?;
    let ours = began.elapsed();
    ensure!(status == "completed", "the task ended {status}");
    let pid = agent.daemon()?.pid();
    let peak = proc_field_kib(pid, "VmHWM:")?;

    println!("{FLUSHES} writes of one byte ...");
    let input = format!("for ((i = 0; i < {FLUSHES}; i++)); do printf x; done");
    let (mut pieces, mut bytes) = (0_u32, 0_usize);
    let began = Instant::now();
    local_api::follow(
        home,
        &json!({"device": device, "input": input, "executor": "shell"}),
        |event| {
            if let Some(data) = event["data"].as_str() {
                pieces += 1;
                bytes += data.len();
            }
            Ok(())
        },
    )?;
    let flushed = began.elapsed();
    ensure!(bytes == FLUSHES as usize, "{bytes} bytes came of {FLUSHES}");

    let mut first = Vec::new();
    for _ in 0..FIRST_BYTES {
        first.push(first_byte(home, &device)?);
    }
    first.sort();
    let rate = |took: Duration| HEAVY as f64 / 1e6 / took.as_secs_f64();
    let body = format!(
        "Measured by `cargo xtask bench output` on {}. Release builds on one machine; the caller of the dispatch reads everything that comes.

| what | figure |
|---|---|
| a task that writes 10 GB of lines | {:.0} MB/s, {:.0} s; {:.1} GB of it reached the caller as it was written |
| the same bytes through `cat \\| wc -c` | {:.0} MB/s, {:.0} s; {:.1} times as fast |
| the agent's largest resident memory meanwhile (bar 32 MiB) | {:.1} MiB |
| {FLUSHES} writes of one byte each | {pieces} pieces in {:.1} s |
| from a task's first byte to the caller (bar 50 ms): median, slowest of {FIRST_BYTES} | {:.1} ms, {:.1} ms |
",
        machine(),
        rate(ours),
        ours.as_secs_f64(),
        told as f64 / 1e9,
        rate(peer),
        peer.as_secs_f64(),
        ours.as_secs_f64() / peer.as_secs_f64(),
        peak as f64 / 1024.0,
        flushed.as_secs_f64(),
        millis(median(&first)),
        millis(first.last().copied().unwrap_or_default()),
    );
    benchmarks_page::write("Output of tasks", &body)
}

/// From the moment at which a task writes to the one at which its caller reads it.
fn first_byte(home: &Path, device: &str) -> Result<Duration> {
    let task = json!({"device": device, "input": "printf $EPOCHREALTIME; sleep 0.2", "executor": "shell"});
    let mut took = None;
    local_api::follow(home, &task, |event| {
        if let Some(stamp) = event["data"].as_str()
            && took.is_none()
        {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let wrote = Duration::from_secs_f64(stamp.parse().context("no time in the output")?);
            took = Some(now.saturating_sub(wrote));
        }
        Ok(())
    })?;
    took.context("the task wrote nothing")
}

/// Measures an idle daemon and writes its section of docs/benchmarks.md.
pub(crate) fn idle() -> Result<()> {
    let (_folder, _bridge, agent, _device) = pair("idle")?;
    let pid = agent.daemon()?.pid();
    rest(Duration::from_secs(5));
    let ticks = ticks(pid)?;
    let (mut switches, mut before) = (0, switches_by_thread(pid)?);
    for _ in 0..WATCHED.as_secs() {
        // Often, for a thread that ends takes its count along.
        rest(Duration::from_secs(1));
        let after = switches_by_thread(pid)?;
        for (thread, count) in &after {
            switches += count.saturating_sub(before.get(thread).copied().unwrap_or(0));
        }
        before = after;
    }
    let ticks = self::ticks(pid)?.saturating_sub(ticks);
    let seconds = WATCHED.as_secs_f64();
    let body = format!(
        "Measured by `cargo xtask bench idle` on {}. Release build; a daemon that is online and has nothing to do, watched for {} s.

| what | bar | figure |
|---|---|---|
| wake-ups | 1 a second | {:.2} a second |
| CPU time | 0.1 % of a core | {:.3} % |
| resident memory | 8 MiB | {:.1} MiB |

Wake-ups are the context switches of all its threads. The Node agent of the 3.x generation held 54.6 MiB on its authors' machine.
",
        machine(),
        WATCHED.as_secs(),
        switches as f64 / seconds,
        ticks as f64 / TICKS_A_SECOND / seconds * 100.0,
        proc_field_kib(pid, "VmRSS:")? as f64 / 1024.0,
    );
    benchmarks_page::write("The idle agent", &body)
}

/// What `/proc` counts time in (`sysconf(_SC_CLK_TCK)`, 100 on every Linux of today).
const TICKS_A_SECOND: f64 = 100.0;

/// The time that a process has had, in [`TICKS_A_SECOND`].
fn ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name in brackets, which may hold anything: fields 14 and 15 of proc(5).
    let (_, fields) = stat.rsplit_once(") ").context("no fields in stat")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<_, _>>()?)
}

/// The context switches that each thread of a process has had.
fn switches_by_thread(pid: u32) -> Result<HashMap<OsString, u64>> {
    let mut switches = HashMap::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?;
        // One that has just ended.
        let Ok(status) = std::fs::read_to_string(thread.path().join("status")) else {
            continue;
        };
        let counts = status.lines().filter(|line| line.contains("ctxt_switches:"));
        let numbers = counts.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        switches.insert(thread.file_name(), numbers.sum());
    }
    Ok(switches)
}

fn pair(name: &str) -> Result<(tempfile::TempDir, Bridge, Agent, String)> {
    tools::require(&[tools::c_compiler()])?;
    println!("Building in release (whole-program optimisation: minutes) ...");
    let binaries: Binaries = cargo::build(&["--release"])?;
    let folder = tempfile::tempdir()?;
    let bridge = Bridge::start_in(&binaries, &folder.path().join("bridge"), &[])?;
    let mut agent = Agent::in_folder(&binaries, &folder.path().join("agent"));
    let key = bridge.mint(name)?;
    agent.pair(&bridge.url(), name, &key.key)?.expect_code(0)?;
    let device = agent.start()?;
    Ok((folder, bridge, agent, device))
}

#[allow(clippy::disallowed_methods, reason = "the time without work is what is measured")]
fn rest(time: Duration) {
    std::thread::sleep(time);
}
