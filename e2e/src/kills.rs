//! A bridge and a device under load, both killed again and again, and what became of every accepted execution.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use crate::local_api::post;
use crate::{Agent, Binaries, Bridge};

/// How long a device may take to be registered after the last kill of a window.
pub const BACK_WITHIN: Duration = Duration::from_secs(10);

/// How long the last executions may take to end once nothing is killed any more: the bridge gives a device that is gone
/// its time to come back first.
const LAST_ENDS_WITHIN: Duration = Duration::from_secs(300);

/// What to do to the pair.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// So many windows, each of kills and a quiet end in which the device has to be back.
    pub windows: u32,
    /// Length of a window's kills.
    pub killing: Duration,
    /// Shortest and longest time between two kills of one side.
    pub between: (Duration, Duration),
    /// Tasks a second.
    pub rate: u32,
    /// How long the bridge waits for a device that is gone before its executions are interrupted.
    pub grace: Duration,
    /// Decides everything that is left to chance.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Kills of the agent.
    pub agent_kills: u32,
    /// Kills of the bridge.
    pub bridge_kills: u32,
    /// Executions whose acceptance was answered.
    pub accepted: usize,
    /// Dispatches that were refused, for example because the device was away.
    pub refused: u64,
    /// Dispatches that were cut off before their answer.
    pub unanswered: u64,
    /// How many rows ended by each status and cause.
    pub ends: BTreeMap<String, usize>,
    /// Completed executions whose output was compared.
    pub compared: usize,
    /// The longest way back to registered after the last kill of a window.
    pub slowest_return: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} kills of the agent, {} of the bridge; {} executions accepted, {} refused, {} cut off before the answer; \
             {} outputs equal; back within {:.1} s at most; ends:",
            self.agent_kills,
            self.bridge_kills,
            self.accepted,
            self.refused,
            self.unanswered,
            self.compared,
            self.slowest_return.as_secs_f64()
        )?;
        for (end, count) in &self.ends {
            write!(formatter, " {end} {count}")?;
        }
        Ok(())
    }
}

/// Carries the plan out in `folder`, where the log of accepted ids and of what ran is left.
///
/// # Errors
/// A law was broken: an accepted execution without an end, or with two; one that ran twice; an output that differs; a
/// device that was not back in time.
pub fn kill_again_and_again(binaries: &Binaries, folder: &Path, plan: Plan) -> Result<Report> {
    let grace = plan.grace.as_secs().to_string();
    let mut bridge = Bridge::start_in(binaries, &folder.join("bridge"), &["--grace", &grace])?;
    let key = bridge.mint("soak")?;
    let mut agent = Agent::in_folder(binaries, &folder.join("agent"));
    agent
        .run_with_input(
            &[
                "connect",
                "-",
                "--url",
                &bridge.url(),
                "--name",
                "soak",
                "--concurrent",
                "8",
            ],
            key.key.as_bytes(),
        )?
        .expect_code(0)?;
    let device = agent.start()?;

    let load = Load::start(folder, bridge.home(), &device, plan)?;
    let watch = Watch::start(bridge.home())?;
    let mut report = Report::default();
    let mut dice = Dice(plan.seed);
    for _ in 0..plan.windows {
        let mut next_agent = Instant::now() + dice.between(plan.between);
        let mut next_bridge = Instant::now() + dice.between(plan.between);
        let end = Instant::now() + plan.killing;
        loop {
            let at = next_agent.min(next_bridge);
            if at >= end {
                break;
            }
            wait_until(at);
            if next_agent <= next_bridge {
                agent.kill()?;
                agent.spawn()?;
                report.agent_kills += 1;
                next_agent = Instant::now() + dice.between(plan.between);
            } else {
                bridge.kill()?;
                bridge.serve()?;
                report.bridge_kills += 1;
                next_bridge = Instant::now() + dice.between(plan.between);
            }
        }
        let last_kill = Instant::now();
        let back = wait_online(&agent, &device)?;
        report.slowest_return = report.slowest_return.max(back);
        wait_until(last_kill + BACK_WITHIN);
    }

    let dispatched = load.stop()?;
    report.refused = dispatched.refused;
    report.unanswered = dispatched.unanswered;
    report.accepted = dispatched.accepted.len();
    wait_all_ended(bridge.home())?;
    watch.stop()?;
    judge(bridge.home(), folder, &dispatched, &mut report)?;
    Ok(report)
}

