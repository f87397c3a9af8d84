//! Log lines on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The log filter cannot be read.
#[derive(Debug)]
pub struct LogFilterError(String);

impl std::fmt::Display for LogFilterError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "the log filter '{}' is not valid", self.0)
    }
}

impl std::error::Error for LogFilterError {}

/// Sends log lines to standard error. `filter` is a level (`debug`) or a list of targets (`info,askalf_agent_core=trace`);
/// `info` where there is none. Colour only on a terminal, and not where `plain` asks for none.
///
/// # Errors
/// [`LogFilterError`] where the filter cannot be read.
pub fn init_logs(filter: Option<&str>, plain: bool) -> Result<(), LogFilterError> {
    let filter = filter.filter(|filter| !filter.is_empty()).unwrap_or("info");
    let unclear = || LogFilterError(filter.to_owned());
    // A word alone would be taken for a target that nobody has.
    let is_clear = |word: &str| {
        word.contains('=')
            || word
                .trim()
                .parse::<tracing_subscriber::filter::LevelFilter>()
                .is_ok()
    };
    if !filter.split(',').all(is_clear) {
        return Err(unclear());
    }
    let targets: Targets = filter.parse().map_err(|_| unclear())?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(!plain && io::stderr().is_terminal())
        .with_target(false);
    // Fails only where a subscriber was set before: then lines go there.
    let _set_before = tracing_subscriber::registry()
        .with(lines)
        .with(targets)
        .try_init();
    Ok(())
}
