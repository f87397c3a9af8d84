//! No other machine uses this device's key.

use askalf_cli::ExitCode;

use super::{Daemon, Finding, Subject};

pub(super) const ID: &str = "one-machine";

pub(super) fn check(subject: &Subject) -> Finding {
    let Daemon::Running(status) = &subject.daemon else {
        return Finding::skipped(ID, "only a running agent notices it: see 'daemon'");
    };
    match status.reason.as_str() {
        "key-used-elsewhere" => Finding::problem(
            ID,
            ExitCode::Configuration,
            status.reason.clone(),
            status.detail.clone(),
            status.hint.clone(),
        ),
        "replaced" => Finding::warning(
            ID,
            status.reason.clone(),
            status.detail.clone(),
            "see whether another machine has a copy of this one's folder, and give it a key of its own",
        ),
        _ => Finding::ok(ID, "nobody took this device's place"),
    }
}
