//! Who signs packages.

use std::fs;
use std::path::Path;

use askalf_cli::{ExitCode, Failure, in_plain_words};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};

/// What stands before the 32 bytes of an Ed25519 public key in its DER form (RFC 8410).
const PUBLIC_KEY_INFO: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The key of whoever built this program, where they compiled one in: the line between the two marks of its PEM file.
const BUILT_IN: Option<&str> = option_env!("ASKALF_RELEASE_KEY");

/// A public key of Ed25519.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReleaseKey([u8; 32]);

impl ReleaseKey {
    /// The key in a PEM file, as OpenSSL writes it.
    pub(crate) fn from_file(file: &Path) -> Result<Self, Failure> {
        let failure = |why: &str| {
            Failure::new(ExitCode::Usage, format!("{}: {why}", file.display())).hint(
                "name the public key of whoever made the package, as 'cargo xtask dist --new-key' writes it",
            )
        };
        let text = fs::read_to_string(file).map_err(|error| failure(&in_plain_words(&error)))?;
        Self::from_pem(&text).ok_or_else(|| failure("this is no public key of Ed25519"))
    }

    /// The one that was compiled in.
    pub(crate) fn built_in() -> Option<Self> {
        Self::from_base64(BUILT_IN?)
    }

    fn from_pem(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("-----BEGIN PUBLIC KEY-----")?;
        let (body, _) = rest.split_once("-----END PUBLIC KEY-----")?;
        Self::from_base64(body)
    }

    fn from_base64(body: &str) -> Option<Self> {
        let der = STANDARD
            .decode(body.split_whitespace().collect::<String>())
            .ok()?;
        let key = der.strip_prefix(&PUBLIC_KEY_INFO)?;
        Some(Self(key.try_into().ok()?))
    }

    /// Whether this key made the signature over the message.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(message, signature)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first key pair of RFC 8032, 7.1, in the file that OpenSSL makes of it, and its signature over nothing.
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    const SIGNATURE: &str = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";

    fn signature() -> Vec<u8> {
        (0..SIGNATURE.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&SIGNATURE[at..at + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn the_signature_of_the_standard_is_good_and_any_other_is_not() {
        let key = ReleaseKey::from_pem(PUBLIC).unwrap();
        assert!(key.has_signed(b"", &signature()));
        assert!(!key.has_signed(b"x", &signature()));
        assert!(!key.has_signed(b"", &signature()[1..]));
        let mut changed = signature();
        changed[0] ^= 1;
        assert!(!key.has_signed(b"", &changed));
    }

    #[test]
    fn what_is_no_public_key_is_none() {
        for text in [
            "",
            "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qY\n-----END PUBLIC KEY-----",
            &PUBLIC.replace("VwAyEA", "VuAyEA"),
        ] {
            assert_eq!(ReleaseKey::from_pem(text), None, "{text}");
        }
    }
}
