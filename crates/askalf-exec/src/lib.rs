#![doc = include_str!("../README.md")]

mod audit;
mod capabilities;
mod claude;
mod claude_events;
mod cli_executor;
mod codex;
mod codex_events;
mod command;
mod command_run;
mod credential_folder;
mod deadline;
mod ending;
mod environment;
mod guarded;
mod hardware;
#[cfg(unix)]
mod inherited_files;
mod interpreter;
mod json_lines;
mod load;
mod machine_figures;
mod output_log;
mod plain_io;
mod policy;
mod private_files;
mod process_runner;
mod program_path;
mod progress;
mod pump;
pub mod redact;
mod runner_host;
mod runner_link;
mod runner_process;
mod running;
mod shell;
mod shell_arguments;
#[cfg(unix)]
mod socket_runner;
mod task_limits;
mod tool_version;
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
pub use capabilities::{FoundTool, TOOLS, Tool, find_tools};
pub use claude::{ClaudeExecutor, claude_interpreter};
pub use cli_executor::{CliOptions, CredentialPlace};
pub use codex::{CodexExecutor, codex_interpreter};
pub use credential_folder::sweep_credential_folders;
pub use environment::scrubbed_environment;
pub use guarded::{Guard, GuardOptions, Guarded};
pub use hardware::{Hardware, hardware};
#[cfg(unix)]
pub use inherited_files::keep_inherited_files;
pub use interpreter::{Figures, Interpreter};
pub use load::device_load;
pub use output_log::DEFAULT_OUTPUT_CAP;
pub use policy::{
    AuditMode, DEFAULT_APPROVAL_TIMEOUT, Decision, Effect, MAX_PATTERN, MAX_POLICY_BYTES, NamedCommand,
    Origin, Policy, PolicyError, PolicyFile, Rule, TaskFacts,
};
pub use process_runner::ProcessRunner;
pub use runner_host::run_runner;
pub use runner_process::RunnerOptions;
pub use shell::{ShellExecutor, ShellOptions};
#[cfg(unix)]
pub use socket_runner::{SocketRunner, SocketRunnerOptions};
pub use task_limits::{TaskLimits, TaskLimitsError};
pub use tool_version::tool_version;
pub use tree::become_subreaper;
