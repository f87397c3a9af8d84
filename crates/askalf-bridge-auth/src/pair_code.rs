use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::{MintError, mint};

/// Crockford's base 32: digits and capitals without I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

const SYMBOLS: usize = 12;
const RANDOM_SYMBOLS: usize = 10;
const GROUP: usize = 4;

/// A pairing code: what an operator reads out, and a device exchanges for a key, once. `K7QM-2F9X-TBX3`, for example.
///
/// Ten symbols of 5 random bits and two that check them. It is read in either case, with or without dashes and spaces;
/// `O` is read as `0`, `I` and `L` as `1`.
///
/// ```
/// use askalf_bridge_auth::{PairCode, PairCodeError};
///
/// let code = PairCode::mint()?;
/// let shown = code.to_string();
/// assert_eq!((shown.len(), shown.matches('-').count()), (14, 2));
/// assert_eq!(PairCode::parse(&shown.to_lowercase().replace('-', " ")).unwrap().to_string(), shown);
/// assert_eq!(PairCode::parse("0000-0000-0000").unwrap_err(), PairCodeError::Checksum);
/// assert_eq!(format!("{code:?}"), "PairCode(redacted)");
/// # Ok::<(), askalf_bridge_auth::MintError>(())
/// ```
///
/// A code is no key, and cannot be sent as one:
///
/// ```compile_fail,E0308
/// fn present(token: askalf_bridge_auth::Token) {}
/// fn slip(code: askalf_bridge_auth::PairCode) { present(code) }
/// ```
///
/// # Guessing
///
/// There are 2^50, or 1.1 * 10^15, codes. Each try is a request to the bridge, and a code is good for minutes. Somebody
/// who gets 10,000 tries a second answered throughout the 10 minutes of a code makes 6 * 10^6 of them: one chance in 188
/// million per open code. With a thousand codes open at once it is one in 188,000. The checksum changes
/// none of this: whoever guesses, guesses well-formed codes.
///
/// Who copies the database has the code's HMAC under the bridge's secret, which tells nothing. With the secret as well,
/// all codes can be tried in about a day on today's hardware. By then the code is spent or has expired, and the key that
/// it gave cannot be derived without the device's nonce of 128 bits, which is stored nowhere.
///
/// # Checksum
///
/// The twelve symbols are a word of a Reed-Solomon code over GF(32) of distance 3: whatever is wrong with one or two
/// symbols, two that were swapped included, is noticed; of anything worse one in 1024 passes.
#[derive(Clone)]
pub struct PairCode(Zeroizing<[u8; SYMBOLS]>);

impl PairCode {
    /// How many bits of a code are random.
    pub const RANDOM_BITS: u32 = 5 * RANDOM_SYMBOLS as u32;

    /// A random one.
    ///
    /// # Errors
    /// [`MintError`] when the system's random source fails.
    pub fn mint() -> Result<Self, MintError> {
        let mut random = Zeroizing::new([0; RANDOM_SYMBOLS]);
        mint::fill_from_system(&mut *random)?;
        Ok(Self::of_random(&random))
    }

    /// Reads what a person typed.
    ///
    /// # Errors
    /// [`PairCodeError`], which holds none of the text.
    pub fn parse(text: &str) -> Result<Self, PairCodeError> {
        let mut symbols = Zeroizing::new([0; SYMBOLS]);
        let mut count = 0;
        for character in text.chars().filter(|c| *c != '-' && !c.is_whitespace()) {
            let symbol = value_of(character).ok_or(PairCodeError::Character)?;
            if let Some(place) = symbols.get_mut(count) {
                *place = symbol;
            }
            count += 1;
        }
        if count != SYMBOLS {
            return Err(PairCodeError::Length { symbols: count });
        }
        if checks(&symbols[..]) != (1, 0) {
            return Err(PairCodeError::Checksum);
        }
        Ok(Self(symbols))
    }

    /// The symbols as numbers below 32: the one form of a code, however it was typed.
    pub(crate) fn symbols(&self) -> &[u8; SYMBOLS] {
        &self.0
    }

