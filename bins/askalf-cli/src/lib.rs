//! What both command lines share: exit codes, error reports, secrets on standard input, tables and logs.
//!
//! This is the edge of the project: unlike the crates under `crates/`, it prints.

mod exit_code;
mod failure;
mod logs;
mod secret_input;
mod table;

pub use exit_code::ExitCode;
pub use failure::{Failure, report};
pub use logs::{LogFilterError, init_logs};
pub use secret_input::{read_secret, read_token};
pub use table::{Table, one_line, print, print_json};
