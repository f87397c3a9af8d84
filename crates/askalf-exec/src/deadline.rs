//! Waiting for a time that may not exist.

use tokio::time::{Instant, sleep_until};

/// Returns at `time`, at once where that has passed; never where there is none, as with a time-out beyond what the clock can
/// count.
///
/// Cancel-safe.
pub(crate) async fn reached(time: Option<Instant>) {
    match time {
        // A timer counts whole milliseconds: each piece of a long output would wait for one.
        Some(time) if time <= Instant::now() => {}
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
