//! What the machine is made of.

use std::path::Path;

use crate::machine_figures::{cpu_model, free_disk, mebibytes, memory};

/// The machine, as far as its system tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hardware {
    /// Name of the processor.
    pub cpu_model: Option<String>,
    /// Processors that this process may use.
    pub cpu_cores: Option<u32>,
    /// Memory, in MiB.
    pub total_memory_mb: Option<u64>,
    /// Space for this user on the disk, in MiB.
    pub free_disk_mb: Option<u64>,
}

/// Looks at the machine, and at the disk that holds `home`: one that does not answer blocks.
pub fn hardware(home: &Path) -> Hardware {
    let cores = std::thread::available_parallelism().ok();
    Hardware {
        cpu_model: cpu_model(),
        cpu_cores: cores.and_then(|cores| u32::try_from(cores.get()).ok()),
        total_memory_mb: memory().map(|memory| mebibytes(memory.total)),
        free_disk_mb: free_disk(home).map(mebibytes),
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_memory_and_a_disk() {
        let found = hardware(Path::new("/"));
        assert!(
            found.cpu_cores > Some(0) && found.total_memory_mb > Some(16),
            "{found:?}"
        );
        assert!(found.free_disk_mb.is_some());
        assert_eq!(hardware(Path::new("/no/such/folder")).free_disk_mb, None);
    }
}
