#![doc = include_str!("../README.md")]

mod command;
mod deadline;
mod ending;
mod environment;
mod output_log;
mod plain_io;
mod process_runner;
mod progress;
mod pump;
pub mod redact;
mod runner_host;
mod runner_link;
mod runner_process;
mod shell;
mod shell_arguments;
mod tree;
mod utf8;
#[cfg(windows)]
mod windows_calls;
mod wire;

pub use environment::scrubbed_environment;
pub use output_log::DEFAULT_OUTPUT_CAP;
pub use process_runner::ProcessRunner;
pub use runner_host::run_runner;
pub use shell::{ShellExecutor, ShellOptions};
pub use tree::become_subreaper;
