//! A key in a file.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use askalf_bridge_auth::Token;
use askalf_cli::{ExitCode, Failure, permission_bits, warn};
use zeroize::Zeroizing;

/// Longest file that is read: a token and some white space around it.
const MAX_BYTES: u64 = 4096;

/// Reads the key in a file. One that others may read is taken, with a warning: refusing it would hide nothing any more, and
/// managers of secrets hand out such files.
pub(super) fn read(path: &Path) -> Result<Token, Failure> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES as usize + 1));
    let mut file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let facts = file.metadata().map_err(|error| unreadable(path, &error))?;
    (&mut file)
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(path, &error))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("{} holds more than one key", path.display()),
        )
        .hint("name a file with one key alone"));
    }
    let token = Token::parse(text.trim()).map_err(|error| {
        Failure::new(ExitCode::Usage, format!("{}: {error}", path.display())).hint(error.hint())
    })?;
    if others_may_read(&facts) {
        warn(
            format!(
                "other users of this machine can read the key in {}",
                path.display()
            ),
            format!("close it with 'chmod 600 {}', or remove it", path.display()),
        );
    }
    Ok(token)
}

/// Pipes and devices belong to whoever opened them.
fn others_may_read(facts: &Metadata) -> bool {
    facts.is_file() && permission_bits(facts).is_some_and(|bits| bits & 0o044 != 0)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let why = match error.kind() {
        io::ErrorKind::InvalidData => "it is not text".to_owned(),
        kind => kind.to_string(),
    };
    Failure::new(
        ExitCode::Usage,
        format!("the key cannot be read from {}: {why}", path.display()),
    )
    .hint("check the name and who may read it")
}
