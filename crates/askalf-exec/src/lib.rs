#![doc = include_str!("../README.md")]

#[cfg(unix)]
mod command;
mod deadline;
mod ending;
mod environment;
mod output_log;
#[cfg(unix)]
mod plain_io;
#[cfg(unix)]
mod process_runner;
mod progress;
#[cfg(unix)]
mod runner_process;
mod shell;
#[cfg(unix)]
mod tree;
#[cfg(not(unix))]
mod unsupported;
mod utf8;
#[cfg(unix)]
mod wire;

pub use environment::scrubbed_environment;
pub use output_log::DEFAULT_OUTPUT_CAP;
#[cfg(unix)]
pub use process_runner::ProcessRunner;
#[cfg(unix)]
pub use runner_process::run_runner;
pub use shell::{ShellExecutor, ShellOptions};
#[cfg(unix)]
pub use tree::become_subreaper;
#[cfg(not(unix))]
pub use unsupported::{ProcessRunner, become_subreaper};
