//! The agent as a service of its system.

#[cfg_attr(windows, allow(dead_code, reason = "services of Windows have no files"))]
pub(crate) mod acts;
#[cfg(any(target_os = "macos", test))]
pub(crate) mod launchd;
#[cfg(any(windows, test))]
mod log_file;
#[cfg(target_os = "linux")]
pub(crate) mod openrc;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "its settings are those of systemd"))]
mod profile;
mod programs;
#[cfg(target_os = "linux")]
pub(crate) mod systemd;
#[cfg(target_os = "linux")]
pub(crate) mod task_units;
#[cfg(any(windows, test))]
pub(crate) mod windows;

pub(crate) use profile::Profile;
