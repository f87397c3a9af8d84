//! What the device tells the bridge about itself.

use askalf_agent_core::DeviceFacts;
use askalf_cred::{node_arch, node_platform};
use askalf_proto::SystemInfo;
use serde_json::{Map, Value};

use crate::machine_facts::hostname;

/// The facts as they are now; the host name stands in for a missing `name`.
pub(crate) fn device_facts(name: Option<String>) -> DeviceFacts {
    let hostname = hostname();
    DeviceFacts {
        name: name.or_else(|| hostname.clone()),
        hostname,
        os: Some(node_platform(std::env::consts::OS).to_owned()),
        capabilities: Map::from_iter([("shell".to_owned(), Value::Bool(true))]),
        system_info: Some(SystemInfo {
            arch: Some(node_arch(std::env::consts::ARCH).to_owned()),
            cpu_cores: std::thread::available_parallelism()
                .ok()
                .and_then(|cores| u32::try_from(cores.get()).ok()),
            total_memory_mb: total_memory_mb(),
            node_version: None,
        }),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

#[cfg(target_os = "linux")]
fn total_memory_mb() -> Option<u64> {
    let info = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion, reason = "the field has 32 bits on 32-bit systems")]
    let units = u64::from(info.totalram);
    Some(units.saturating_mul(u64::from(info.mem_unit)) / (1024 * 1024))
}

#[cfg(not(target_os = "linux"))]
fn total_memory_mb() -> Option<u64> {
    None
}
