//! Another host name for one process, in a UTS namespace of its own.

use std::process::{Command, Stdio};

/// Sets the host name and becomes the command that follows. The file belongs to the machine's root, who need not be the
/// root of a user namespace; the command needs only the right to the name.
const SET_AND_EXEC: &str =
    "{ hostname NAME || echo NAME > /proc/sys/kernel/hostname; } 2>/dev/null && exec \"$0\" \"$@\"";

/// The name that the demo gives its device.
pub(crate) const NEW_NAME: &str = "renamed-by-the-demo";

/// The words before a command that run it under [`NEW_NAME`]; `None` where the system does not allow it. As a normal
/// user this needs a user namespace too, in which the user is root.
pub(crate) fn wrapper() -> Option<Vec<String>> {
    let script = SET_AND_EXEC.replace("NAME", NEW_NAME);
    let ways: [&[&str]; 2] = [
        &["unshare", "--uts"],
        &["unshare", "--user", "--map-root-user", "--uts"],
    ];
    ways.into_iter()
        .map(|way| {
            let set_and_exec = ["sh", "-c", script.as_str()];
            let words = way.iter().chain(&set_and_exec);
            words.map(|word| (*word).to_owned()).collect::<Vec<String>>()
        })
        .find(|wrapper| shows_new_name(wrapper))
}

fn shows_new_name(wrapper: &[String]) -> bool {
    let Some((program, arguments)) = wrapper.split_first() else {
        return false;
    };
    let output = Command::new(program)
        .args(arguments)
        .args(["uname", "-n"])
        .stdin(Stdio::null())
        .output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == NEW_NAME.as_bytes())
}
