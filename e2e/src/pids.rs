//! Processes that are not our children: whether they are there, and when they end.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A process that was there when this was made. Its number may be used again; this handle stays with it.
#[derive(Debug)]
pub struct Watched {
    handle: OwnedFd,
}

impl Watched {
    /// Watches a process by its number.
    ///
    /// # Errors
    /// There is none.
    pub fn new(pid: u32) -> Result<Self> {
        let pid = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .context("not a process id")?;
        Self::open(pid)
    }

    pub(crate) fn child(child: &Child) -> Result<Self> {
        Self::open(Pid::from_child(child))
    }

    fn open(pid: Pid) -> Result<Self> {
        let handle = pidfd_open(pid, PidfdFlags::empty())
            .with_context(|| format!("process {} cannot be watched", pid.as_raw_nonzero()))?;
        Ok(Self { handle })
    }

    /// Whether it ends within a time; at once where it has ended.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn ended_within(&self, time: Duration) -> Result<bool> {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut handles = [PollFd::new(&self.handle, PollFlags::IN)];
            match poll(&mut handles, Some(&Timespec::try_from(left)?)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => bail!("the process cannot be watched: {error}"),
            }
        }
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn runs(&self) -> Result<bool> {
        Ok(!self.ended_within(Duration::ZERO)?)
    }
}

/// The processes that were started with this text in their environment or arguments, as far as they may be seen: a
/// task and its whole tree, where the text is in the task's environment.
///
/// # Errors
/// The system shows no processes.
pub fn pids_in(text: &str) -> Result<BTreeSet<u32>> {
    let holds = |path: std::path::PathBuf| {
        std::fs::read(path)
            .is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").context("/proc cannot be read")? {
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let ours = pid == std::process::id();
        if !ours && (holds(entry.path().join("environ")) || holds(entry.path().join("cmdline"))) {
            found.insert(pid);
        }
    }
    Ok(found)
}
