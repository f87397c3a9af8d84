//! The wall clock, for what people read.

use std::time::SystemTime;

use askalf_bridge_auth::UnixMillis;

/// Milliseconds since the Unix epoch; 0 on a machine whose clock is before it.
pub(crate) fn unix_ms() -> u64 {
    unix_ms_of(SystemTime::now())
}

/// The same of another moment.
pub(crate) fn unix_ms_of(time: SystemTime) -> u64 {
    u64::try_from(UnixMillis::from_system_time(time).0).unwrap_or(0)
}

/// A time of the wall clock as people read it: RFC 3339, in UTC.
pub(crate) fn date(unix_ms: u64) -> String {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| "?".to_owned(), |time| time.to_string())
}
