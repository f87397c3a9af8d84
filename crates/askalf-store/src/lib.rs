#![doc = include_str!("../README.md")]

mod audit_head_rules;
mod column;
mod execution_facts;
mod key_rules;
#[cfg(feature = "postgres")]
mod postgres;
mod reach;
mod sqlite;

#[cfg(feature = "postgres")]
pub use postgres::{ConnectError, PostgresOptions, PostgresStore};
pub use sqlite::{Inspection, MAX_KEYS_PER_PREFIX, OpenError, OpenOptions, SqliteStore};
