#![doc = include_str!("../README.md")]

mod aside;
mod config;
mod disk;
mod document;
mod home;
mod io_fault;
mod key_fault;
mod key_source;
mod keyfile;
mod load;
mod lock;
mod save;
mod save_error;
#[cfg(test)]
#[cfg(unix)]
mod save_faults;
mod seal;
mod staging;
mod stamp;
mod unreadable;

pub use config::AgentConfig;
pub use home::{Home, HomeError};
pub use io_fault::IoFault;
pub use key_fault::KeyFault;
pub use key_source::KeySource;
pub use keyfile::Keyfile;
pub use load::{Credential, LoadOptions, LoadOutcome, load, load_with};
pub use save::{MovedAside, SaveOptions, Saved, save, save_with};
pub use save_error::SaveError;
pub use seal::{KeyId, SEAL_VERSION, SealInfo, SealKey, SealMode};
pub use stamp::{ConfigStamp, stamp};
pub use unreadable::{NewerFormat, Unreadable};

/// Exit code of a program that cannot use its credential: `EX_CONFIG` of BSD's `sysexits.h`.
pub const EXIT_CONFIG: u8 = 78;

/// Largest agent.json that is read or written, in bytes. A real one is under 1 KiB.
pub const MAX_CONFIG_BYTES: usize = 64 * 1024;
