use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::{MintError, mint};

/// What a device draws once and sends with its pairing code, again with each repetition: 16 random bytes, as 32 hex
/// digits on the wire.
///
/// It makes the exchange idempotent, and is secret: who has it and the code gets the key too.
///
/// ```
/// use askalf_bridge_auth::PairNonce;
///
/// let nonce = PairNonce::mint()?;
/// assert_eq!(PairNonce::parse(&nonce.to_string()).unwrap().as_bytes(), nonce.as_bytes());
/// assert!(PairNonce::parse("00").is_err());
/// # Ok::<(), askalf_bridge_auth::MintError>(())
/// ```
#[derive(Clone)]
pub struct PairNonce(Zeroizing<[u8; 16]>);

impl PairNonce {
    /// Takes 16 bytes of a random source that somebody kept.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A random one.
    ///
    /// # Errors
    /// [`MintError`] when the system's random source fails.
    pub fn mint() -> Result<Self, MintError> {
        let mut bytes = Zeroizing::new([0; 16]);
        mint::fill_from_system(&mut *bytes)?;
        Ok(Self(bytes))
    }

    /// Reads the 32 hex digits of the wire, of either case.
    ///
    /// # Errors
    /// [`PairNonceError`], which holds none of the text.
    pub fn parse(text: &str) -> Result<Self, PairNonceError> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
            return Err(PairNonceError);
        };
        let pairs: &[[u8; 2]; 16] = pairs.try_into().map_err(|_| PairNonceError)?;
        let mut bytes = Zeroizing::new([0; 16]);
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = hex_value(*high)? << 4 | hex_value(*low)?;
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for PairNonce {
    /// For the request and the file of the exchange that is under way, and for nothing else.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PairNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairNonce(redacted)")
    }
}

fn hex_value(digit: u8) -> Result<u8, PairNonceError> {
    let value = char::from(digit).to_digit(16).ok_or(PairNonceError)?;
    u8::try_from(value).map_err(|_| PairNonceError)
}

/// A text is no [`PairNonce`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the nonce of the pairing is not 32 hex digits")]
pub struct PairNonceError;

impl PairNonceError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "draw 16 random bytes once and send them in hex with every repetition"
    }

    /// A stable name for scripts and logs.
    #[must_use]
    pub fn id(&self) -> &'static str {
        "pair-nonce"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_thirty_two_hex_digits_and_nothing_else() {
        let text = "000102030405060708090a0b0c0d0eff";
        assert_eq!(PairNonce::parse(text).unwrap().to_string(), text);
        assert_eq!(PairNonce::parse(&text.to_uppercase()).unwrap().to_string(), text);
        for wrong in [
            "",
            "00",
            &text[1..],
            &format!("{text}00"),
            &text.replace('f', "g"),
            &format!("{}ü", &text[2..]),
        ] {
            assert_eq!(PairNonce::parse(wrong).unwrap_err(), PairNonceError, "{wrong}");
        }
    }
}
