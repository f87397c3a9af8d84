//! The agent as a service of its system.

#[cfg_attr(windows, allow(dead_code, reason = "services of Windows have no files"))]
pub(crate) mod acts;
#[cfg(any(target_os = "macos", test))]
pub(crate) mod launchd;
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

use std::path::Path;

/// The command that starts the agent of this home.
pub(crate) fn start_command(home: &Path) -> &'static str {
    #[cfg(target_os = "linux")]
    if systemd::installed(Path::new("/")).is_some_and(|service| service.home == home) {
        return "sudo systemctl start askalf-agent";
    }
    let _ = home;
    "askalf-agent daemon"
}
