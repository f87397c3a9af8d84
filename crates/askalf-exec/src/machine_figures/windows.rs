//! Figures on Windows. It has no load average, and keeps the name of its processor in the registry alone.

use std::path::Path;

use super::Memory;
use crate::windows_calls;

pub(crate) fn cpu_model() -> Option<String> {
    None
}

pub(crate) fn memory() -> Option<Memory> {
    let (total, available) = windows_calls::memory()?;
    Some(Memory {
        total,
        available: Some(available),
    })
}

pub(crate) fn load_averages() -> Option<[f64; 2]> {
    None
}

#[allow(clippy::cast_precision_loss, reason = "exact for 285 thousand years")]
pub(crate) fn uptime() -> Option<f64> {
    Some((windows_calls::milliseconds_since_start() / 1000) as f64)
}

pub(crate) fn free_disk(path: &Path) -> Option<u64> {
    windows_calls::free_disk(path)
}
