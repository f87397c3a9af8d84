//! Waiting for what no event announces.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long anything may take before a test gives up: far above what a loaded machine needs, so that reaching it
/// means that the thing does not happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `look` until it finds something, at most [`PATIENCE`] long. For states that only a question shows, such as
/// a row behind a command; where a line is written, wait for the line.
///
/// # Errors
/// An error of `look`, or that nothing was found: `what` says what was wanted.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().with_context(|| format!("while waiting for {what}"))? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {} s", PATIENCE.as_secs());
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "paces a question that is asked again; it synchronises nothing"
        )]
        std::thread::sleep(Duration::from_millis(20));
    }
}
