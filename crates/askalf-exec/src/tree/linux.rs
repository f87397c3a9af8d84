//! Trees on Linux: the runner is a subreaper, so that whatever leaves its parent, its session or its group still
//! becomes the runner's child, and `/proc` shows the rest.
//!
//! Why nothing escapes [`Tree::kill`]: a process of the tree is a child of the runner or has an ancestor that is one, and
//! when that ancestor ends, the process becomes the runner's child. So "the runner has no child" (`ECHILD`) means that the
//! tree is gone, whatever a scan of `/proc` missed. A scan is not atomic; it only chooses whom to signal next. Forkers
//! cannot outrun it: all are stopped before the first is killed, and a stopped process does not fork.
//!
//! Why no stranger is signalled: a number from a scan may have passed to another process since. Each signal goes through
//! a pidfd that was opened first and whose process was then seen to have the start time of the scan.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use tokio::process::Child;

/// Makes this process the one that adopts the orphans among its descendants, for good. A process that runs
/// [`ProcessRunner`](crate::ProcessRunner) needs it before the first command, and gets it from the first start at the
/// latest; a binary calls it as it starts, to learn of a failure then.
///
/// # Errors
/// The system's error, where it refuses (Linux before 3.4).
pub fn become_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(
        rustix::process::getpid(),
    ))?)
}

/// All descendants of this process.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Leads a process group. `None` once it was collected, when its number may become a stranger's.
    main: Option<Pid>,
}

/// Rounds of stopping before the killing starts anyway: each takes what the round before left free to fork.
const STOP_ROUNDS: usize = 64;

impl Tree {
    /// The tree that started with `main`, a child of this process that leads a process group.
    pub(crate) fn new(main: Pid) -> Self {
        Self { main: Some(main) }
    }

    /// Whether the tree started with this child, which was not collected before.
    pub(super) fn is_main(&self, pid: Pid) -> bool {
        self.main == Some(pid)
    }

    /// The child that the tree started with was collected.
    pub(super) fn main_was_collected(&mut self) {
        self.main = None;
    }

    /// Asks every process to end. A stopped one is continued, since it could not hear otherwise.
    pub(crate) fn terminate(&self) {
        match Snapshot::take() {
            Ok(snapshot) => {
                for process in snapshot.below([rustix::process::getpid()]) {
                    process.signal(Signal::TERM);
                    process.signal(Signal::CONT);
                }
            }
            Err(_) => self.signal_group(Signal::TERM),
        }
    }

    /// Kills every process. To be repeated until [`Self::collect`] finds that it is gone.
    pub(crate) fn kill(&self) {
        // In one step, before looks at `/proc` that a crowd of forkers makes slow: most trees are one group.
        self.signal_group(Signal::STOP);
        if kill_below(|_| vec![rustix::process::getpid()]).is_err() {
            self.signal_group(Signal::KILL);
        }
    }

    fn signal_group(&self, signal: Signal) {
        if let Some(main) = self.main {
            let _gone = rustix::process::kill_process_group(main, signal);
        }
    }

    /// Whether nothing is left, where no child was found: it is the whole answer here.
    pub(super) fn is_gone(&self, childless: bool) -> bool {
        childless
    }

    /// Numbers of the processes that are left.
    pub(crate) fn survivors(&self) -> Vec<i32> {
        Snapshot::take().map_or_else(
            |_| Vec::new(),
            |snapshot| {
                let below = snapshot.below([rustix::process::getpid()]);
                below
                    .into_iter()
                    .map(|process| process.pid.as_raw_pid())
                    .collect()
            },
        )
    }
}

/// Stops, then kills whatever is below the roots, which are chosen anew from each snapshot.
fn kill_below(roots: impl Fn(&Snapshot) -> Vec<Pid>) -> io::Result<()> {
    let mut stopped = BTreeSet::new();
    for _ in 0..STOP_ROUNDS {
        let snapshot = Snapshot::take()?;
        let mut any_new = false;
        for process in snapshot.below(roots(&snapshot)) {
            if stopped.insert((process.pid.as_raw_pid(), process.start)) {
                any_new = true;
                process.signal(Signal::STOP);
            }
        }
        if !any_new {
            break;
        }
    }
    let snapshot = Snapshot::take()?;
    for process in snapshot.below(roots(&snapshot)) {
        process.signal(Signal::KILL);
    }
    Ok(())
}

