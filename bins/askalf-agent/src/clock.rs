//! The wall clock, for what people read.

use std::time::SystemTime;

use askalf_bridge_auth::UnixMillis;

/// Milliseconds since the Unix epoch; 0 on a machine whose clock is before it.
pub(crate) fn unix_ms() -> u64 {
    u64::try_from(UnixMillis::from_system_time(SystemTime::now()).0).unwrap_or(0)
}
