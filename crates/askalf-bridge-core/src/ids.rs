//! Identifiers: a word for the kind and a ULID, which sorts by time and repeats never.

use askalf_bridge_auth::UnixMillis;
use ulid::Ulid;

/// The system's random source failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random source failed")]
pub(crate) struct RandomFailed;

/// A new id: `prefix` and a ULID of `now`.
pub(crate) fn new_id(prefix: &str, now: UnixMillis) -> Result<String, RandomFailed> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| RandomFailed)?;
    let millis = u64::try_from(now.0).unwrap_or(0);
    Ok(format!(
        "{prefix}{}",
        Ulid::from_parts(millis, u128::from_ne_bytes(random))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_sort_by_time() {
        let early = new_id("dev_", UnixMillis(1_000)).unwrap();
        let late = new_id("dev_", UnixMillis(2_000)).unwrap();
        assert!(early < late, "{early} {late}");
        assert_eq!(early.len(), 30);
        assert_ne!(early, new_id("dev_", UnixMillis(1_000)).unwrap());
    }
}
