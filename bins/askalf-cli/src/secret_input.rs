//! Secrets come on standard input, never on a command line that others can read.

use std::io::{self, IsTerminal, Read};

use askalf_bridge_auth::Token;
use zeroize::Zeroizing;

use crate::{ExitCode, Failure};

/// Longest input that is read: a token and some white space around it.
const MAX_INPUT: u64 = 4096;

/// Reads a token: a terminal is asked for it without showing it, any other standard input is read to its end. White space
/// around the token is dropped.
///
/// # Errors
/// A [`Failure`] where nothing comes, too much comes, or what comes is not a token.
pub fn read_token() -> Result<Token, Failure> {
    let text = read_secret("Key (not shown): ")?;
    Token::parse(text.trim())
        .map_err(|error| Failure::new(ExitCode::Usage, format!("standard input: {error}")).hint(error.hint()))
}

/// Reads a text in the same way; a terminal is asked with `prompt`.
///
/// # Errors
/// A [`Failure`] where nothing can be read, or too much comes.
pub fn read_secret(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    if io::stdin().is_terminal() {
        ask(prompt)
    } else {
        read_all()
    }
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|_| {
            Failure::new(ExitCode::Usage, "the terminal gave no key").hint("pipe the key in instead")
        })
}

fn read_all() -> Result<Zeroizing<String>, Failure> {
    // As large as it can get, so that no copy of the secret is left behind by growing.
    let mut text = Zeroizing::new(String::with_capacity(MAX_INPUT as usize + 1));
    io::stdin()
        .lock()
        .take(MAX_INPUT + 1)
        .read_to_string(&mut text)
        .map_err(|_| {
            Failure::new(ExitCode::Usage, "standard input is not text")
                .hint("pipe the key in, for example: < key.txt")
        })?;
    if text.len() as u64 > MAX_INPUT {
        return Err(
            Failure::new(ExitCode::Usage, "standard input holds more than one key")
                .hint("pipe in one key alone"),
        );
    }
    Ok(text)
}
