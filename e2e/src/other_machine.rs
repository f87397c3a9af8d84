//! Another host name, and another network card, for one process: in namespaces of its own.

use std::process::{Command, Stdio};

/// Sets the host name and becomes the command that follows. The file belongs to the machine's root, who need not be the
/// root of a user namespace; the command needs only the right to the name.
const SET_AND_EXEC: &str =
    "{ hostname NAME || echo NAME > /proc/sys/kernel/hostname; CARD; } 2>/dev/null; exec \"$0\" \"$@\"";

/// Makes a card, if `ip` is there. Without it the network has a loopback that is down, which differs enough.
const MAKE_CARD: &str = "ip link add own0 address MAC type veth peer name own1; ip link set own0 up";

/// The words before a command that run it under this host name and, where a hardware address is given, in a network of its own
/// with a card of that address. `None` where the system does not allow it. As a normal user this needs a user namespace too, in
/// which the user is root.
pub fn other_machine(hostname: &str, mac: Option<&str>) -> Option<Vec<String>> {
    let card = mac.map_or_else(|| ":".to_owned(), |mac| MAKE_CARD.replace("MAC", mac));
    let script = SET_AND_EXEC.replace("NAME", hostname).replace("CARD", &card);
    let own: &[&str] = if mac.is_some() {
        &["--uts", "--net"]
    } else {
        &["--uts"]
    };
    let ways: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
    ways.into_iter()
        .map(|way| {
            let words = [&["unshare"], way, own, &["sh", "-c", script.as_str()]].concat();
            words.into_iter().map(str::to_owned).collect::<Vec<String>>()
        })
        .find(|wrapper| shows(wrapper, hostname))
}

fn shows(wrapper: &[String], hostname: &str) -> bool {
    let Some((program, arguments)) = wrapper.split_first() else {
        return false;
    };
    let output = Command::new(program)
        .args(arguments)
        .args(["uname", "-n"])
        .stdin(Stdio::null())
        .output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == hostname.as_bytes())
}
