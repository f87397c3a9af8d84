//! The harness of the end-to-end tests: the two binaries as processes, and small peers of the older generation.
//!
//! Everything here blocks, with a deadline on every wait; a wait that fails shows what the processes wrote. Nothing is
//! left behind: processes are killed and folders removed when their owner is dropped, also by a panic.

mod agent;
mod binaries;
mod bridge;
mod certificates;
mod command;
mod durable_device;
pub mod kills;
pub mod local_api;
mod old_agent;
mod old_forge;
mod other_machine;
mod pids;
mod process;
mod program;
mod relay;
mod small_disk;
pub mod task_wall;
mod wait;
mod websocket;

pub use agent::{Agent, OnDisk};
pub use binaries::{Binaries, binaries, workspace_root};
pub use bridge::{Bridge, Dispatch, MintedKey};
pub use certificates::Certificates;
pub use command::{Output, run};
pub use durable_device::DurableDevice;
pub use old_agent::OldAgent;
pub use old_forge::{DEVICE as OLD_FORGE_DEVICE, ForgeEvent, Habit, OldForge};
pub use other_machine::other_machine;
pub use pids::{Watched, pids_in};
pub use process::{Line, Process};
pub use program::Program;
pub use relay::{Network, Relay};
pub use small_disk::SmallDisk;
pub use wait::{PATIENCE, until};
pub use websocket::{Incoming, Reader, Writer, client};

/// A token of the usual shape that no bridge of ours has minted.
pub const KEY: &str = "sk_live_0123456789abcdefghijABCDEFGHIJ01";
