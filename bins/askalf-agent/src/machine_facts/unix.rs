//! The facts on Unix.

use std::net::IpAddr;

use askalf_cred::Interface;
use nix::ifaddrs::InterfaceAddress;
use nix::net::if_::InterfaceFlags;

/// Names under which container engines, tunnels and virtual machines come and go.
const VIRTUAL: [&str; 14] = [
    "docker",
    "br-",
    "veth",
    "virbr",
    "vnet",
    "tun",
    "tap",
    "wg",
    "cni",
    "flannel",
    "cali",
    "podman",
    "lxc",
    "tailscale",
];

pub(super) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The name of the user that this process runs as; Node reads it from the system's user database too.
pub(super) fn username() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    user.ok().flatten().map(|user| user.name).unwrap_or_default()
}

pub(super) fn interfaces() -> Vec<Interface> {
    // Without them the one id remains that needs none.
    let Ok(addresses) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let mut interfaces: Vec<Interface> = Vec::new();
    for address in addresses {
        let known = interfaces
            .iter()
            .position(|interface| interface.name == address.interface_name);
        let at = known.unwrap_or(interfaces.len());
        if known.is_none() {
            interfaces.push(named(&address));
        }
        let interface = &mut interfaces[at];
        let Some(storage) = address.address else { continue };
        if let Some(v4) = storage.as_sockaddr_in() {
            interface.addresses.push(IpAddr::V4(v4.ip()));
        } else if let Some(v6) = storage.as_sockaddr_in6() {
            interface.addresses.push(IpAddr::V6(v6.ip()));
        } else if let Some(mac) = storage.as_link_addr().and_then(|link| link.addr()) {
            interface.mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        }
    }
    interfaces
}

fn named(address: &InterfaceAddress) -> Interface {
    Interface {
        name: address.interface_name.clone(),
        mac: "00:00:00:00:00:00".to_owned(),
        addresses: Vec::new(),
        // Node lists what is up and running.
        up: address
            .flags
            .contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING),
        loopback: address.flags.contains(InterfaceFlags::IFF_LOOPBACK),
        is_virtual: VIRTUAL
            .iter()
            .any(|prefix| address.interface_name.starts_with(prefix)),
    }
}
