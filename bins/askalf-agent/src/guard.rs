//! The agent's files that decide on tasks and record them: `policy.json`, `audit.log`.

use std::path::PathBuf;
use std::sync::Arc;

use askalf_agent_core::ApprovalQueue;
use askalf_cred::Home;
use askalf_exec::{AuditLog, AuditOptions, Guard, GuardOptions, PolicyFile};

/// What stands in front of all executors of this home.
pub(crate) fn guard(home: &Home, approvals: ApprovalQueue) -> Arc<Guard> {
    Guard::new(GuardOptions {
        policy: policy_file(home),
        approvals,
        audit: AuditLog::new(AuditOptions::new(
            home.path().to_owned(),
            env!("CARGO_PKG_VERSION"),
        )),
        working_directory: task_folder(home),
        unix_ms: crate::clock::unix_ms,
    })
}

/// The rules of this home.
pub(crate) fn policy_file(home: &Home) -> PolicyFile {
    PolicyFile::new(home.path().join("policy.json"))
}

/// Folder of a task that names none: the user's own.
pub(crate) fn task_folder(home: &Home) -> PathBuf {
    std::env::home_dir()
        .filter(|folder| folder.is_absolute() && folder.is_dir())
        .unwrap_or_else(|| home.path().to_owned())
}
