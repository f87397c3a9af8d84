//! Tasks with real processes.
//!
//! "Nothing is left" is checked at the moment the end is told, without waiting: that is the contract.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper of a test ends at the first surprise, as the test does"
)]

mod models;
mod runner;
mod shell;
mod support;
mod survival;
