//! Trees on a Unix without subreapers (macOS, the BSDs): the process group of the command.
//!
//! Weaker than on Linux, and said to be: a process that opens a session or group of its own leaves the tree, and outlives
//! it. What a killed runner leaves behind is not found either.

use std::io;

use rustix::process::{Pid, Signal};

/// Does nothing on this system, which has no subreapers.
///
/// # Errors
/// None.
pub fn become_subreaper() -> io::Result<()> {
    Ok(())
}

/// The process group of a command.
#[derive(Debug)]
pub(crate) struct Tree {
    main: Pid,
}

impl Tree {
    /// The tree that started with `main`, a child of this process that leads a process group.
    pub(crate) fn new(main: Pid) -> Self {
        Self { main }
    }

    /// The child that the tree started with was collected. Its group may have other members.
    pub(crate) fn main_was_collected(&mut self) {}

    /// Asks every process to end. A stopped one is continued, since it could not hear otherwise.
    pub(crate) fn terminate(&self) {
        let _gone = rustix::process::kill_process_group(self.main, Signal::TERM);
        let _gone = rustix::process::kill_process_group(self.main, Signal::CONT);
    }

    /// Kills every process.
    pub(crate) fn kill(&self) {
        let _gone = rustix::process::kill_process_group(self.main, Signal::KILL);
    }

    /// Whether nothing is left, where [`reap`](super::reap) found no child.
    pub(crate) fn is_gone(&self, childless: bool) -> bool {
        childless && rustix::process::test_kill_process_group(self.main).is_err()
    }

    /// Numbers of the processes that are left: the group's alone.
    pub(crate) fn survivors(&self) -> Vec<i32> {
        vec![self.main.as_raw_pid()]
    }
}

/// A runner as its agent knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunnerIdentity;

impl RunnerIdentity {
    /// Starts a runner by `spawn`.
    ///
    /// # Errors
    /// Whatever `spawn` fails with.
    pub(crate) fn register<T>(spawn: impl FnOnce() -> io::Result<(T, Option<u32>)>) -> io::Result<(T, Self)> {
        let (child, _) = spawn()?;
        Ok((child, Self))
    }

    /// Forgets a runner that was collected.
    pub(crate) fn forget(self) {}
}

/// Ends what dead runners left: nothing that could be found here.
#[derive(Debug, Default)]
pub(crate) struct OrphanSweep;

impl OrphanSweep {
    /// Always `true`.
    ///
    /// # Errors
    /// None.
    pub(crate) fn pass(&mut self) -> io::Result<bool> {
        Ok(true)
    }
}
