#![doc = include_str!("../README.md")]

#[cfg(test)]
#[cfg(unix)]
mod act_faults;
mod aside;
mod bundle;
mod config;
mod disk;
mod document;
mod harden;
mod home;
mod io_fault;
mod kdf;
mod key_fault;
mod key_source;
mod keyfile;
mod leftovers;
mod legacy;
mod load;
mod lock;
mod machine;
#[cfg(target_os = "macos")]
mod macos_calls;
mod migrate;
mod next;
mod passphrase;
#[cfg(test)]
#[cfg(unix)]
mod read_faults;
mod recover;
mod rotate;
mod save;
mod save_error;
#[cfg(test)]
#[cfg(unix)]
mod save_faults;
mod seal;
#[cfg(any(windows, test))]
#[cfg_attr(not(windows), allow(dead_code, reason = "used on Windows; its tests run everywhere"))]
mod security_descriptor;
mod service_credential;
mod staged_config;
mod staging;
mod stamp;
mod unreadable;
#[cfg(windows)]
mod windows_calls;

pub use bundle::{BUNDLE_VERSION, Bundle, BundleError, MAX_BUNDLE_BYTES, export, import};
pub use config::AgentConfig;
pub use harden::{HardenError, harden_process};
pub use home::{Home, HomeError};
pub use io_fault::IoFault;
pub use kdf::{Kdf, KdfFault};
pub use key_fault::KeyFault;
pub use key_source::{KeySource, KeySources};
pub use keyfile::Keyfile;
pub use legacy::MAX_MACHINE_IDS;
pub use load::{Credential, LoadOptions, LoadOutcome, load, load_with, read_fields};
pub use machine::{Interface, MachineFacts, node_arch, node_platform};
pub use migrate::{Generation, Migration, MigrationStep, migrate, migrate_with};
pub use next::{discard_next, load_next, promote_next, stage_next};
pub use passphrase::{MAX_PASSPHRASE_BYTES, Passphrase, PassphraseError};
pub use recover::{Recovery, recover, recover_with};
pub use rotate::{Rotated, Settled, rotate_key, rotate_key_with};
pub use save::{MovedAside, SaveOptions, Saved, save, save_with};
pub use save_error::SaveError;
pub use seal::{KeyId, SEAL_VERSION, SealInfo, SealKey, SealMode};
pub use service_credential::{SERVICE_CREDENTIAL, ServiceCredential};
pub use stamp::{ConfigStamp, stamp};
pub use unreadable::{NewerFormat, Unreadable};

/// Exit code of a program that cannot use its credential: `EX_CONFIG` of BSD's `sysexits.h`.
pub const EXIT_CONFIG: u8 = 78;

/// Largest agent.json that is read or written, in bytes. A real one is under 1 KiB.
pub const MAX_CONFIG_BYTES: usize = 64 * 1024;

/// Most values in an agent.json that is read or written, counted as its `{`, `[` and `,`. A real one has under 20.
pub const MAX_CONFIG_VALUES: usize = 2048;
