//! The facts of the machine that agents 2.0 to 3.2 derived their key from, as Node reported them.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

use askalf_cred::{MachineFacts, node_arch, node_platform};

/// The facts as they are now.
pub(crate) fn machine_facts() -> MachineFacts {
    MachineFacts {
        hostname: hostname().unwrap_or_default(),
        username: system::username(),
        arch: node_arch(std::env::consts::ARCH).to_owned(),
        platform: node_platform(std::env::consts::OS).to_owned(),
        interfaces: system::interfaces(),
    }
}

/// The name of this machine, where it has one.
pub(crate) fn hostname() -> Option<String> {
    let name = system::hostname();
    (!name.is_empty()).then_some(name)
}
