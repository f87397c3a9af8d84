//! `redact`: shows what the rules of this home make of a text.

use std::io::{self, Read};

use anyhow::Context;
use askalf_cli::{ExitCode, Failure, print};
use askalf_cred::Home;
use zeroize::Zeroizing;

use crate::redaction;

/// Most input, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// The agent's own key is not read for this, so only what has a known shape or a rule is replaced.
pub(crate) fn redact(home: &Home) -> anyhow::Result<ExitCode> {
    let secrets = redaction::secrets(home)?;
    let mut input = Zeroizing::new(Vec::new());
    io::stdin()
        .lock()
        .take(MAX_BYTES + 1)
        .read_to_end(&mut input)
        .context("standard input cannot be read")?;
    if input.len() as u64 > MAX_BYTES {
        let failure = Failure::new(ExitCode::Usage, "standard input has more than 64 MiB");
        return Err(failure.hint("give it in parts").into());
    }
    print(&secrets.redaction(None).text(&String::from_utf8_lossy(&input)))?;
    Ok(ExitCode::Done)
}