/// A runner as its agent knows it: number and start time, so that a number used again is not taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunnerIdentity {
    pid: i32,
    start: u64,
}

/// The live runners of this process. Children belong to the process, and so does this.
static RUNNERS: Mutex<BTreeMap<i32, u64>> = Mutex::new(BTreeMap::new());

fn runners() -> MutexGuard<'static, BTreeMap<i32, u64>> {
    RUNNERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RunnerIdentity {
    /// Starts a runner by `spawn` and registers it; no sweep happens in between.
    ///
    /// # Errors
    /// Whatever `spawn` fails with.
    pub(crate) fn register(spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<(Child, Self)> {
        let mut runners = runners();
        let child = spawn()?;
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .unwrap_or_default();
        // Not collected yet, so `/proc` has it, dead or alive.
        let start = Process::read(pid)
            .map(|process| process.start)
            .unwrap_or_default();
        runners.insert(pid, start);
        Ok((child, Self { pid, start }))
    }

    /// Forgets a runner that was collected: what it left may be swept from now on.
    pub(crate) fn forget(self) -> OrphanSweep {
        let mut runners = runners();
        if runners.get(&self.pid) == Some(&self.start) {
            runners.remove(&self.pid);
        }
        OrphanSweep::default()
    }
}

/// Ends what dead runners left to this process, their agent.
///
/// Whom it takes: a child of this process that is in another session and no live runner, with all its descendants.
/// A runner opens a session of its own before it starts anything, and a process cannot enter a session that
/// exists, so a task's process is never in the agent's session, and what the agent itself started (which
/// stays in its session) is never taken. A runner between its fork and its registration is not taken either: both
/// happen under the lock that a sweep holds.
#[derive(Debug, Default)]
pub(crate) struct OrphanSweep {
    empty_passes: u8,
}

impl OrphanSweep {
    /// A runner that saw the last of its tree go leaves nothing.
    pub(crate) const AFTER_SUCCESS: bool = false;

    /// Kills and collects once; `true` when nothing is left. To be called after the dead runner was collected, since
    /// only then have its children become ours, and repeated until it is `true`.
    ///
    /// Two empty passes in a row count as nothing: one alone could miss a process that hops from number to number by
    /// forking, should the numbers start again from the bottom just then.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub(crate) fn pass(&mut self) -> io::Result<bool> {
        let runners = runners();
        let myself = rustix::process::getpid();
        let session = own_session()?;
        let orphans = |snapshot: &Snapshot| -> Vec<Pid> {
            let children = snapshot
                .processes
                .values()
                .filter(|process| process.parent == myself.as_raw_pid());
            let orphans = children.filter(|child| {
                child.session != session && runners.get(&child.pid.as_raw_pid()) != Some(&child.start)
            });
            orphans.map(|orphan| orphan.pid).collect()
        };
        let found = orphans(&Snapshot::take()?);
        if found.is_empty() {
            self.empty_passes += 1;
            return Ok(self.empty_passes >= 2);
        }
        self.empty_passes = 0;
        kill_below(orphans)?;
        for orphan in orphans(&Snapshot::take()?) {
            // Ours and not collected, so the number is still its own.
            let _still_dying = rustix::process::waitpid(Some(orphan), WaitOptions::NOHANG);
        }
        Ok(false)
    }
}

/// The session of this process, 0 where its leader is outside of this process's PID namespace: read from `/proc`, as the
/// children's are, since `getsid` answers 0 there too and a `Pid` cannot hold that.
fn own_session() -> io::Result<i32> {
    match Process::read(rustix::process::getpid().as_raw_pid()) {
        Some(process) => Ok(process.session),
        None => Err(io::Error::other("/proc does not show this process")),
    }
}

