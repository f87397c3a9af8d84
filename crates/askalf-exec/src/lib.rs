#![doc = include_str!("../README.md")]

mod audit;
mod command;
mod deadline;
mod ending;
mod environment;
mod guarded;
mod output_log;
mod plain_io;
mod policy;
mod process_runner;
mod progress;
mod pump;
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

pub use audit::{
    Anchor, AnchorFault, AuditError, AuditFiles, AuditKey, AuditKeyError, AuditLog, AuditOptions,
    AuditRecord, Break, Details, Event, Listed, Torn, Verification, list as list_audit,
    verify as verify_audit,
};
pub use environment::scrubbed_environment;
pub use guarded::{Guard, GuardOptions, Guarded};
pub use output_log::DEFAULT_OUTPUT_CAP;
pub use policy::{
    AuditMode, DEFAULT_APPROVAL_TIMEOUT, Decision, Effect, MAX_PATTERN, MAX_POLICY_BYTES, NamedCommand,
    Origin, Policy, PolicyError, PolicyFile, Rule, TaskFacts,
};
pub use process_runner::ProcessRunner;
pub use runner_host::run_runner;
pub use shell::{ShellExecutor, ShellOptions};
pub use tree::become_subreaper;
