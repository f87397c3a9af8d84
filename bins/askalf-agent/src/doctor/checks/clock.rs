//! This device's clock is the bridge's, more or less.

use std::time::Duration;

use askalf_cli::ExitCode;
use jiff::fmt::rfc2822;

use super::{Finding, Subject, way};
use crate::clock::unix_ms_of;

pub(super) const ID: &str = "clock";

/// Off by more, and dates in the logs of both sides cannot be compared.
const NOTICED: Duration = Duration::from_secs(60);

/// Off by more, and certificates and keys end at other times than they should.
const TOO_MUCH: Duration = Duration::from_secs(60 * 60);

pub(super) fn check(subject: &Subject) -> Finding {
    let way = match way(subject, ID) {
        Ok(way) => way,
        Err(skipped) => return skipped,
    };
    let (Some(date), Some(ours)) = (&way.date, way.answered_at) else {
        return Finding::skipped(ID, "the bridge did not tell the time");
    };
    // HTTP's form of a date is one of RFC 2822's.
    let Ok(theirs) = rfc2822::parse(date) else {
        return Finding::skipped(ID, "what answers tells the time in no form that is known");
    };
    let theirs = u64::try_from(theirs.timestamp().as_millisecond()).unwrap_or(0);
    let ours = unix_ms_of(ours);
    let off = Duration::from_millis(ours.abs_diff(theirs));
    let way_off = if ours > theirs { "ahead of" } else { "behind" };
    let saw = format!(
        "this device's clock is {} s {way_off} the bridge's",
        off.as_secs()
    );
    let next = "set the clock, for example with 'timedatectl set-ntp true'";
    if off > TOO_MUCH {
        Finding::problem(ID, ExitCode::Failed, "clock-skew", saw, next)
    } else if off > NOTICED {
        Finding::warning(ID, "clock-skew", saw, next)
    } else {
        Finding::ok(ID, format!("within {} s of the bridge's", off.as_secs().max(1)))
    }
}