    fn of_random(random: &[u8; RANDOM_SYMBOLS]) -> Self {
        let mut symbols = Zeroizing::new([0; SYMBOLS]);
        for (symbol, byte) in symbols.iter_mut().zip(random) {
            *symbol = byte & 31;
        }
        let (sum, weighted) = checks(&symbols[..]);
        // Both symbols together: one + other = sum + 1, and a^10 one + a^11 other = weighted.
        let (ten, eleven) = (power(RANDOM_SYMBOLS), power(RANDOM_SYMBOLS + 1));
        let one = times(weighted ^ times(eleven, sum ^ 1), inverse(ten ^ eleven));
        symbols[RANDOM_SYMBOLS] = one;
        symbols[RANDOM_SYMBOLS + 1] = one ^ sum ^ 1;
        Self(symbols)
    }
}

impl fmt::Display for PairCode {
    /// For the one line that shows a new code to its operator.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, symbol) in self.0.iter().enumerate() {
            if index > 0 && index % GROUP == 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(ALPHABET[usize::from(*symbol)]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for PairCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairCode(redacted)")
    }
}

fn value_of(character: char) -> Option<u8> {
    let upper = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let index = ALPHABET.iter().position(|symbol| char::from(*symbol) == upper)?;
    u8::try_from(index).ok()
}

/// The sum of the symbols, and the sum of each times the power of its place. In a code they are 1 and 0: were both 0, the
/// word of twelve zeros would be one.
fn checks(symbols: &[u8]) -> (u8, u8) {
    symbols
        .iter()
        .enumerate()
        .fold((0, 0), |(sum, weighted), (place, symbol)| {
            (sum ^ symbol, weighted ^ times(power(place), *symbol))
        })
}

/// In GF(32), as polynomials over GF(2) modulo x^5 + x^2 + 1.
fn times(a: u8, b: u8) -> u8 {
    let mut product = 0;
    let mut shifted = a;
    for bit in 0..5 {
        if b >> bit & 1 == 1 {
            product ^= shifted;
        }
        shifted <<= 1;
        if shifted & 32 != 0 {
            shifted ^= 0b10_0101;
        }
    }
    product
}

/// Powers of x, which generates all 31 numbers but 0.
fn power(exponent: usize) -> u8 {
    (0..exponent).fold(1, |power, _| times(power, 2))
}

/// a^30, since a^31 is 1.
fn inverse(a: u8) -> u8 {
    (0..30).fold(1, |power, _| times(power, a))
}

/// Why a text is no [`PairCode`]. No variant holds any of the text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PairCodeError {
    /// Not twelve symbols.
    #[error("a pairing code has 12 letters and digits, this has {symbols}")]
    Length {
        /// How many there are.
        symbols: usize,
    },
    /// Something that no code holds.
    #[error("a pairing code holds only digits and the letters A to Z without U")]
    Character,
    /// The symbols do not belong together.
    #[error("the pairing code is mistyped: its letters and digits do not belong together")]
    Checksum,
}

