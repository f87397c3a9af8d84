//! Trees on Windows: job objects. A process that one of the job starts is in it from its first instruction, and these
//! jobs let nobody leave; when the last handle of a job is closed, the system ends all that is in it.
//!
//! There are two, one in the other. The outer one is the agent's: it holds the runner and all that ever comes of it, so that
//! neither a runner's death nor the agent's own leaves anything. The inner one is the runner's, for the command: what the
//! runner can end without ending itself. A command that starts something in the instant before it is put into the inner
//! job leaves it in the outer one alone, where the agent ends it before it tells the end.

use std::io;
use std::time::Duration;

use askalf_agent_core::ExitStatus;
use tokio::process::Child;

use super::Collected;
use crate::windows_calls::{self, Job};

/// The exit code of a process that a job object was made to end.
pub(super) const KILLED_CODE: u32 = 1;

/// How often a job is asked whether something is left once its main process has ended: nothing tells when the others end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Does nothing on Windows: job objects hold what a dead runner leaves.
///
/// # Errors
/// None.
pub fn become_subreaper() -> io::Result<()> {
    Ok(())
}

/// A command with all that it started.
#[derive(Debug)]
pub(crate) struct Tree {
    job: Job,
    main: Child,
    /// The process group that `main` leads. Its number is asked for on this process's console alone, so that it does no harm
    /// once it is a stranger's.
    group: Option<u32>,
    collected: bool,
}

impl Tree {
    /// The tree that starts with `main`, the leader of a process group.
    ///
    /// # Errors
    /// No job can be made, or it does not take the process; then the process is killed.
    pub(crate) fn new(mut main: Child) -> io::Result<Self> {
        let group = main.id();
        match job_with(&mut main) {
            Ok(job) => Ok(Self {
                job,
                main,
                group,
                collected: false,
            }),
            Err(error) => {
                let _gone = main.start_kill();
                Err(error)
            }
        }
    }

    /// Waits until [`Self::collect`] may find news. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        if self.collected || self.main.wait().await.is_err() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Looks who has ended, without waiting.
    pub(crate) fn collect(&mut self) -> Collected {
        let mut main = None;
        if !self.collected
            && let Ok(Some(status)) = self.main.try_wait()
        {
            self.collected = true;
            main = status.code().map(ExitStatus::Code);
        }
        Collected {
            main,
            gone: self.collected && self.job.active().is_ok_and(|active| active == 0),
        }
    }

    /// Asks the processes of the command's group to end, as Ctrl-Break would. Who has no console, or a group of its own, does
    /// not hear.
    pub(crate) fn terminate(&self) {
        if let Some(group) = self.group {
            let _nobody_hears = windows_calls::send_break(group);
        }
    }

    /// Ends every process.
    pub(crate) fn kill(&self) {
        let _gone = self.job.terminate(KILLED_CODE);
    }

    /// Numbers of the processes that are left.
    pub(crate) fn survivors(&self) -> Vec<i32> {
        let processes = self.job.processes().unwrap_or_default();
        processes.into_iter().map(u32::cast_signed).collect()
    }
}

fn job_with(child: &mut Child) -> io::Result<Job> {
    let job = Job::new()?;
    match job.take_in(child) {
        // One that has ended already is refused, and needs no job.
        Err(error) if !matches!(child.try_wait(), Ok(Some(_))) => Err(error),
        Ok(()) | Err(_) => Ok(job),
    }
}

/// A runner as its agent knows it: the job that holds it.
#[derive(Debug)]
pub(crate) struct RunnerIdentity(Job);

impl RunnerIdentity {
    /// Starts a runner by `spawn` and puts it into a job. It starts nothing before it has got its command.
    ///
    /// # Errors
    /// Whatever `spawn` fails with; no job can be made, or it does not take the process: then that is killed.
    pub(crate) fn register(spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<(Child, Self)> {
        let mut child = spawn()?;
        match job_with(&mut child) {
            Ok(job) => Ok((child, Self(job))),
            Err(error) => {
                let _gone = child.start_kill();
                Err(error)
            }
        }
    }

    /// A runner that was collected: what is left of it.
    pub(crate) fn forget(self) -> OrphanSweep {
        OrphanSweep(self.0)
    }
}

/// Ends what a runner left in the agent's job.
#[derive(Debug)]
pub(crate) struct OrphanSweep(Job);

impl OrphanSweep {
    /// A runner that saw the last of its own job may have left something in the agent's.
    pub(crate) const AFTER_SUCCESS: bool = true;

    /// Ends what is there; `true` when nothing is.
    ///
    /// # Errors
    /// The job cannot be asked.
    pub(crate) fn pass(&mut self) -> io::Result<bool> {
        if self.0.active()? == 0 {
            return Ok(true);
        }
        self.0.terminate(KILLED_CODE)?;
        Ok(self.0.active()? == 0)
    }
}
