//! Exact text that must not get out.

use std::borrow::Cow;
use std::fmt;

use zeroize::Zeroizing;

/// Shortest text, in bytes, that counts: a shorter one stands in ordinary output by chance.
pub(super) const SHORTEST: usize = 8;
/// Longest piece, in bytes, and so the most of it that is held back.
pub(super) const LONGEST_PIECE: usize = 64;

/// A secret that is known by itself, wiped when it is dropped.
#[derive(Clone)]
pub(super) struct Literal {
    kind: Cow<'static, str>,
    text: Zeroizing<String>,
}

impl Literal {
    /// Takes the text under a name for its kind.
    pub(super) fn new(kind: impl Into<Cow<'static, str>>, text: &str) -> Self {
        Self {
            kind: kind.into(),
            text: Zeroizing::new(text.to_owned()),
        }
    }

    pub(super) fn kind(&self) -> &Cow<'static, str> {
        &self.kind
    }

    /// What to look for: each line, and of a long one pieces of like length, each by itself. So a line of a key is found wherever it
    /// stands, and no more than a piece is ever held back.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.text
            .split(|letter: char| letter.is_control())
            .map(str::trim)
            .filter(|line| line.len() >= SHORTEST)
            .flat_map(pieces_of)
    }
}

impl PartialEq for Literal {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && *self.text == *other.text
    }
}

impl fmt::Debug for Literal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Literal({}, redacted)", self.kind)
    }
}

fn pieces_of(line: &str) -> Vec<&[u8]> {
    let count = line.len().div_ceil(LONGEST_PIECE - 3);
    let mut pieces = Vec::with_capacity(count);
    let mut rest = line;
    for left in (1..=count).rev() {
        let even = rest.len().div_ceil(left);
        let length = (even..rest.len()).find(|at| rest.is_char_boundary(*at));
        let (piece, behind) = rest.split_at(length.unwrap_or(rest.len()));
        pieces.push(piece.as_bytes());
        rest = behind;
    }
    pieces
}
