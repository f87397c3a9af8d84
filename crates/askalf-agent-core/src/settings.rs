//! What may change while the agent runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{DeviceFacts, DeviceProbe, Executor};

/// Settings in the place of those that the agent was started with. Tasks that run keep what they were started with.
///
/// The name and the number of tasks are told to the bridge by a registration on a new connection: at once where the bridge
/// lets executions outlive a connection, else as soon as none is left.
pub struct AgentSettings {
    /// What the device says about itself, as far as it needs no look at the device.
    pub facts: DeviceFacts,
    /// Where facts and load come from.
    pub probe: Option<Arc<dyn DeviceProbe>>,
    /// Most tasks at once; at least 1.
    pub max_concurrent: u32,
    /// Longest run of a task that names none.
    pub default_timeout: Duration,
    /// What runs tasks: of the same kinds as at the start.
    pub executors: Vec<Arc<dyn Executor>>,
}

impl fmt::Debug for AgentSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AgentSettings")
            .field("name", &self.facts.name)
            .field("max_concurrent", &self.max_concurrent)
            .field("default_timeout", &self.default_timeout)
            .finish_non_exhaustive()
    }
}
