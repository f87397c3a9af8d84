#![doc = include_str!("../README.md")]

mod column;
mod sqlite;

pub use sqlite::{Inspection, MAX_KEYS_PER_PREFIX, OpenError, OpenOptions, SqliteStore};
