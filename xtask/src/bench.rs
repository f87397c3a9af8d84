//! `cargo xtask bench NAME`: the figures of docs/benchmarks.md, measured here and now.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Binaries, Bridge, workspace_root};

use crate::cluster::Cluster;
use crate::{benchmarks_page, cargo, lines, tools};

/// What can be measured.
pub(crate) const LIST: &str = "\
start  the agent's way from its start to registered, its memory, the size of the binaries
load   one load and unseal of the credential, beside the derivation that agents 2.0 to 3.2 made for each
output a task that writes 10 GB, one that writes byte by byte, and the way of a first byte
idle   wake-ups, CPU time and memory of a daemon that has nothing to do
auth   checks of keys: one derivation by five implementations, up to a million keys, the old algorithm, a fleet";

const RUNS: usize = 20;

/// How long an agent is left alone before its memory is read: the start is over by then.
const IDLE: Duration = Duration::from_secs(3);

/// What was measured.
struct Figures {
    /// Each run, sorted.
    starts: Vec<Duration>,
    idle_rss_kib: u64,
    agent_bytes: u64,
    bridge_bytes: u64,
}

/// Measures checks of keys and writes their section of docs/benchmarks.md.
pub(crate) fn auth() -> Result<()> {
    tools::require(&[tools::c_compiler(), tools::openssl(), tools::postgresql()])?;
    println!("Building in release (a workspace of its own, with the peers: minutes) ...");
    // What would slow filling down is for crashes, and reads do without.
    let cluster = Cluster::start("synchronous_commit = off\n");
    cluster.sql("postgres", "create database bench")?;
    let manifest = workspace_root()?.join("benches/Cargo.toml");
    let output = cargo::cargo(&["run", "--locked", "--release", "--manifest-path"])?
        .arg(manifest)
        .arg("--")
        .arg(cluster.url("bench"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be run")?;
    ensure!(output.status.success(), "the benches failed");
    let body = format!(
        "Measured by `cargo xtask bench auth` on {}. Release build, without sockets: the bridge's own check as a library call, on SQLite in a file \
         and on PostgreSQL over its local socket.\n\n{}",
        machine(),
        String::from_utf8(output.stdout)?
    );
    benchmarks_page::write("Checks of keys", &body)
}

/// Measures loads and writes their section of docs/benchmarks.md.
pub(crate) fn load() -> Result<()> {
    let arguments = ["bench", "--locked", "--package", "askalf-cred", "--bench", "load"];
    let mut child = cargo::cargo(&arguments)?
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo cannot be run")?;
    let mut rows = Vec::new();
    lines::pass_on(child.stdout.take().context("no output of cargo")?, |line| {
        if line.starts_with("| ") {
            rows.push(line.trim_end().to_owned());
        }
    })?;
    ensure!(child.wait()?.success(), "cargo {} failed", arguments.join(" "));
    ensure!(!rows.is_empty(), "the bench printed no figures");
    let body = format!(
        "Measured by `cargo xtask bench load` on {}. Release build, files in the system's cache.

| what | figure |
|---|---|
{}

The bar is 100 µs for a load with its unsealing. The peer is what an agent 2.0 to 3.2 did for each load: read the file, derive a key from the
machine by scrypt (N 16384, r 8, p 1), unseal. It is written anew in the bench and reads a file that such an agent wrote.
",
        machine(),
        rows.join("\n")
    );
    benchmarks_page::write("Load of the credential", &body)
}

/// Measures starts and writes their section of docs/benchmarks.md.
pub(crate) fn start() -> Result<()> {
    tools::require(&[tools::c_compiler()])?;
    println!("Building in release (whole-program optimisation: minutes) ...");
    let binaries = cargo::build(&["--release"])?;
    let figures = measure(&binaries)?;
    benchmarks_page::write("Start of the agent", &section(&figures)?)
}

fn measure(binaries: &Binaries) -> Result<Figures> {
    let folder = tempfile::tempdir()?;
    let bridge = Bridge::start_in(binaries, &folder.path().join("bridge"), &[])?;
    let mut agent = Agent::in_folder(binaries, &folder.path().join("agent"));
    let key = bridge.mint("bench")?;
    agent.pair(&bridge.url(), "bench", &key.key)?.expect_code(0)?;

    let mut starts = Vec::new();
    let mut device = None;
    for run in 1..=RUNS {
        let id = agent.start()?;
        ensure!(
            device.get_or_insert_with(|| id.clone()) == &id,
            "another device in run {run}"
        );
        let took = agent.time_to_registered()?;
        println!("run {run:>2}: {:.1} ms", millis(took));
        starts.push(took);
        ensure!(agent.terminate()? == 0, "not an orderly end in run {run}");
    }
    starts.sort();

    agent.start()?;
    #[allow(clippy::disallowed_methods, reason = "the time without work is what is measured")]
    std::thread::sleep(IDLE);
    let idle_rss_kib = proc_field_kib(agent.daemon()?.pid(), "VmRSS:")?;
    let size = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.len());
    Ok(Figures {
        starts,
        idle_rss_kib,
        agent_bytes: size(&binaries.agent)?,
        bridge_bytes: size(&binaries.bridge)?,
    })
}

fn section(figures: &Figures) -> Result<String> {
    let (fastest, slowest) = figures
        .starts
        .first()
        .zip(figures.starts.last())
        .context("nothing was measured")?;
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    Ok(format!(
        "Measured by `cargo xtask bench start` on {machine}. Release builds; bridge and agent on the same
machine over loopback, the bridge with one key in its SQLite database.

| what | figure |
|---|---|
| start of the agent's process to `device:registered`, median of {runs} runs | {median:.1} ms |
| the same, fastest and slowest run | {fastest:.1} ms, {slowest:.1} ms |
| resident memory of the idle agent, {idle} s after it registered | {rss} |
| size of `askalf-agent` | {agent} |
| size of `askalf-bridge` | {bridge} |

The time holds one PBKDF2 derivation (100,000 rounds) by the bridge. It ends when the agent's log line is read. For comparison, the Node
agent of the 3.x generation on its authors' machine: 215 ms, 54.6 MiB, and a runtime of 99 MB.
",
        machine = machine(),
        runs = figures.starts.len(),
        median = millis(median(&figures.starts)),
        fastest = millis(*fastest),
        slowest = millis(*slowest),
        idle = IDLE.as_secs(),
        rss = mib(figures.idle_rss_kib * 1024),
        agent = mib(figures.agent_bytes),
        bridge = mib(figures.bridge_bytes),
    ))
}

/// The day and the machine, for a section.
pub(crate) fn machine() -> String {
    format!(
        "{}: {}, {} cores, {}, load average {}",
        jiff::Timestamp::now().strftime("%Y-%m-%d"),
        processor(),
        std::thread::available_parallelism().map_or(0, usize::from),
        system(),
        load_average()
    )
}

/// Runnable processes on average over the last minute: what else the machine was doing.
fn load_average() -> String {
    let averages = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split(' ').next().unwrap_or("unknown").to_owned()
}

/// The middle of sorted values; between the two in the middle where their number is even.
pub(crate) fn median(sorted: &[Duration]) -> Duration {
    let middle = sorted.len() / 2;
    match (sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (Some(lower), Some(upper)) if sorted.len().is_multiple_of(2) => (*lower + *upper) / 2,
        (_, Some(value)) => *value,
        _ => Duration::ZERO,
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A field of `/proc/PID/status` that is told in KiB.
pub(crate) fn proc_field_kib(pid: u32, field: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .with_context(|| format!("no {field}"))?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

fn processor() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    model
        .and_then(|line| line.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim())
        .to_owned()
}

fn system() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = release.trim().split(['-', '+']).next().unwrap_or_default();
    format!("Linux {version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        let durations = |values: &[u64]| {
            values
                .iter()
                .map(|value| Duration::from_millis(*value))
                .collect::<Vec<_>>()
        };
        assert_eq!(median(&durations(&[1, 2, 10])), Duration::from_millis(2));
        assert_eq!(median(&durations(&[1, 2, 4, 10])), Duration::from_millis(3));
        assert_eq!(median(&[]), Duration::ZERO);
    }
}
