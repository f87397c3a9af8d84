//! What the device tells the bridge about itself.

use std::ffi::OsString;
use std::path::PathBuf;

use askalf_agent_core::{DeviceFacts, DeviceLoad, DeviceProbe};
use askalf_cred::{node_arch, node_platform};
use askalf_exec::{FoundTool, Hardware, device_load, find_tools, hardware};
use askalf_proto::SystemInfo;
use serde_json::{Map, Value};

use crate::environment;
use crate::machine_facts::hostname;

/// Looks at this device. What it looks at, the folders of `PATH` and the user's home, is what it was when this was made.
#[derive(Debug)]
pub(crate) struct Probe {
    name: Option<String>,
    path: OsString,
    home: Option<PathBuf>,
}

impl Probe {
    /// A look at this device under a name that a person gave it, if one did.
    pub(crate) fn new(name: Option<String>) -> Self {
        Self {
            name,
            path: std::env::var_os("PATH").unwrap_or_default(),
            home: environment::user_home(),
        }
    }

    /// The tools that are installed.
    pub(crate) fn tools(&self) -> Vec<FoundTool> {
        find_tools(&self.path)
    }
}

impl DeviceProbe for Probe {
    fn facts(&self) -> DeviceFacts {
        // An agent's user may have none; the space is not worth a guess then.
        let home = self.home.clone().unwrap_or_default();
        let hardware = hardware(&home);
        DeviceFacts {
            capabilities: capabilities(&self.tools(), &hardware),
            system_info: Some(SystemInfo {
                arch: Some(node_arch(std::env::consts::ARCH).to_owned()),
                cpu_cores: hardware.cpu_cores,
                total_memory_mb: hardware.total_memory_mb,
                node_version: None,
            }),
            ..identity(self.name.clone())
        }
    }

    fn load(&self) -> DeviceLoad {
        device_load(&self.home.clone().unwrap_or_default())
    }
}

/// What needs no look at a disk.
pub(crate) fn identity(name: Option<String>) -> DeviceFacts {
    DeviceFacts {
        name: device_name(name),
        hostname: hostname(),
        os: Some(node_platform(std::env::consts::OS).to_owned()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..DeviceFacts::default()
    }
}

/// The name of this device: what a person called it, else its host name.
pub(crate) fn device_name(given: Option<String>) -> Option<String> {
    given.or_else(hostname)
}

/// What is there, by name: a program as `true`, and figures that a scan would otherwise not tell. What is not there is left out.
fn capabilities(tools: &[FoundTool], hardware: &Hardware) -> Map<String, Value> {
    let shell = [("shell".to_owned(), Value::Bool(true))];
    let tools = tools
        .iter()
        .map(|found| (found.tool.name.to_owned(), Value::Bool(true)));
    let figures = [
        ("cpuModel", hardware.cpu_model.clone().map(Value::from)),
        ("cpuCores", hardware.cpu_cores.map(Value::from)),
        ("totalMemoryMB", hardware.total_memory_mb.map(Value::from)),
        ("freeDiskMB", hardware.free_disk_mb.map(Value::from)),
    ];
    let figures = figures
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    shell.into_iter().chain(tools).chain(figures).collect()
}