/// What `/proc/PID/stat` tells of a process.
#[derive(Debug, Clone, Copy)]
struct Process {
    pid: Pid,
    parent: i32,
    session: i32,
    /// In clock ticks since the system started.
    start: u64,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(pid, &stat)
    }

    /// Fields are counted from the last parenthesis: the program's name before it may contain anything.
    /// See proc_pid_stat(5): state is field 3, then parent 4, session 6, start time 22.
    fn parse(pid: i32, stat: &[u8]) -> Option<Self> {
        let name_end = stat.iter().rposition(|byte| *byte == b')')?;
        let fields: Vec<&str> = str::from_utf8(&stat[name_end + 1..])
            .ok()?
            .split_ascii_whitespace()
            .collect();
        Some(Self {
            pid: Pid::from_raw(pid)?,
            parent: fields.get(1)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
        })
    }

    /// Signals the process, unless its number has passed to another one. Who may not be signalled is left.
    fn signal(&self, signal: Signal) {
        let handle = rustix::process::pidfd_open(self.pid, PidfdFlags::empty());
        if Self::read(self.pid.as_raw_pid()).is_none_or(|now| now.start != self.start) {
            return;
        }
        let _gone_or_forbidden = match handle {
            Ok(handle) => rustix::process::pidfd_send_signal(handle, signal),
            // Linux before 5.3, or a filter on system calls: the check of a moment ago has to do.
            Err(Errno::NOSYS | Errno::PERM) => rustix::process::kill_process(self.pid, signal),
            Err(error) => Err(error),
        };
    }
}

/// The processes that `/proc` shows.
#[derive(Debug)]
struct Snapshot {
    processes: BTreeMap<i32, Process>,
}

impl Snapshot {
    fn take() -> io::Result<Self> {
        let mut processes = BTreeMap::new();
        for entry in std::fs::read_dir("/proc")? {
            let Some(pid) = entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<i32>().ok())
            else {
                continue;
            };
            if let Some(process) = Process::read(pid) {
                processes.insert(pid, process);
            }
        }
        if processes.is_empty() {
            return Err(io::Error::other("/proc shows no process"));
        }
        Ok(Self { processes })
    }

    /// The roots' descendants, and the roots themselves unless they are this process.
    fn below(&self, roots: impl IntoIterator<Item = Pid>) -> Vec<Process> {
        let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
        for process in self.processes.values() {
            children.entry(process.parent).or_default().push(*process);
        }
        let myself = rustix::process::getpid();
        let mut found = Vec::new();
        let mut open: Vec<i32> = Vec::new();
        for root in roots {
            open.push(root.as_raw_pid());
            if root != myself {
                found.extend(self.processes.get(&root.as_raw_pid()));
            }
        }
        while let Some(parent) = open.pop() {
            // Taken out, so that a snapshot in which a number was used twice cannot lead in a circle.
            for child in children.remove(&parent).unwrap_or_default() {
                found.push(child);
                open.push(child.pid.as_raw_pid());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_cannot_forge_the_fields_behind_it() {
        let stat = b"42 (evil) S 1 1 1) S 7 40 41 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 10 11\n";
        let process = Process::parse(42, stat).unwrap();
        assert_eq!((process.parent, process.session, process.start), (7, 41, 98765));
    }

    #[test]
    fn a_cut_line_is_no_process() {
        assert!(Process::parse(42, b"42 (sh) S 7 40").is_none());
        assert!(Process::parse(42, b"").is_none());
    }

    #[test]
    fn this_process_reads_itself() {
        let myself = rustix::process::getpid();
        let process = Process::read(myself.as_raw_pid()).unwrap();
        let parent = rustix::process::getppid().map_or(0, Pid::as_raw_pid);
        assert_eq!(process.parent, parent);
        assert_eq!(process.session, own_session().unwrap());
    }

    #[test]
    fn descendants_are_found_through_every_generation_and_a_circle_ends() {
        let process = |pid, parent| Process {
            pid: Pid::from_raw(pid).unwrap(),
            parent,
            session: 1,
            start: 0,
        };
        let all = [
            process(900_001, 1),
            process(900_002, 900_001),
            process(900_003, 900_002),
            process(900_009, 1),
        ];
        let processes = all
            .into_iter()
            .map(|process| (process.pid.as_raw_pid(), process))
            .collect();
        let found = Snapshot { processes }.below([Pid::from_raw(900_001).unwrap()]);
        let mut pids: Vec<i32> = found.iter().map(|process| process.pid.as_raw_pid()).collect();
        pids.sort_unstable();
        assert_eq!(pids, [900_001, 900_002, 900_003]);

        // No snapshot of one moment has a circle; one during which a number was used twice can have.
        let circle = [process(900_001, 900_002), process(900_002, 900_001)];
        let processes = circle
            .into_iter()
            .map(|process| (process.pid.as_raw_pid(), process))
            .collect();
        let found = Snapshot { processes }.below([Pid::from_raw(900_001).unwrap()]);
        assert!(found.iter().any(|process| process.pid.as_raw_pid() == 900_002));
    }
}
