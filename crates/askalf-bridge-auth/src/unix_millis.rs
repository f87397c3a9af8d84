use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted; negative before.
///
/// ```
/// use askalf_bridge_auth::UnixMillis;
/// use std::time::{Duration, UNIX_EPOCH};
///
/// assert_eq!(UnixMillis::from_system_time(UNIX_EPOCH + Duration::from_secs(2)), UnixMillis(2_000));
/// assert!(UnixMillis(1) < UnixMillis(2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// The millisecond that `time` lies in, rounded towards the past; saturates at the ends of `i64`.
    #[must_use]
    pub fn from_system_time(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self(whole_millis(since)),
            Err(before) => {
                let before = before.duration();
                let partial = before.subsec_nanos() % 1_000_000 != 0;
                Self(-whole_millis(before) - i64::from(partial))
            }
        }
    }
}

fn whole_millis(duration: Duration) -> i64 {
    // One below the maximum, so that the negation and the rounding above cannot overflow.
    i64::try_from(duration.as_millis())
        .unwrap_or(i64::MAX)
        .min(i64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_towards_the_past_on_both_sides_of_the_epoch() {
        let at = |time| UnixMillis::from_system_time(time).0;
        assert_eq!(at(UNIX_EPOCH), 0);
        assert_eq!(at(UNIX_EPOCH + Duration::from_micros(1_999)), 1);
        assert_eq!(at(UNIX_EPOCH - Duration::from_micros(1)), -1);
        assert_eq!(at(UNIX_EPOCH - Duration::from_millis(2)), -2);
    }
}
