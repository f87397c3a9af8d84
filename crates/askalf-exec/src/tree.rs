//! The processes that a runner answers for.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod process_group;

#[cfg(target_os = "linux")]
pub(crate) use linux::{OrphanSweep, RunnerIdentity, Tree};
#[cfg(not(target_os = "linux"))]
pub(crate) use process_group::{OrphanSweep, RunnerIdentity, Tree};

#[cfg(target_os = "linux")]
pub use linux::become_subreaper;
#[cfg(not(target_os = "linux"))]
pub use process_group::become_subreaper;

use askalf_agent_core::ExitStatus;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus};

/// Collects every child that has ended, without waiting.
pub(crate) fn reap() -> Reaped {
    let mut reaped = Reaped {
        ended: Vec::new(),
        childless: false,
    };
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => reaped
                .ended
                .extend(exit_status(status).map(|status| (pid, status))),
            Ok(None) => return reaped,
            Err(Errno::INTR) => {}
            Err(error) => {
                reaped.childless = error == Errno::CHILD;
                return reaped;
            }
        }
    }
}

/// What [`reap`] found.
#[derive(Debug)]
pub(crate) struct Reaped {
    /// Children that had ended.
    pub(crate) ended: Vec<(Pid, ExitStatus)>,
    /// No child is left.
    pub(crate) childless: bool,
}

fn exit_status(status: WaitStatus) -> Option<ExitStatus> {
    let code = status.exit_status().map(ExitStatus::Code);
    code.or_else(|| status.terminating_signal().map(ExitStatus::Signal))
}
