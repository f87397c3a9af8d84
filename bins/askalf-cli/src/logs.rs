//! Log lines on standard error.

use std::io::{self, IsTerminal};
use std::sync::Mutex;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
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
    init(filter, io::stderr, !plain && io::stderr().is_terminal())
}

/// Sends log lines to `writer`, without colour. `filter` as for [`init_logs`].
///
/// # Errors
/// [`LogFilterError`] where the filter cannot be read.
pub fn init_logs_to(
    filter: Option<&str>,
    writer: impl io::Write + Send + 'static,
) -> Result<(), LogFilterError> {
    init(filter, Mutex::new(writer), false)
}

fn init(
    filter: Option<&str>,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
    colour: bool,
) -> Result<(), LogFilterError> {
    let filter = filter.filter(|filter| !filter.is_empty()).unwrap_or("info");
    let targets: Targets = filter.parse().map_err(|_| LogFilterError(filter.to_owned()))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(colour)
        .with_target(false);
    // Fails only where a subscriber was set before: then lines go there.
    let _set_before = tracing_subscriber::registry()
        .with(lines)
        .with(targets)
        .try_init();
    Ok(())
}
