//! Log lines on standard error, or in a file.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::ExitCode;
use crate::log_file::{self, LogFileGuard};

/// Logs cannot be begun.
#[derive(Debug)]
pub enum LogError {
    /// The filter cannot be read.
    Filter(String),
    /// The file cannot be written.
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        kind: io::ErrorKind,
    },
}

impl LogError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Filter(_) => "set ASKALF_LOG to error, warn, info, debug or trace",
            Self::File { .. } => "name a file in a folder that this user may write to",
        }
    }

    /// The exit code of a program that ends for it.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Filter(_) => ExitCode::Usage,
            Self::File { .. } => ExitCode::Configuration,
        }
    }
}

impl std::fmt::Display for LogError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Filter(filter) => write!(formatter, "the log filter '{filter}' is not valid"),
            Self::File { path, kind } => {
                write!(
                    formatter,
                    "the log file {} cannot be written: {kind}",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for LogError {}

/// Sends log lines to standard error, or to `file` where one is named. `filter` is a level (`debug`) or a list of targets
/// (`info,askalf_agent_core=trace`); `info` where there is none. Colour only on a terminal, and not where `plain` asks for none.
/// The file turns over at [`LOG_FILE_BYTES`](crate::LOG_FILE_BYTES), and there are at most [`LOG_FILES`](crate::LOG_FILES).
///
/// # Errors
/// [`LogError`].
pub fn init_logs(
    filter: Option<&str>,
    plain: bool,
    file: Option<&Path>,
) -> Result<Option<LogFileGuard>, LogError> {
    let filter = filter.filter(|filter| !filter.is_empty()).unwrap_or("info");
    let unclear = || LogError::Filter(filter.to_owned());
    // A word alone would be taken for a target that nobody has.
    let is_clear = |word: &str| word.contains('=') || word.trim().parse::<LevelFilter>().is_ok();
    if !filter.split(',').all(is_clear) {
        return Err(unclear());
    }
    let targets: Targets = filter.parse().map_err(|_| unclear())?;
    let lines = tracing_subscriber::fmt::layer().with_target(false);
    let registry = tracing_subscriber::registry();
    // Setting fails only where a subscriber was set before: then lines go there.
    let Some(path) = file else {
        let lines = lines
            .with_writer(io::stderr)
            .with_ansi(!plain && io::stderr().is_terminal());
        let _set_before = registry.with(lines).with(targets).try_init();
        return Ok(None);
    };
    let (writer, guard) = log_file::start(path).map_err(|error| LogError::File {
        path: path.to_owned(),
        kind: error.kind(),
    })?;
    let lines = lines.with_writer(writer).with_ansi(false);
    let _set_before = registry.with(lines).with(targets).try_init();
    Ok(Some(guard))
}
