//! What the binary gives to the driver.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Pulse;
use crate::{AuditHead, DeviceFacts, DeviceProbe, Timings};

/// How an agent runs.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// What the device says about itself.
    pub facts: DeviceFacts,
    /// Where facts and load come from while the agent runs. Without it `facts` stand, and heartbeats tell no load.
    pub probe: Option<Arc<dyn DeviceProbe>>,
    /// Most tasks at once; at least 1.
    pub max_concurrent: u32,
    /// Longest run of a task that names none; 1 s to 24 h.
    pub default_timeout: Duration,
    /// The newest head of the device's audit log, where it keeps one: told to the bridge, at most once a minute.
    pub audit_head: Option<watch::Receiver<Option<AuditHead>>>,
    /// The user that tasks run as, where it is another than the agent's own: shown in its status.
    pub tasks_run_as: Option<String>,
    /// Where a watchdog asks whether the agent's loop goes round.
    pub pulse: Option<Pulse>,
    /// How long to wait for what.
    pub timings: Timings,
}

impl AgentOptions {
    /// Options with the documented defaults: 2 tasks at once, 10 minutes each.
    pub fn new(facts: DeviceFacts) -> Self {
        Self {
            facts,
            probe: None,
            max_concurrent: 2,
            default_timeout: Duration::from_secs(10 * 60),
            audit_head: None,
            tasks_run_as: None,
            pulse: None,
            timings: Timings::default(),
        }
    }
}

/// Keeps the id that the bridge gave the device, from one process to the next. It only tells a person which device
/// this is: a new process registers with its key and is given the same id again.
///
/// The methods are called on a blocking thread, one at a time.
pub trait DeviceIdStore: Send + Sync {
    /// The kept id.
    ///
    /// # Errors
    /// [`DeviceIdError`]; the agent goes on without.
    fn load(&self) -> Result<Option<String>, DeviceIdError>;

    /// Keeps an id in place of any other.
    ///
    /// # Errors
    /// [`DeviceIdError`]; the agent warns and goes on.
    fn save(&self, device_id: &str) -> Result<(), DeviceIdError>;

    /// Keeps none.
    ///
    /// # Errors
    /// [`DeviceIdError`]; the agent warns and goes on.
    fn forget(&self) -> Result<(), DeviceIdError>;
}

/// The device's id could not be read or kept; the text says why, for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the device's id cannot be read or kept: {0}")]
pub struct DeviceIdError(pub String);

impl DeviceIdError {
    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        "device-id-store"
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        "check owner, mode and free space of the agent's state folder"
    }
}
