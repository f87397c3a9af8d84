//! What a bridge counts of its own work, from its start on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts that only grow, until the process ends.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) dispatched: Count,
    pub(crate) redelivered: Count,
    pub(crate) ended: Count,
    pub(crate) acknowledged: Count,
    pub(crate) accepted: Count,
    refused: [Count; REASONS.len()],
}

/// Each [`Rejection::reason`](askalf_bridge_auth::Rejection::reason).
const REASONS: [&str; 9] = [
    "missing",
    "malformed",
    "unknown",
    "revoked",
    "expired",
    "user_inactive",
    "scope_missing",
    "unavailable",
    "overloaded",
];

/// One of them.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn one_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// Counts a check that was refused for `reason`.
    pub(crate) fn refused(&self, reason: &str) {
        if let Some(place) = REASONS.iter().position(|known| *known == reason) {
            self.refused[place].one_more();
        }
    }

    /// The refused checks by their reason, also those of which there are none.
    pub(crate) fn refused_by_reason(&self) -> BTreeMap<String, u64> {
        REASONS
            .iter()
            .zip(&self.refused)
            .map(|(reason, count)| ((*reason).to_owned(), count.now()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use askalf_bridge_auth::Rejection;

    use super::*;

    #[test]
    fn each_reason_of_a_refusal_is_counted() {
        let counters = Counters::default();
        let rejections = [
            Rejection::Missing,
            Rejection::Malformed,
            Rejection::Unknown,
            Rejection::Revoked,
            Rejection::Expired,
            Rejection::UserInactive,
            Rejection::ScopeMissing,
            Rejection::Unavailable,
            Rejection::Overloaded {
                retry_after: Duration::ZERO,
            },
        ];
        for rejection in &rejections {
            counters.refused(rejection.reason());
        }
        let counted = counters.refused_by_reason();
        assert_eq!(counted.len(), rejections.len());
        assert!(counted.values().all(|count| *count == 1), "{counted:?}");
    }
}
