//! Trees on a Unix without subreapers (macOS, the BSDs): the process group of the command.
//!
//! Weaker than on Linux, and said to be: a process that opens a session or group of its own leaves the tree, and outlives
//! it. What a killed runner leaves behind is not found either.

use std::io;

use rustix::process::{Pid, Signal};
use tokio::process::Child;

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

    /// Whether the tree started with this child.
    pub(super) fn is_main(&self, pid: Pid) -> bool {
        self.main == pid
    }

    /// The child that the tree started with was collected. Its group may have other members.
    pub(super) fn main_was_collected(&mut self) {}

    /// Asks every process to end. A stopped one is continued, since it could not hear otherwise.
    pub(crate) fn terminate(&self) {
        let _gone = rustix::process::kill_process_group(self.main, Signal::TERM);
        let _gone = rustix::process::kill_process_group(self.main, Signal::CONT);
    }

    /// Kills every process.
    pub(crate) fn kill(&self) {
        let _gone = rustix::process::kill_process_group(self.main, Signal::KILL);
    }

    /// Whether nothing is left, where no child was found.
    pub(super) fn is_gone(&self, childless: bool) -> bool {
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
    pub(crate) fn register(spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<(Child, Self)> {
        Ok((spawn()?, Self))
    }

    /// Forgets a runner that was collected.
    pub(crate) fn forget(self) -> OrphanSweep {
        OrphanSweep
    }
}

/// Ends what dead runners left: nothing that could be found here.
#[derive(Debug)]
pub(crate) struct OrphanSweep;

impl OrphanSweep {
    /// Nothing more could be found.
    pub(crate) const AFTER_SUCCESS: bool = false;

    /// Always `true`.
    ///
    /// # Errors
    /// None.
    pub(crate) fn pass(&mut self) -> io::Result<bool> {
        Ok(true)
    }
}
