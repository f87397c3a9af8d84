//! There is room for results, logs and a new credential.

use askalf_cli::ExitCode;
use askalf_exec::device_load;

use super::{Finding, Subject};

pub(super) const ID: &str = "disk-space";

/// Below this a result of the largest size may find no room, in MiB.
const LEAST: u64 = 8;

/// Below this the journal of a device that is away for long may find no room, in MiB: it has 96 at most.
const ENOUGH: u64 = 128;

pub(super) fn check(subject: &Subject) -> Finding {
    let path = subject.home().path();
    if !path.is_dir() {
        return Finding::skipped(ID, "there is no folder: see 'home'");
    }
    let Some(free) = device_load(path).free_disk_mb else {
        return Finding::skipped(ID, "the system does not tell");
    };
    let saw = format!("{free} MiB are free where {} is", path.display());
    let next = "make room: a full disk refuses tasks, and a new key cannot be kept";
    if free < LEAST {
        Finding::problem(ID, ExitCode::Failed, "disk-full", saw, next)
    } else if free < ENOUGH {
        Finding::warning(ID, "disk-low", saw, next)
    } else {
        Finding::ok(ID, saw)
    }
}