/// Waits for `online` as this device; how long that took.
fn wait_online(agent: &Agent, device: &str) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let status = agent.run(&["status", "--json"])?.json();
        if let Ok(status) = status
            && status["state"] == "online"
        {
            ensure!(status["device_id"] == device, "another device: {status}");
            return Ok(began.elapsed());
        }
        if began.elapsed() > BACK_WITHIN {
            bail!(
                "the device was not registered within {} s of the last kill\n{}",
                BACK_WITHIN.as_secs(),
                agent.daemon()?.shown()
            );
        }
        wait_until(Instant::now() + Duration::from_millis(50));
    }
}

fn wait_all_ended(home: &Path) -> Result<()> {
    let began = Instant::now();
    loop {
        let open = rows(home)?.iter().filter(|row| row.is_open()).count();
        if open == 0 {
            return Ok(());
        }
        ensure!(
            began.elapsed() < LAST_ENDS_WITHIN,
            "{open} executions did not end within {} s",
            LAST_ENDS_WITHIN.as_secs()
        );
        wait_until(Instant::now() + Duration::from_millis(500));
    }
}

fn judge(home: &Path, folder: &Path, dispatched: &Dispatched, report: &mut Report) -> Result<()> {
    let rows: HashMap<String, Row> = rows(home)?.into_iter().map(|row| (row.id.clone(), row)).collect();
    for (id, accepted) in &dispatched.accepted {
        let row = rows
            .get(id)
            .with_context(|| format!("the accepted execution {id} has no row"))?;
        ensure!(!row.is_open(), "the accepted execution {id} is open");
        if row.status == "completed" {
            ensure!(
                row.output.as_deref() == Some(&accepted.output),
                "{id}: the output is {:?} and should be {:?}",
                row.output,
                accepted.output
            );
            report.compared += 1;
        }
    }
    for row in rows.values() {
        let cause = row.cause.as_deref().unwrap_or("none");
        *report.ends.entry(format!("{}/{cause}", row.status)).or_default() += 1;
    }
    let mut ran: HashMap<String, u32> = HashMap::new();
    for mark in std::fs::read_to_string(ran_in(folder))?.lines() {
        *ran.entry(mark.to_owned()).or_default() += 1;
    }
    if let Some((mark, times)) = ran.iter().find(|(_, times)| **times > 1) {
        bail!("the task {mark} ran {times} times");
    }
    for (id, accepted) in &dispatched.accepted {
        ensure!(
            rows[id].status != "completed" || ran.contains_key(&accepted.mark),
            "{id} is completed and never ran"
        );
    }
    Ok(())
}

fn ran_in(folder: &Path) -> PathBuf {
    folder.join("ran")
}

/// Dispatches at a rate, for as long as it is not stopped.
struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Result<()>>>,
    dispatched: Arc<Mutex<Dispatched>>,
}

#[derive(Debug, Default)]
struct Dispatched {
    accepted: HashMap<String, Accepted>,
    refused: u64,
    unanswered: u64,
}

/// A task that the bridge has taken.
#[derive(Debug)]
struct Accepted {
    /// What it leaves in the list of what ran.
    mark: String,
    /// What it writes.
    output: String,
}

/// So many dispatches may be under way at once.
const WORKERS: u32 = 4;

