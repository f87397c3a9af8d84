//! How busy the machine is.

use std::path::Path;

use askalf_agent_core::DeviceLoad;

use crate::machine_figures::{free_disk, load_averages, mebibytes, memory, uptime};

/// Reads the figures of the moment. The system tells them from memory, but for the disk that holds `home`: one that does not
/// answer blocks.
pub fn device_load(home: &Path) -> DeviceLoad {
    let memory = memory();
    let averages = load_averages().map(|averages| averages.map(hundredths));
    DeviceLoad {
        free_memory_mb: memory.and_then(|memory| memory.available).map(mebibytes),
        total_memory_mb: memory.map(|memory| mebibytes(memory.total)),
        load_avg_1m: averages.map(|[one, _]| one),
        load_avg_5m: averages.map(|[_, five]| five),
        uptime: uptime(),
        free_disk_mb: free_disk(home).map(mebibytes),
    }
}

/// As many places as people read.
fn hundredths(load: f64) -> f64 {
    (load * 100.0).round() / 100.0
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_fit_together() {
        let load = device_load(Path::new("/"));
        assert!(
            load.free_memory_mb.unwrap() <= load.total_memory_mb.unwrap(),
            "{load:?}"
        );
        assert!(load.uptime.unwrap() > 0.0 && load.free_disk_mb.is_some());
        let shown = load.load_avg_1m.unwrap().to_string();
        assert!(
            shown.split_once('.').is_none_or(|(_, places)| places.len() <= 2),
            "{shown}"
        );
    }
}
