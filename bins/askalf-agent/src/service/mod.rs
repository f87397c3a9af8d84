//! The agent as a service of its system: texts of the files that it needs there.

#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "the command that writes these units stands beside the daemon's own")]
pub(crate) mod task_units;
