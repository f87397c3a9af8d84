//! What the system tells of the machine: one name a figure, a file a system. What a system does not tell is absent.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(all(unix, not(target_os = "linux")))]
mod other_unix;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(all(unix, not(target_os = "linux")))]
use other_unix as system;
#[cfg(windows)]
use windows as system;

pub(crate) use system::{cpu_model, free_disk, load_averages, memory, uptime};

/// Memory of the machine, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    /// What programs can have without swapping.
    pub(crate) available: Option<u64>,
}

/// Whole MiB.
pub(crate) fn mebibytes(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}
