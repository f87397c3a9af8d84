//! What is left out once a secret is known to have begun: machines that take the text byte by byte, so that its end needs no
//! look ahead and no memory.

use super::char_set::{BASE64, CharSet};

/// Where what is left out ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Span {
    /// After so many bytes.
    Bytes(usize),
    /// At the first character that is not in the set.
    Set(CharSet),
    /// At white space or a control character.
    Unquoted,
    /// At this quote, or at the end of the line.
    Quoted {
        quote: u8,
        /// A backslash takes the next character's meaning.
        escapes: bool,
        /// The character before was such a backslash.
        escaped: bool,
    },
    /// With the `-----END ...-----` of a PEM block.
    Pem(Pem),
}

impl Span {
    /// Up to this quote.
    pub(super) fn quoted(quote: u8, escapes: bool) -> Self {
        Self::Quoted {
            quote,
            escapes,
            escaped: false,
        }
    }

    /// Whether both come to the same end where they overlap.
    pub(super) fn same_kind(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Set(set), Self::Set(other)) => set == other,
            (
                Self::Quoted { quote, escapes, .. },
                Self::Quoted {
                    quote: other_quote,
                    escapes: other_escapes,
                    ..
                },
            ) => quote == other_quote && escapes == other_escapes,
            (Self::Unquoted, Self::Unquoted) | (Self::Pem(_), Self::Pem(_)) => true,
            _ => false,
        }
    }

    /// Runs over `bytes` from `at`: where it ends, or `None` when it goes on behind them.
    pub(super) fn run(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let rest = bytes.get(at..)?;
        let ends = match self {
            Self::Bytes(left) => {
                if *left > rest.len() {
                    *left -= rest.len();
                    return None;
                }
                Some(*left)
            }
            Self::Set(set) => rest.iter().position(|byte| !set.contains(*byte)),
            Self::Unquoted => rest.iter().position(|byte| *byte <= b' ' || *byte == 0x7f),
            Self::Quoted {
                quote,
                escapes,
                escaped,
            } => rest.iter().position(|byte| {
                if *escaped {
                    *escaped = false;
                    return matches!(byte, b'\n' | b'\r');
                }
                *escaped = *escapes && *byte == b'\\';
                *byte == *quote || matches!(byte, b'\n' | b'\r')
            }),
            Self::Pem(pem) => rest.iter().position(|byte| pem.ends_before(*byte)),
        };
        ends.map(|ends| at + ends)
    }
}

/// Longest block, in bytes: a key of 16,384 bits in PEM has 12,700.
pub(super) const LONGEST_BLOCK: usize = 32 * 1024;
/// A line of a key has a run of base64 of this length; RFC 7468 wraps at 64.
const RUN_OF_KEY: usize = 16;
/// So many lines in a row without such a run: this is no key, or none any more.
const OTHER_LINES: u8 = 8;
const END: &[u8; 9] = b"-----END ";
/// Longest label behind [`END`], dashes included.
const LABEL: usize = 64;

/// The block of a private key, from behind its first words.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Pem {
    length: usize,
    /// The last 16 bytes, the latest lowest.
    recent: u128,
    run: usize,
    key_in_line: bool,
    other_lines: u8,
    /// One more than the bytes since `-----END `; 0 where none came in this line.
    label: usize,
    over: bool,
}

impl Pem {
    /// Takes the next byte, or says that it is none of the block.
    fn ends_before(&mut self, byte: u8) -> bool {
        // Not within a character.
        if (self.over || self.length >= LONGEST_BLOCK) && byte & 0xc0 != 0x80 {
            return true;
        }
        self.length += 1;
        self.recent = self.recent << 8 | u128::from(byte);
        if BASE64.contains(byte) {
            self.run += 1;
            self.key_in_line |= self.run >= RUN_OF_KEY;
        } else {
            self.run = 0;
            self.take_other(byte);
        }
        self.label += usize::from(self.label > 0);
        false
    }

    /// A byte that is none of a key's.
    fn take_other(&mut self, byte: u8) {
        match byte {
            b'\n' => {
                self.other_lines = if self.key_in_line { 0 } else { self.other_lines + 1 };
                self.key_in_line = false;
                self.over = self.other_lines >= OTHER_LINES;
                self.label = 0;
            }
            b' ' if self.ended_with(END) => self.label = 1,
            b'-' if (5..LABEL).contains(&self.label) => self.over |= self.ended_with(b"-----"),
            _ => {}
        }
    }

    fn ended_with(&self, text: &[u8]) -> bool {
        let wanted = text.iter().fold(0, |all, byte| all << 8 | u128::from(*byte));
        let mask = (1_u128 << (8 * text.len())) - 1;
        self.recent & mask == wanted
    }
}
