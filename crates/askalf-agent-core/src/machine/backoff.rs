//! How long to wait before the next try.

use std::time::Duration;

use crate::Timings;

/// The machine's only source of chance.
pub trait Jitter {
    /// A span from zero to `bound`, `bound` excluded, each equally likely; zero where `bound` is zero.
    fn below(&mut self, bound: Duration) -> Duration;
}

/// Exponential backoff with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015): each wait is
/// drawn from zero to a window that doubles with every failure.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A session stayed registered for long enough, or everything has changed.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure and draws the wait after it. A session that was registered, though not for long, keeps the
    /// window small. The server's own wish is clamped and then waited for in any case; the drawn part comes on top,
    /// so that devices told the same do not come back together.
    pub(crate) fn next(
        &mut self,
        timings: &Timings,
        jitter: &mut impl Jitter,
        short_session: bool,
        retry_after: Option<Duration>,
    ) -> Duration {
        let mut window = timings
            .backoff_first
            .saturating_mul(1 << self.failures.min(16))
            .min(timings.backoff_max);
        if short_session {
            window = window.min(timings.backoff_short_session);
        }
        self.failures = self.failures.saturating_add(1);
        let asked = retry_after.unwrap_or_default().min(timings.retry_after_max);
        asked + jitter.below(window)
    }
}

/// A wait around `mean`, an eighth of it to either side, so that a fleet does not recheck in step.
pub(crate) fn around(mean: Duration, jitter: &mut impl Jitter) -> Duration {
    mean - mean / 8 + jitter.below(mean / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Always the largest span that is allowed.
    struct Longest;

    impl Jitter for Longest {
        fn below(&mut self, bound: Duration) -> Duration {
            bound.saturating_sub(Duration::from_nanos(1))
        }
    }

    fn rounded(span: Duration) -> u64 {
        (span + Duration::from_nanos(1)).as_secs()
    }

    #[test]
    fn the_window_doubles_from_one_second_to_sixty() {
        let timings = Timings::default();
        let mut backoff = Backoff::default();
        let mut windows = Vec::new();
        for _ in 0..8 {
            windows.push(rounded(backoff.next(&timings, &mut Longest, false, None)));
        }
        assert_eq!(windows, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.reset();
        assert_eq!(rounded(backoff.next(&timings, &mut Longest, false, None)), 1);
    }

    #[test]
    fn it_never_overflows() {
        let mut backoff = Backoff { failures: u32::MAX };
        let wait = backoff.next(&Timings::default(), &mut Longest, false, None);
        assert_eq!(rounded(wait), 60);
    }

    #[test]
    fn after_a_short_session_the_window_stays_within_eight_seconds() {
        let mut backoff = Backoff { failures: 10 };
        let wait = backoff.next(&Timings::default(), &mut Longest, true, None);
        assert_eq!(rounded(wait), 8);
    }

    #[test]
    fn the_servers_wish_is_waited_for_but_clamped() {
        let timings = Timings::default();
        let wish = |secs| {
            let mut backoff = Backoff::default();
            rounded(backoff.next(&timings, &mut Longest, false, Some(Duration::from_secs(secs))))
        };
        assert_eq!(wish(20), 20 + 1);
        assert_eq!(wish(86_400), 300 + 1);
    }

    #[test]
    fn a_recheck_stays_within_an_eighth_of_its_mean() {
        let mean = Duration::from_secs(600);
        let longest = around(mean, &mut Longest);
        assert_eq!(rounded(longest), 675);
        struct Shortest;
        impl Jitter for Shortest {
            fn below(&mut self, _: Duration) -> Duration {
                Duration::ZERO
            }
        }
        assert_eq!(around(mean, &mut Shortest), Duration::from_secs(525));
    }
}
