//! The agent as a service of its system.

#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "its settings are those of systemd"))]
mod profile;
#[cfg(target_os = "linux")]
pub(crate) mod systemd;
#[cfg(target_os = "linux")]
pub(crate) mod task_units;

pub(crate) use profile::Profile;
