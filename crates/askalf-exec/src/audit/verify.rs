//! Checking the chain.

use std::fmt;
use std::io;

use askalf_agent_core::AuditHead;
use sha2::{Digest, Sha256};

use super::files::{AuditFiles, OLDER};
use super::key::{AuditKey, LineMac};
use super::line::{ReadLine, Torn, hex, unhex};
use super::read::{Piece, each_piece};

/// Most breaks that are told one by one.
const MOST_TOLD: usize = 100;

/// What a check of the whole log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Lines whose hash and number are right.
    pub good: u64,
    /// Number of the first line that is kept; earlier ones were dropped for their age.
    pub first: Option<u64>,
    /// The last line, where there is one: what a keeper of heads compares.
    pub head: Option<AuditHead>,
    /// Lines that a crash cut off, each confirmed by the line behind it.
    pub torn: u64,
    /// The log ends within a line: a crash, or a line that is being written.
    pub unfinished: bool,
    /// Where the chain does not hold, at most 100 of them, in order.
    pub breaks: Vec<Break>,
    /// How many there are.
    pub broken: u64,
}

/// A place where the chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// The file's name.
    pub file: String,
    /// The line in it, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for Break {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, line {}: {}", self.file, self.line, self.problem)
    }
}

/// A head that was kept elsewhere: `SEQ:HEAD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor(AuditHead);

/// What an anchor says about a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorFault {
    /// The log has no line of that number any more, or none yet.
    #[error("the log ends before line {0}: lines were cut off its end, or it is another log")]
    Cut(u64),
    /// The line of that number is another one.
    #[error(
        "line {0} is not the one that was anchored: the log was written anew from there or before, or it is another log"
    )]
    Other(u64),
    /// The line was dropped for its age.
    #[error("line {0} was dropped for its age: the anchor is too old to prove anything")]
    TooOld(u64),
}

impl Anchor {
    /// Reads `SEQ:HEAD`: a line's number, and the 64 hex digits of its hash.
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, mac) = text.split_once(':')?;
        let seq = seq.parse().ok().filter(|seq| *seq > 0)?;
        unhex(mac.as_bytes())?;
        Some(Self(AuditHead {
            seq,
            head: mac.to_owned(),
        }))
    }
}

/// Checks every line of the log, and against `anchor` where one is given.
///
/// What it proves: no line between the first and the last one that are kept was changed, removed, added or moved by anybody without
/// `audit.key`. What it cannot prove without an anchor: that no lines were cut off the end, or that the whole log is not an
/// older copy of itself.
///
/// # Errors
/// A file cannot be read.
pub fn verify(
    files: &AuditFiles,
    key: &AuditKey,
    anchor: Option<&Anchor>,
) -> io::Result<(Verification, Result<(), AnchorFault>)> {
    let parts = files.parts();
    let mut check = Check {
        key,
        anchor,
        anchored: None,
        dropped: false,
        previous: None,
        loose: Loose::default(),
        found: Verification::default(),
    };
    for (part, path) in &parts {
        // In front of the oldest file that is kept there may have been an older one.
        check.dropped = *part == OLDER;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut number = 0;
        each_piece(path, |piece| {
            number += 1;
            check.piece(piece, &name, number);
        })?;
    }
    check.end(files);
    let anchored = check.anchored();
    Ok((check.found, anchored))
}

struct Check<'a> {
    key: &'a AuditKey,
    anchor: Option<&'a Anchor>,
    /// The hash of the line that the anchor names.
    anchored: Option<LineMac>,
    dropped: bool,
    /// Number and hash of the line before.
    previous: Option<(u64, LineMac)>,
    loose: Loose,
    found: Verification,
}

/// What stands between two lines and is none.
#[derive(Default)]
struct Loose {
    bytes: u64,
    hash: Sha256,
    /// The same without the line end that the writer may have added.
    unended: Option<Torn>,
    at: Option<(String, u64)>,
    /// It is one piece without a line end, as a crash leaves it.
    unfinished: bool,
}

