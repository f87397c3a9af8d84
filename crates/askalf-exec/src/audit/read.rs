//! Reading the log's lines, file by file, without ever holding more than one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::files::AuditFiles;
use super::key::AuditKey;
use super::line::{AuditRecord, Details, MAX_LINE, ReadLine};

/// A line for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// What stands readable in it.
    pub record: AuditRecord,
    /// What was sealed; `None` where nothing was, or where the key does not open it.
    pub details: Option<Details>,
}

/// The last `limit` lines, the oldest first, opened where there is a key. Whether they are genuine is
/// [`verify`](super::verify())'s to say.
///
/// # Errors
/// A file cannot be read.
pub fn list(files: &AuditFiles, key: Option<&AuditKey>, limit: usize) -> io::Result<Vec<Listed>> {
    let mut last = std::collections::VecDeque::new();
    for (_, path) in files.parts() {
        each_piece(&path, |piece| {
            if let Some(line) = piece.line() {
                if last.len() == limit {
                    last.pop_front();
                }
                if limit > 0 {
                    last.push_back(line.record);
                }
            }
        })?;
    }
    Ok(last
        .into_iter()
        .map(|record| Listed {
            details: key.and_then(|key| record.open(key)),
            record,
        })
        .collect())
}

/// What stands between two line ends, or a part of it where it is longer than any line.
pub(crate) struct Piece<'a> {
    pub(crate) bytes: &'a [u8],
    /// Its line end follows.
    pub(crate) ended: bool,
    /// It is the rest of a longer one.
    continued: bool,
}

impl Piece<'_> {
    pub(crate) fn line(&self) -> Option<ReadLine> {
        (self.ended && !self.continued).then(|| ReadLine::parse(self.bytes))?
    }
}

pub(crate) fn each_piece(path: &Path, mut take: impl FnMut(&Piece<'_>)) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    let most = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let mut continued = false;
    loop {
        bytes.clear();
        if Read::by_ref(&mut reader)
            .take(most)
            .read_until(b'\n', &mut bytes)?
            == 0
        {
            return Ok(());
        }
        let ended = bytes.pop_if(|last| *last == b'\n').is_some();
        take(&Piece {
            bytes: &bytes,
            ended,
            continued,
        });
        continued = !ended;
    }
}
