//! Figures on other systems of Unix: what POSIX tells.

use std::path::Path;

use super::Memory;

pub(crate) fn cpu_model() -> Option<String> {
    None
}

pub(crate) fn memory() -> Option<Memory> {
    None
}

pub(crate) fn load_averages() -> Option<[f64; 2]> {
    None
}

pub(crate) fn uptime() -> Option<f64> {
    None
}

pub(crate) fn free_disk(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}