impl PairCodeError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Length { .. } | Self::Character => {
                "copy the whole code again as 'askalf-bridge pair-code new' printed it"
            }
            Self::Checksum => "compare it with the code that 'askalf-bridge pair-code new' printed",
        }
    }

    /// A stable name for scripts and logs.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::Length { .. } => "pair-code-length",
            Self::Character => "pair-code-character",
            Self::Checksum => "pair-code-checksum",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(random: [u8; RANDOM_SYMBOLS]) -> PairCode {
        PairCode::of_random(&random)
    }

    fn text(symbols: &[u8]) -> String {
        symbols
            .iter()
            .map(|symbol| char::from(ALPHABET[usize::from(*symbol)]))
            .collect()
    }

    #[test]
    fn a_code_is_read_however_a_person_types_it() {
        let shown = code([0, 1, 17, 0, 1, 9, 31, 30, 29, 10]).to_string();
        assert_eq!(&shown[..12], "01H0-19ZY-XA");
        for typed in [
            shown.to_lowercase(),
            shown.replace('-', ""),
            format!("  {} \n", shown.replace('-', " ")),
            shown.replace('0', "O").replace('1', "l"),
            shown.replace('0', "o").replace('1', "I"),
        ] {
            assert_eq!(PairCode::parse(&typed).unwrap().to_string(), shown, "{typed}");
        }
    }

    #[test]
    fn each_fault_of_the_text_is_named() {
        let shown = code([3; RANDOM_SYMBOLS]).to_string();
        for (typed, expected) in [
            (String::new(), PairCodeError::Length { symbols: 0 }),
            (shown[1..].to_owned(), PairCodeError::Length { symbols: 11 }),
            (format!("{shown}A"), PairCodeError::Length { symbols: 13 }),
            ("0".repeat(100_000), PairCodeError::Length { symbols: 100_000 }),
            (shown.replace('3', "U"), PairCodeError::Character),
            (shown.replace('-', "_"), PairCodeError::Character),
            (shown.replacen('3', "Ä", 1), PairCodeError::Character),
            (shown.replacen('3', "4", 1), PairCodeError::Checksum),
            ("0".repeat(SYMBOLS), PairCodeError::Checksum),
        ] {
            assert_eq!(PairCode::parse(&typed).unwrap_err(), expected);
        }
        assert_eq!(
            PairCodeError::Length { symbols: 11 }.to_string(),
            "a pairing code has 12 letters and digits, this has 11"
        );
        assert_eq!(
            PairCodeError::Checksum.hint(),
            "compare it with the code that 'askalf-bridge pair-code new' printed"
        );
    }

    /// Over an affine code it is enough to show it of one word: what an error adds does not depend on the word.
    #[test]
    fn whatever_is_wrong_with_one_or_two_symbols_is_noticed() {
        let good = code([7, 19, 23, 2, 15, 9, 30, 11, 26, 0]);
        for first in 0..SYMBOLS {
            for second in 0..SYMBOLS {
                for (one, two) in (0..32).flat_map(|one| (0..32).map(move |two| (one, two))) {
                    let mut wrong = *good.symbols();
                    wrong[first] ^= one;
                    wrong[second] ^= two;
                    let parsed = PairCode::parse(&text(&wrong));
                    assert_eq!(
                        parsed.is_ok(),
                        wrong == *good.symbols(),
                        "{first} {one} {second} {two}"
                    );
                }
            }
        }
    }

    #[test]
    fn minted_codes_use_every_symbol_and_do_not_repeat() {
        let codes: std::collections::HashSet<_> = (0..1_000)
            .map(|_| PairCode::mint().unwrap().to_string())
            .collect();
        assert_eq!(codes.len(), 1_000);
        let seen: std::collections::HashSet<_> = codes.iter().flat_map(|code| code.chars()).collect();
        assert_eq!(seen.len(), ALPHABET.len() + 1, "and the dash");
    }

    #[test]
    fn the_arithmetic_of_guessing_is_that_of_the_documentation() {
        let codes = 2_f64.powi(PairCode::RANDOM_BITS as i32);
        let tries = 10_000.0 * 600.0;
        assert_eq!((codes / tries / 1e6).round(), 188.0);
        assert_eq!(
            (codes / tries / 1_000.0 / 1e3).round(),
            188.0,
            "a thousand codes open"
        );
    }

    proptest! {
        #[test]
        fn every_code_reads_as_itself(random in any::<[u8; RANDOM_SYMBOLS]>()) {
            let code = code(random);
            let shown = code.to_string();
            let read = PairCode::parse(&shown).unwrap();
            prop_assert_eq!(read.symbols(), code.symbols());
            prop_assert_eq!(shown.len(), SYMBOLS + 2);
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(typed in any::<String>()) {
            if let Ok(code) = PairCode::parse(&typed) {
                prop_assert_eq!(checks(code.symbols()), (1, 0));
            }
        }
    }
}
