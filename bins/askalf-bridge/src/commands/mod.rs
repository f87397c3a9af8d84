//! The commands: those that ask the API, and those that keep the database.

mod audit;
mod backup;
mod check_config;
mod devices;
mod dispatch;
mod executions;
mod keys;
mod migrate;
mod new_keys;
mod out_file;
mod pair_codes;
mod repair;
mod restore;
mod rotations;
mod status;
mod users;

pub(crate) use audit::audit;
pub(crate) use backup::backup;
pub(crate) use check_config::check_config;
pub(crate) use devices::devices;
pub(crate) use dispatch::{dispatch, watch};
pub(crate) use executions::executions;
pub(crate) use keys::keys;
pub(crate) use migrate::migrate;
pub(crate) use pair_codes::pair_codes;
pub(crate) use restore::restore;
pub(crate) use status::status;
pub(crate) use users::users;

use std::io::{self, Write};

use askalf_cli::{Failure, one_line, print_json};
use serde::Serialize;

/// No body.
const NOTHING: Option<&()> = None;

fn show_json(value: &impl Serialize) -> anyhow::Result<()> {
    print_json(&serde_json::to_string(value)?)?;
    Ok(())
}

/// Makes a word of the command line fit for a path segment or a query value.
fn segment(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    word.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// A path with one identifier in it; an empty one names nothing.
fn path_of(kind: &str, id: &str, action: &str) -> Result<String, Failure> {
    if id.is_empty() {
        return Err(Failure::new(askalf_cli::ExitCode::Usage, "the id is empty")
            .hint("give an id as the listings show it"));
    }
    Ok(format!("/api/v1/{kind}/{}{action}", segment(id)))
}

/// Says on standard error that a listing may go on where it stops.
fn note_limit(rows: usize, limit: u32) {
    if u32::try_from(rows).is_ok_and(|rows| rows >= limit) {
        note(&format!("only the first {limit} are shown; see --limit"));
    }
}

/// A line for the person on standard error.
pub(crate) fn note(text: &str) {
    // Nobody may be reading it; what the command does and prints does not depend on it.
    let _unread = writeln!(io::stderr().lock(), "askalf-bridge: {text}");
}

/// What is known of one thing, a line each.
fn facts(rows: &[(&str, &str)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter()
        .map(|(name, value)| format!("{name:<width$}  {}\n", one_line(value)))
        .collect()
}

fn or_dash(value: Option<&str>) -> String {
    value.unwrap_or("-").to_owned()
}
