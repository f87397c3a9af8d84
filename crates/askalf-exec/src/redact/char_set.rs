//! Sets of ASCII characters.

/// A set of ASCII characters; nothing else is ever in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CharSet(u128);

impl CharSet {
    /// The characters of `text`, beside letters and digits.
    pub(super) const fn letters_digits_and(text: &str) -> Self {
        Self::of(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz").and(text.as_bytes())
    }

    /// Exactly these characters.
    pub(super) const fn of(bytes: &[u8]) -> Self {
        Self(0).and(bytes)
    }

    const fn and(self, bytes: &[u8]) -> Self {
        let mut bits = self.0;
        let mut at = 0;
        while at < bytes.len() {
            bits |= 1 << (bytes[at] & 127);
            at += 1;
        }
        Self(bits)
    }

    /// Whether `byte` is one of them.
    pub(super) const fn contains(self, byte: u8) -> bool {
        byte < 128 && self.0 >> byte & 1 == 1
    }

    /// How many bytes from `at` on are in the set; `most` is enough.
    pub(super) fn run(self, bytes: &[u8], at: usize, most: usize) -> usize {
        let rest = bytes.get(at..).unwrap_or_default();
        rest.iter()
            .take(most)
            .take_while(|byte| self.contains(**byte))
            .count()
    }
}

/// Letters and digits.
pub(super) const ALNUM: CharSet = CharSet::letters_digits_and("");
/// Letters, digits and `_`.
pub(super) const WORD: CharSet = CharSet::letters_digits_and("_");
/// The alphabet of base64url.
pub(super) const BASE64URL: CharSet = CharSet::letters_digits_and("_-");
/// The alphabet of base64, padding included.
pub(super) const BASE64: CharSet = CharSet::letters_digits_and("+/=");
/// Both alphabets of base64.
pub(super) const ANY_BASE64: CharSet = CharSet::letters_digits_and("+/=_-");
/// Base64url in parts.
pub(super) const DOTTED: CharSet = CharSet::letters_digits_and("_-.");
/// Letters, digits and `-`.
pub(super) const DASHED: CharSet = CharSet::letters_digits_and("-");
/// What a path of a web hook consists of.
pub(super) const PATH: CharSet = CharSet::letters_digits_and("/_-");
/// Digits and capitals.
pub(super) const CAPITALS: CharSet = CharSet::of(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
/// Hexadecimal digits.
pub(super) const HEX: CharSet = CharSet::of(b"0123456789abcdefABCDEF");
/// `token68` of RFC 9110, section 11.2.
pub(super) const TOKEN68: CharSet = CharSet::letters_digits_and("-._~+/=");
