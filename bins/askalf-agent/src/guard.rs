//! The agent's files that decide on tasks and record them: `policy.json`, `audit.log`.

use std::sync::Arc;

use askalf_agent_core::ApprovalQueue;
use askalf_cred::Home;
use askalf_exec::{AuditLog, AuditOptions, Guard, GuardOptions, PolicyFile};

use crate::task_place::TaskPlace;

/// What stands in front of all executors of this home.
pub(crate) fn guard(home: &Home, place: &TaskPlace, approvals: ApprovalQueue, audit: AuditLog) -> Arc<Guard> {
    Guard::new(GuardOptions {
        policy: policy_file(home),
        approvals,
        audit,
        working_directory: place.folder(home),
        unix_ms: crate::clock::unix_ms,
    })
}

/// The log of this home.
pub(crate) fn audit_log(home: &Home) -> AuditLog {
    AuditLog::new(AuditOptions::new(
        home.path().to_owned(),
        env!("CARGO_PKG_VERSION"),
    ))
}

/// The rules of this home.
pub(crate) fn policy_file(home: &Home) -> PolicyFile {
    PolicyFile::new(home.path().join("policy.json"))
}
