//! The processes that a runner answers for.

#[cfg(windows)]
mod job;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(all(unix, not(target_os = "linux")))]
mod process_group;
#[cfg(unix)]
mod reap;

#[cfg(windows)]
use job as system;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(all(unix, not(target_os = "linux")))]
use process_group as system;

pub use system::become_subreaper;
pub(crate) use system::{OrphanSweep, RunnerIdentity, Tree};

use askalf_agent_core::ExitStatus;

/// The status of a main process whose own was never learnt: the runner gave up on it.
#[cfg(unix)]
pub(crate) const KILLED: ExitStatus = ExitStatus::Signal(rustix::process::Signal::KILL.as_raw());
/// The status of a main process whose own was never learnt: what a job object gives to whom it ends.
#[cfg(windows)]
pub(crate) const KILLED: ExitStatus = ExitStatus::Code(job::KILLED_CODE.cast_signed());

/// What has become of a tree since it was last asked.
#[derive(Debug)]
pub(crate) struct Collected {
    /// The status of the main process, told once.
    pub(crate) main: Option<ExitStatus>,
    /// Nothing is left.
    pub(crate) gone: bool,
}
