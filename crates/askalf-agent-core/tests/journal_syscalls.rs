//! The journal in a process of its own that is killed at each of its system calls, or has one of them fail; then a normal start.
//!
//! Needs `strace` and the right to trace. By default a sample of the points is run; all of them by `cargo test -p
//! askalf-agent-core --test journal_syscalls -- --ignored`. Without the standard harness, whose threads would count system
//! calls of their own.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test without the standard harness reports by itself, and its helpers fail as it does"
)]

#[cfg(target_os = "linux")]
#[path = "journal_syscalls/linux.rs"]
mod linux;

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
    #[cfg(not(target_os = "linux"))]
    println!("not run: the kill at each system call of the journal: strace is for Linux alone");
}
