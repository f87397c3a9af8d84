use std::fmt;
use std::net::IpAddr;

/// What agents 2.0 to 3.2 derived their key from: facts of the machine, in Node's spellings. The caller gathers them; nothing
/// here looks at the machine.
///
/// `Debug` shows no value: together they are the machine key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MachineFacts {
    /// `os.hostname()`.
    pub hostname: String,
    /// `os.userInfo().username`: the user that runs the agent.
    pub username: String,
    /// `process.arch`, such as `x64` or `arm64` ([`node_arch`]).
    pub arch: String,
    /// `process.platform`, such as `linux`, `darwin` or `win32` ([`node_platform`]).
    pub platform: String,
    /// Every network interface, those that are down and the loopback included.
    pub interfaces: Vec<Interface>,
}

impl fmt::Debug for MachineFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachineFacts({} interfaces, redacted)", self.interfaces.len())
    }
}

/// One network interface.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name, such as `eth0`.
    pub name: String,
    /// Its hardware address, as six pairs of hex digits; `00:00:00:00:00:00` where it has none.
    pub mac: String,
    /// Its addresses, IPv4 and IPv6, link-local ones included.
    pub addresses: Vec<IpAddr>,
    /// It is up and running, which is when Node lists it.
    pub up: bool,
    /// It is the loopback.
    pub loopback: bool,
    /// It comes and goes with a program: a bridge or a pair of a container engine, a tunnel, a virtual machine's.
    pub is_virtual: bool,
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Interface({:?}, redacted)", self.name)
    }
}

/// `process.arch` of Node for a [`std::env::consts::ARCH`]; a name that both use alike is returned as it is.
///
/// ```
/// # use askalf_cred::{node_arch, node_platform};
/// assert_eq!((node_arch("x86_64"), node_arch("aarch64"), node_arch("arm")), ("x64", "arm64", "arm"));
/// assert_eq!((node_platform("macos"), node_platform("windows")), ("darwin", "win32"));
/// ```
pub fn node_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "x64",
        "x86" => "ia32",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        same => same,
    }
}

/// `process.platform` of Node for a [`std::env::consts::OS`].
pub fn node_platform(os: &str) -> &str {
    match os {
        "macos" => "darwin",
        "windows" => "win32",
        "solaris" | "illumos" => "sunos",
        same => same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_key_was_made_of_is_not_printed() {
        let card = Interface {
            name: "eth0".into(),
            mac: "96:00:03:aa:bb:01".into(),
            ..Interface::default()
        };
        assert_eq!(format!("{card:?}"), r#"Interface("eth0", redacted)"#);
        let machine = MachineFacts {
            hostname: "cx33".into(),
            interfaces: vec![card],
            ..MachineFacts::default()
        };
        assert_eq!(format!("{machine:?}"), "MachineFacts(1 interfaces, redacted)");
    }

    #[test]
    fn names_are_spelled_as_node_does() {
        for (ours, theirs) in [
            ("x86_64", "x64"),
            ("x86", "ia32"),
            ("aarch64", "arm64"),
            ("arm", "arm"),
        ] {
            assert_eq!(node_arch(ours), theirs);
        }
        for (ours, theirs) in [("macos", "darwin"), ("windows", "win32"), ("linux", "linux")] {
            assert_eq!(node_platform(ours), theirs);
        }
    }
}
