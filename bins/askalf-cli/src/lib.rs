//! What both command lines share: their help, usage errors and completions, exit codes, error reports, secrets on standard input,
//! private files, requests to stop, tables, progress, colour and logs.
//!
//! This is the edge of the project: unlike the crates under `crates/`, it prints.

mod colour;
mod command_line;
mod exit_code;
mod failure;
mod logs;
mod private_files;
mod progress;
mod secret_input;
mod stop;
mod table;

pub use colour::may_colour;
pub use command_line::{
    Example, Examples, Shell, all_commands, faults_of_examples, parse, print_completions, with_examples,
};
pub use exit_code::ExitCode;
pub use failure::{Failure, report, warn};
pub use logs::{LogFilterError, init_logs};
pub use private_files::{owner, permission_bits, private_file, private_folder, sync_folder_of};
pub use progress::with_progress;
pub use secret_input::{read_secret, read_token};
pub use stop::{Interrupts, ReloadRequests, StopRequests, interrupts};
pub use table::{Table, one_line, print, print_json};