impl Load {
    fn start(folder: &Path, home: &Path, device: &str, plan: Plan) -> Result<Self> {
        File::create(ran_in(folder))?;
        let stop = Arc::new(AtomicBool::new(false));
        let dispatched = Arc::new(Mutex::new(Dispatched::default()));
        let numbers = Arc::new(AtomicU64::new(0));
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("accepted"))?;
        let mut workers = Vec::new();
        for worker in 0..WORKERS {
            let (stop, dispatched) = (Arc::clone(&stop), Arc::clone(&dispatched));
            let (numbers, mut log) = (Arc::clone(&numbers), log.try_clone()?);
            let (folder, home, device) = (folder.to_owned(), home.to_owned(), device.to_owned());
            let pace = Duration::from_secs(1) * WORKERS / plan.rate.max(1);
            workers.push(std::thread::spawn(move || {
                let mut dice = Dice(plan.seed ^ u64::from(worker + 1));
                let mut next = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    wait_until(next);
                    next += pace;
                    let mark = format!("m{}", numbers.fetch_add(1, Ordering::Relaxed));
                    let (input, output) = task(&mut dice, &ran_in(&folder), &mark);
                    let request =
                        json!({"device": device, "input": input, "executor": "shell", "detach": true});
                    let answer = post(&home, "/api/v1/executions", &request);
                    let mut dispatched = dispatched.lock().unwrap_or_else(PoisonError::into_inner);
                    match answer {
                        Ok((202, view)) => {
                            let id = view["id"].as_str().context("an execution without id")?.to_owned();
                            writeln!(log, "{id} {mark}")?;
                            dispatched.accepted.insert(id, Accepted { mark, output });
                        }
                        Ok(_) => dispatched.refused += 1,
                        Err(_) => dispatched.unanswered += 1,
                    }
                }
                Ok(())
            }));
        }
        Ok(Self {
            stop,
            workers,
            dispatched,
        })
    }

    fn stop(self) -> Result<Dispatched> {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a dispatcher panicked"))??;
        }
        let mut dispatched = self.dispatched.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *dispatched))
    }
}

/// A task that leaves its mark, and what it should write.
fn task(dice: &mut Dice, ran: &Path, mark: &str) -> (String, String) {
    let mark_it = format!("echo {mark} >> '{}'", ran.display());
    let count = 1 + dice.below(400);
    let repeated = format!("printf 'é{mark} %.0s' {{1..{count}}}");
    let output = format!("é{mark} ").repeat(usize::try_from(count).unwrap_or(1));
    match dice.below(10) {
        0 => (format!("{mark_it}; exit 3"), String::new()),
        1 => (format!("{mark_it}; sleep 2; {repeated}"), output),
        2 | 3 => (format!("{mark_it}; {repeated}; sleep 0.3"), output),
        4 => (format!("{mark_it}; {repeated} >&2"), output),
        _ => (format!("{mark_it}; {repeated}"), output),
    }
}

/// Looks at the table all the time: an end that was seen must stay as it is.
struct Watch {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<Result<()>>,
}

impl Watch {
    fn start(home: &Path) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (home, stopped) = (home.to_owned(), Arc::clone(&stop));
        let worker = std::thread::spawn(move || {
            let mut ended: HashMap<String, Row> = HashMap::new();
            loop {
                let last = stopped.load(Ordering::Relaxed);
                for row in rows(&home)? {
                    if let Some(seen) = ended.get(&row.id) {
                        ensure!(*seen == row, "an end changed: {seen:?} became {row:?}");
                    } else if !row.is_open() {
                        ended.insert(row.id.clone(), row);
                    }
                }
                if last {
                    return Ok(());
                }
                wait_until(Instant::now() + Duration::from_secs(2));
            }
        });
        Ok(Self { stop, worker })
    }

    fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.worker
            .join()
            .map_err(|_| anyhow::anyhow!("the watcher panicked"))?
    }
}

/// A row of the table, as far as it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    id: String,
    status: String,
    output: Option<String>,
    error: Option<String>,
    cause: Option<String>,
    completed_at: Option<String>,
}

impl Row {
    fn is_open(&self) -> bool {
        matches!(self.status.as_str(), "pending" | "running")
    }
}

fn rows(home: &Path) -> Result<Vec<Row>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let database = Connection::open_with_flags(home.join("bridge.db"), flags)?;
    database.busy_timeout(Duration::from_secs(10))?;
    let mut rows = database.prepare(
        "select id, status, output, error, json_extract(metadata, '$.cause'), cast(completed_at as text) from forge_executions",
    )?;
    let rows = rows.query_map([], |row| {
        Ok(Row {
            id: row.get(0)?,
            status: row.get(1)?,
            output: row.get(2)?,
            error: row.get(3)?,
            cause: row.get(4)?,
            completed_at: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[allow(clippy::disallowed_methods, reason = "paces the load and the kills; it synchronises nothing")]
fn wait_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn between(&mut self, (shortest, longest): (Duration, Duration)) -> Duration {
        let span = u64::try_from(longest.saturating_sub(shortest).as_millis()).unwrap_or(u64::MAX);
        shortest + Duration::from_millis(self.below(span + 1))
    }
}
