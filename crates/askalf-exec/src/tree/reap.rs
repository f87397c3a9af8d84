//! How a runner on Unix learns of the ends of its children.

use askalf_agent_core::ExitStatus;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus};

use super::{Collected, Tree};

impl Tree {
    /// Collects every child of this process that has ended, without waiting.
    pub(crate) fn collect(&mut self) -> Collected {
        let reaped = reap();
        let main = reaped.ended.iter().find(|(pid, _)| self.is_main(*pid));
        let main = main.map(|(_, status)| *status);
        if main.is_some() {
            self.main_was_collected();
        }
        Collected {
            main,
            gone: self.is_gone(reaped.childless),
        }
    }
}

/// Collects every child that has ended, without waiting.
fn reap() -> Reaped {
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
struct Reaped {
    /// Children that had ended.
    ended: Vec<(Pid, ExitStatus)>,
    /// No child is left.
    childless: bool,
}

fn exit_status(status: WaitStatus) -> Option<ExitStatus> {
    let code = status.exit_status().map(ExitStatus::Code);
    code.or_else(|| status.terminating_signal().map(ExitStatus::Signal))
}
