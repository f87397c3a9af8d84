use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// The fingerprint of a certificate's key: SHA-256 of its `SubjectPublicKeyInfo` in DER, as HTTP public key pinning has
/// it (RFC 7469, section 2.4). It stays when a certificate is renewed with the same key.
///
/// ```
/// use askalf_agent_core::{TlsPin, TlsPinError};
///
/// let hex = "aaBBccdd00112233445566778899aabbccddeeff00112233445566778899aabb";
/// let pin: TlsPin = hex.parse()?;
/// assert_eq!(pin.to_string(), hex.to_lowercase());
/// assert!("aabb".parse::<TlsPin>().is_err());
/// # Ok::<(), TlsPinError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TlsPin([u8; 32]);

impl TlsPin {
    pub(crate) fn of_key_info(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

/// 64 hex digits, lower or upper case, with or without a colon between bytes.
impl FromStr for TlsPin {
    type Err = TlsPinError;

    fn from_str(text: &str) -> Result<Self, TlsPinError> {
        let digits: String = text.trim().chars().filter(|char| *char != ':').collect();
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(TlsPinError);
        }
        let mut pin = [0; 32];
        for (byte, pair) in pin.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = str::from_utf8(pair).map_err(|_| TlsPinError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| TlsPinError)?;
        }
        Ok(Self(pin))
    }
}

/// 64 lower-case hex digits.
impl fmt::Display for TlsPin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for TlsPin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TlsPin({self})")
    }
}

/// A text is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pin is the SHA-256 of a public key info: 64 hex digits")]
pub struct TlsPinError;

impl TlsPinError {
    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        "tls-pin-malformed"
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        "ask the operator for the fingerprint that 'askalf-bridge serve' logs at its start"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_hex_digits_are_a_pin() {
        let hex = "0123456789abcdef".repeat(4);
        let pin: TlsPin = format!(" {}\n", hex.to_uppercase()).parse().unwrap();
        assert_eq!(pin.to_string(), hex);
        let colons: Vec<&str> = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| str::from_utf8(pair).unwrap())
            .collect();
        assert_eq!(colons.join(":").parse(), Ok(pin));
        for wrong in [
            "",
            &hex[1..],
            &format!("{hex}0"),
            &hex.replace('f', "g"),
            &hex.replace("ab", "é"),
        ] {
            assert_eq!(wrong.parse::<TlsPin>(), Err(TlsPinError), "{wrong}");
        }
    }
}
