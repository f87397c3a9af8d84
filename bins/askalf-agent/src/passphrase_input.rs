//! Where a passphrase comes from: a file, an inherited file descriptor or the terminal. Never the command line.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use askalf_cli::{ExitCode, Failure, in_plain_words};
use askalf_cred::{MAX_PASSPHRASE_BYTES, Passphrase};
use zeroize::Zeroizing;

/// Reads the passphrase in a file: its first and only line.
pub(crate) fn from_file(path: &Path) -> Result<Passphrase, Failure> {
    let file = File::open(path).map_err(|error| unreadable(&path.display().to_string(), &error))?;
    from_reader(file, &path.display().to_string())
}

/// Reads the passphrase from a file descriptor that this process inherited.
pub(crate) fn from_descriptor(number: u32) -> Result<Passphrase, Failure> {
    let name = format!("file descriptor {number}");
    if cfg!(windows) {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("{name}: programs on Windows inherit no file descriptors"),
        )
        .hint("give the passphrase with --passphrase-file FILE"));
    }
    let file = File::open(format!("/dev/fd/{number}")).map_err(|error| unreadable(&name, &error))?;
    from_reader(file, &name)
}

/// Asks for the passphrase on the terminal; `twice` for a new one.
pub(crate) fn ask(twice: bool) -> Result<Passphrase, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            ExitCode::Usage,
            "a passphrase is needed, and there is no terminal to ask for it",
        )
        .hint("give it with --passphrase-file FILE or --passphrase-fd N"));
    }
    let prompt = |text: &str| {
        rpassword::prompt_password(text)
            .map(Zeroizing::new)
            .map_err(|_| Failure::new(ExitCode::Usage, "the terminal gave no passphrase"))
    };
    let first = prompt("Passphrase (not shown): ")?;
    if twice && *prompt("Once more: ")? != *first {
        return Err(Failure::new(ExitCode::Usage, "the two passphrases differ").hint("run the command again"));
    }
    parse(&first, "the terminal")
}

fn from_reader(source: impl Read, name: &str) -> Result<Passphrase, Failure> {
    let limit = MAX_PASSPHRASE_BYTES + 3;
    let mut text = Zeroizing::new(String::with_capacity(limit));
    source
        .take(limit as u64)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(name, &error))?;
    parse(&text, name)
}

fn parse(text: &str, name: &str) -> Result<Passphrase, Failure> {
    Passphrase::parse(text).map_err(|error| {
        Failure::new(ExitCode::Usage, format!("the passphrase from {name}: {error}")).hint(error.hint())
    })
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::new(
        ExitCode::Usage,
        format!(
            "the passphrase cannot be read from {name}: {}",
            in_plain_words(error)
        ),
    )
    .hint("check the name and who may read it")
}
