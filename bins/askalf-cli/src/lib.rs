//! What both command lines share: exit codes, error reports, secrets on standard input, private files, requests to stop, tables
//! and logs.
//!
//! This is the edge of the project: unlike the crates under `crates/`, it prints.

mod exit_code;
mod failure;
mod logs;
mod private_files;
mod secret_input;
mod stop;
mod table;

pub use exit_code::ExitCode;
pub use failure::{Failure, report};
pub use logs::{LogFilterError, init_logs, init_logs_to};
pub use private_files::{owner, permission_bits, private_file, private_folder, sync_folder_of};
pub use secret_input::{read_secret, read_token};
pub use stop::{Interrupts, ReloadRequests, StopRequests, interrupts};
pub use table::{Table, one_line, print, print_json};
