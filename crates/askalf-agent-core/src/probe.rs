//! What the driver asks the device itself.

use std::fmt;

use askalf_proto::{Executor as ExecutorKind, Heartbeat};
use serde_json::{Map, Value};

use crate::DeviceFacts;

/// Looks at the device. Each method is called on a thread that may block, never twice at a time, and only when a bridge wants
/// to know: [`DeviceProbe::facts`] at the start and for a scan, [`DeviceProbe::load`] for a heartbeat.
pub trait DeviceProbe: fmt::Debug + Send + Sync {
    /// The facts as they are now.
    fn facts(&self) -> DeviceFacts;

    /// How busy the device is. It should take milliseconds at most: a heartbeat waits for it, up to a second.
    fn load(&self) -> DeviceLoad;
}

/// How busy a device is. What the system does not tell is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DeviceLoad {
    /// Memory that programs can have without swapping, in MiB.
    pub free_memory_mb: Option<u64>,
    /// Memory, in MiB.
    pub total_memory_mb: Option<u64>,
    /// Processes that wanted to run, averaged over a minute.
    pub load_avg_1m: Option<f64>,
    /// The same over five minutes.
    pub load_avg_5m: Option<f64>,
    /// Seconds since the machine started.
    pub uptime: Option<f64>,
    /// Space for this user where its home is, in MiB.
    pub free_disk_mb: Option<u64>,
}

impl DeviceLoad {
    /// Adds the figures to a heartbeat. `load` gets what the wire has no field of its own for.
    pub(crate) fn put_into(self, heartbeat: &mut Heartbeat) {
        heartbeat.free_memory_mb = self.free_memory_mb;
        heartbeat.total_memory_mb = self.total_memory_mb;
        heartbeat.load_avg1m = self.load_avg_1m;
        heartbeat.load_avg5m = self.load_avg_5m;
        heartbeat.uptime = self.uptime;
        let disk = self
            .free_disk_mb
            .map(|free| ("freeDiskMB".to_owned(), free.into()));
        heartbeat.load = Value::Object(disk.into_iter().collect::<Map<_, _>>());
    }
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    /// The facts.
    pub facts: DeviceFacts,
    /// The executors whose programs are installed, the preferred one first.
    pub executors: Vec<ExecutorKind>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_invented() {
        let mut heartbeat = Heartbeat::default();
        DeviceLoad::default().put_into(&mut heartbeat);
        assert_eq!(heartbeat.load, Value::Object(Map::new()));
        let load = DeviceLoad {
            load_avg_1m: Some(0.5),
            free_disk_mb: Some(7),
            ..DeviceLoad::default()
        };
        load.put_into(&mut heartbeat);
        assert_eq!((heartbeat.load_avg1m, heartbeat.uptime), (Some(0.5), None));
        assert_eq!(heartbeat.load["freeDiskMB"], 7);
    }
}
