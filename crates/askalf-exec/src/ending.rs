//! How a command's end reads as a task's end.

use std::time::Duration;

use askalf_agent_core::{Ended, ExitStatus, TaskEnd};
use askalf_proto::{Cause, clip_to_json};

/// Longest `error` of a result, in bytes inside a JSON string.
pub(crate) const MAX_ERROR: usize = 1024;

/// What the executor knows beside the end itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances {
    pub(crate) timeout: Duration,
    pub(crate) duration: Duration,
    /// The task was cancelled before its end was known.
    pub(crate) cancelled: bool,
}

/// The end of a task whose command ended so, without its output.
pub(crate) fn task_end(ended: &Ended, around: Circumstances) -> TaskEnd {
    let (exit_code, signal) = match ended {
        Ended::Exited {
            status: ExitStatus::Code(code),
            ..
        } => (Some(*code), None),
        Ended::Exited {
            status: ExitStatus::Signal(signal),
            ..
        } => (None, Some(*signal)),
        Ended::NotStarted(_) | Ended::RunnerLost => (None, None),
    };
    let (cause, error) = match ended {
        Ended::Exited { timed_out: true, .. } => (Cause::Timeout, Some(too_long(around.timeout))),
        Ended::Exited { terminated: true, .. } => (Cause::Cancelled, Some("cancelled".to_owned())),
        Ended::Exited {
            status: ExitStatus::Code(0),
            ..
        } => (Cause::Exit, None),
        Ended::Exited {
            status: ExitStatus::Code(code),
            ..
        } => (Cause::Exit, Some(format!("exited with status {code}"))),
        Ended::Exited {
            status: ExitStatus::Signal(signal),
            ..
        } => (
            Cause::Signal,
            Some(format!("ended by signal {}", signal_text(*signal))),
        ),
        Ended::NotStarted(why) => (Cause::Refused, Some(why.clone())),
        // A runner that was stopped or killed under a task could not tell why its agent wanted the end.
        Ended::RunnerLost if around.cancelled => (Cause::Cancelled, Some("cancelled".to_owned())),
        Ended::RunnerLost if around.duration > around.timeout => {
            (Cause::Timeout, Some(too_long(around.timeout)))
        }
        Ended::RunnerLost => (
            Cause::Interrupted,
            Some("the runner of the task was killed, and what it left running was ended".to_owned()),
        ),
    };
    TaskEnd {
        exit_code,
        signal,
        ..end_without_command(cause, error, around.duration)
    }
}

/// The end of a task without a command that ran.
pub(crate) fn end_without_command(cause: Cause, error: Option<String>, duration: Duration) -> TaskEnd {
    TaskEnd {
        cause: Some(cause),
        error: error.map(|error| clip_to_json(&error, MAX_ERROR).into_owned()),
        duration,
        ..TaskEnd::default()
    }
}

fn too_long(timeout: Duration) -> String {
    if timeout.subsec_millis() == 0 {
        format!("ran longer than {} s and was ended", timeout.as_secs())
    } else {
        format!("ran longer than {:.1} s and was ended", timeout.as_secs_f64())
    }
}

fn signal_text(signal: i32) -> String {
    match signal_name(signal) {
        Some(name) => format!("{signal} ({name})"),
        None => signal.to_string(),
    }
}

#[cfg(unix)]
fn signal_name(signal: i32) -> Option<&'static str> {
    use rustix::process::Signal;
    // Numbers differ between systems; these are this one's.
    let names = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ"),
        (Signal::SYS, "SIGSYS"),
    ];
    names
        .iter()
        .find(|(known, _)| known.as_raw() == signal)
        .map(|(_, name)| *name)
}

#[cfg(not(unix))]
fn signal_name(_signal: i32) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const AROUND: Circumstances = Circumstances {
        timeout: Duration::from_secs(5),
        duration: Duration::from_secs(1),
        cancelled: false,
    };

    fn exited(status: ExitStatus, timed_out: bool, terminated: bool) -> Ended {
        Ended::Exited {
            status,
            timed_out,
            terminated,
        }
    }

    #[test]
    fn every_end_has_its_cause_and_its_words() {
        use ExitStatus::{Code, Signal};
        let late = Circumstances {
            duration: Duration::from_secs(6),
            ..AROUND
        };
        let cancelled = Circumstances {
            cancelled: true,
            ..late
        };
        let short = Circumstances {
            timeout: Duration::from_millis(1500),
            ..AROUND
        };
        for (ended, around, cause, error) in [
            (
                exited(Code(3), false, false),
                AROUND,
                Cause::Exit,
                "exited with status 3",
            ),
            (
                exited(Signal(9), false, false),
                AROUND,
                Cause::Signal,
                if cfg!(unix) {
                    "ended by signal 9 (SIGKILL)"
                } else {
                    "ended by signal 9"
                },
            ),
            (
                exited(Signal(64), false, false),
                AROUND,
                Cause::Signal,
                "ended by signal 64",
            ),
            (
                exited(Signal(15), true, false),
                AROUND,
                Cause::Timeout,
                "ran longer than 5 s and was ended",
            ),
            (
                exited(Code(0), true, false),
                short,
                Cause::Timeout,
                "ran longer than 1.5 s and was ended",
            ),
            (
                exited(Code(0), false, true),
                cancelled,
                Cause::Cancelled,
                "cancelled",
            ),
            (
                Ended::NotStarted("x does not exist".into()),
                AROUND,
                Cause::Refused,
                "x does not exist",
            ),
            (Ended::RunnerLost, cancelled, Cause::Cancelled, "cancelled"),
            (
                Ended::RunnerLost,
                late,
                Cause::Timeout,
                "ran longer than 5 s and was ended",
            ),
        ] {
            let end = task_end(&ended, around);
            assert_eq!(
                (end.cause, end.error.as_deref()),
                (Some(cause), Some(error)),
                "{ended:?}"
            );
            assert!(!end.succeeded());
        }
        let lost = task_end(&Ended::RunnerLost, AROUND);
        assert_eq!(lost.cause, Some(Cause::Interrupted));
    }

    #[test]
    fn status_0_is_success_even_where_a_cancel_came_too_late() {
        let end = task_end(
            &exited(ExitStatus::Code(0), false, false),
            Circumstances {
                cancelled: true,
                ..AROUND
            },
        );
        assert!(end.succeeded());
        assert_eq!(end.error, None);
    }
}
