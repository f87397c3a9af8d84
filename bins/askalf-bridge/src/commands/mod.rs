//! The commands that ask the API.

mod devices;
mod dispatch;
mod executions;
mod keys;

pub(crate) use devices::devices;
pub(crate) use dispatch::dispatch;
pub(crate) use executions::executions;
pub(crate) use keys::keys;

use std::io::{self, Write};

use askalf_cli::{Failure, print_json};
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
        return Err(Failure::new(askalf_cli::ExitCode::Usage, "the id is empty"));
    }
    Ok(format!("/api/v1/{kind}/{}{action}", segment(id)))
}

/// Says on standard error that a listing may go on where it stops.
fn note_limit(rows: usize, limit: u32) {
    if u32::try_from(rows).is_ok_and(|rows| rows >= limit) {
        // Nobody may be reading it; the listing stands.
        let _unread = writeln!(
            io::stderr().lock(),
            "askalf-bridge: only the first {limit} are shown; see --limit"
        );
    }
}

fn or_dash(value: Option<&str>) -> String {
    value.unwrap_or("-").to_owned()
}
