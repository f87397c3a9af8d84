//! The system's clock and its chance, for the machine that has neither.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::machine::{Jitter, Moment};

/// Moments count from the start of the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Moment {
        Moment::new(self.origin.elapsed())
    }

    pub(crate) fn instant(self, moment: Moment) -> Instant {
        self.origin + moment.since_origin()
    }

    /// Milliseconds since the Unix epoch at `moment`, by the clock on the wall as it stands now.
    pub(crate) fn unix_ms_at(self, moment: Moment) -> u64 {
        unix_ms().saturating_sub(millis(self.now().since(moment)))
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Jitter from the system's random source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemJitter;

impl Jitter for SystemJitter {
    fn below(&mut self, bound: Duration) -> Duration {
        // Without chance the middle is the best guess; a device must come back in any case.
        let drawn = getrandom::u64().unwrap_or(u64::MAX / 2);
        let nanos = (bound.as_nanos() * u128::from(drawn)) >> 64;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_below_its_bound_and_is_spread() {
        let bound = Duration::from_secs(60);
        let drawn: Vec<_> = (0..200).map(|_| SystemJitter.below(bound)).collect();
        assert!(drawn.iter().all(|span| *span < bound));
        // The chance that 200 draws miss either half is 2^-199.
        assert!(drawn.iter().any(|span| *span < bound / 2));
        assert!(drawn.iter().any(|span| *span >= bound / 2));
        assert_eq!(SystemJitter.below(Duration::ZERO), Duration::ZERO);
    }
}