impl Check<'_> {
    fn piece(&mut self, piece: &Piece<'_>, file: &str, number: u64) {
        match piece.line() {
            Some(line) => self.line(&line, file, number),
            None => self.loose.add(piece, file, number),
        }
    }

    fn line(&mut self, line: &ReadLine, file: &str, number: u64) {
        let record = &line.record;
        let loose = std::mem::take(&mut self.loose);
        let problem = self
            .first_problem(line)
            .or_else(|| loose.problem(record.torn.as_ref()));
        match problem {
            Some(problem) => self.tell(file, number, problem),
            None => {
                self.found.good += 1;
                self.found.torn += u64::from(record.torn.is_some());
            }
        }
        if self.anchor.is_some_and(|Anchor(head)| head.seq == record.seq) {
            self.anchored = Some(line.mac);
        }
        self.found.first.get_or_insert(record.seq);
        // A break is told once; what is behind it still has to hold together.
        self.previous = Some((record.seq, line.mac));
    }

    fn first_problem(&self, line: &ReadLine) -> Option<String> {
        let record = &line.record;
        let named = record.prev.as_deref().map(|prev| unhex(prev.as_bytes()));
        let (due, previous) = match (self.previous, named) {
            (Some((seq, mac)), Some(named)) if named != Some(mac) => {
                return Some(format!(
                    "it stands behind line {seq}, but names another one as the one before it"
                ));
            }
            (Some((seq, mac)), _) => (seq.saturating_add(1), mac),
            (None, None) if record.seq == 1 => (1, [0; 32]),
            (None, Some(Some(named))) if self.dropped => (record.seq, named),
            (None, _) => return Some("the lines before it are missing".to_owned()),
        };
        if record.seq != due {
            return Some(format!(
                "it has the number {} where {due} is due: lines were removed, added or moved",
                record.seq
            ));
        }
        let good = line.follows(self.key, &previous);
        (!good).then(|| "it was changed, or it is from another log".to_owned())
    }

    fn end(&mut self, files: &AuditFiles) {
        let loose = std::mem::take(&mut self.loose);
        self.found.head = self.previous.map(|(seq, mac)| AuditHead { seq, head: hex(&mac) });
        let current = files.current().file_name().unwrap_or_default().to_string_lossy();
        match loose.at {
            // A crash may have cut off the first line of a new file too.
            Some((file, number)) if !loose.unfinished || file != current => {
                self.tell(&file, number, "it is no line of a log".to_owned());
            }
            Some(_) => self.found.unfinished = true,
            None => {}
        }
    }

    fn anchored(&self) -> Result<(), AnchorFault> {
        let Some(Anchor(head)) = self.anchor else {
            return Ok(());
        };
        match self.anchored {
            Some(mac) if hex(&mac) == head.head => Ok(()),
            Some(_) => Err(AnchorFault::Other(head.seq)),
            None if self.found.first.is_some_and(|first| head.seq < first) => {
                Err(AnchorFault::TooOld(head.seq))
            }
            None => Err(AnchorFault::Cut(head.seq)),
        }
    }

    fn tell(&mut self, file: &str, line: u64, problem: String) {
        self.found.broken += 1;
        if self.found.breaks.len() < MOST_TOLD {
            self.found.breaks.push(Break {
                file: file.to_owned(),
                line,
                problem,
            });
        }
    }
}

impl Loose {
    fn add(&mut self, piece: &Piece<'_>, file: &str, number: u64) {
        self.unfinished = self.at.is_none() && !piece.ended;
        self.at.get_or_insert_with(|| (file.to_owned(), number));
        self.hash.update(piece.bytes);
        self.bytes += u64::try_from(piece.bytes.len()).unwrap_or(u64::MAX);
        let torn = self.torn();
        if piece.ended {
            self.hash.update(b"\n");
            self.bytes += 1;
        }
        self.unended = Some(torn);
    }

    fn torn(&self) -> Torn {
        Torn {
            bytes: self.bytes,
            sha256: hex(&self.hash.clone().finalize().into()),
        }
    }

    /// What a crash left is named by the line behind it.
    fn problem(&self, named: Option<&Torn>) -> Option<String> {
        match (named, &self.at) {
            (None, None) => None,
            (Some(named), Some(_)) if *named == self.torn() || Some(named) == self.unended.as_ref() => None,
            (Some(_), _) => Some("what a crash left before it was changed".to_owned()),
            (None, Some((file, line))) => Some(format!(
                "what stands before it, from line {line} of {file} on, is no line of a log"
            )),
        }
    }
}
