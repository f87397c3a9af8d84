//! Alone in its process, which it changes for good.

#![cfg(target_os = "linux")]

use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

#[test]
fn a_hardened_process_cannot_be_dumped_or_traced_and_its_children_can() {
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
    askalf_cred::harden_process().unwrap();
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    let core = getrlimit(Resource::Core);
    assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
    // Again does no harm.
    askalf_cred::harden_process().unwrap();
    // A program that is executed belongs to its user again: root owns nothing of it that the user would need.
    let script = "test \"$(stat -c %u /proc/self/environ)\" = \"$(id -u)\"";
    let status = std::process::Command::new("sh")
        .args(["-c", script])
        .status()
        .unwrap();
    assert!(status.success());
}
