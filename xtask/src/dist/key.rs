//! The key of releases: Ed25519, in the files that OpenSSL writes and reads. `SHA256SUMS.sig` holds the 64 bytes of the signature
//! over `SHA256SUMS`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::sums;

/// What stands before the 32 bytes of a public key in its DER form (RFC 8410).
const PUBLIC_KEY_INFO: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// What stands before the 32 secret bytes in theirs, as OpenSSL writes it: without the public half.
const PRIVATE_KEY_INFO: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Makes a key in a new file for its owner alone, and the public one beside it, with `.pub` behind the name.
pub(super) fn make(file: &Path) -> Result<()> {
    let mut secret = [0; 32];
    SystemRandom::new()
        .fill(&mut secret)
        .ok()
        .context("no random numbers")?;
    let der = [&PRIVATE_KEY_INFO[..], &secret].concat();
    let public = public_file(file);
    let key = read_pair(&der)?;
    write_new(
        &public,
        0o644,
        &pem(
            "PUBLIC KEY",
            &[&PUBLIC_KEY_INFO[..], key.public_key().as_ref()].concat(),
        ),
    )?;
    write_new(file, 0o600, &pem("PRIVATE KEY", &der))?;
    println!(
        "{} signs releases: keep it off the machines that build them for anybody else.\n{} goes to those who install them.",
        file.display(),
        public.display()
    );
    Ok(())
}

/// Signs the checksums in a folder.
pub(super) fn sign(file: &Path, folder: &Path) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let pair = read_pair(&from_pem(&text).with_context(|| format!("{} holds no key", file.display()))?)?;
    let signature = pair.sign(&fs::read(folder.join(sums::FILE))?);
    fs::write(folder.join(format!("{}.sig", sums::FILE)), signature.as_ref())?;
    Ok(())
}

fn public_file(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn read_pair(der: &[u8]) -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
        .ok()
        .context("this is no Ed25519 key; make one with: cargo xtask dist --new-key FILE")
}

fn write_new(file: &Path, mode: u32, text: &str) -> Result<()> {
    let mut open = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(file)
        .with_context(|| format!("{} cannot be made", file.display()))?;
    open.write_all(text.as_bytes())?;
    open.sync_all()?;
    Ok(())
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let body = STANDARD.encode(der);
    for line in body.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn from_pem(text: &str) -> Option<Vec<u8>> {
    let body = text
        .split_once("-----BEGIN PRIVATE KEY-----")?
        .1
        .split_once("-----END PRIVATE KEY-----")?
        .0;
    STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    /// The first key pair of RFC 8032, 7.1, in the file that OpenSSL makes of it.
    const OPENSSL: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn a_key_of_openssl_signs_as_the_standard_says() {
        let pair = read_pair(&from_pem(OPENSSL).unwrap()).unwrap();
        let public = pem(
            "PUBLIC KEY",
            &[&PUBLIC_KEY_INFO[..], pair.public_key().as_ref()].concat(),
        );
        assert_eq!(public, PUBLIC);
        assert_eq!(
            sums::hex(pair.sign(b"").as_ref()),
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        );
    }

    #[test]
    fn a_made_key_signs_what_its_public_half_verifies_and_is_never_written_over() {
        use std::os::unix::fs::MetadataExt;

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("release.key");
        make(&file).unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(make(&file).is_err());

        fs::write(folder.path().join(sums::FILE), "sums").unwrap();
        sign(&file, folder.path()).unwrap();
        let signature = fs::read(folder.path().join("SHA256SUMS.sig")).unwrap();
        let public = fs::read_to_string(public_file(&file)).unwrap();
        let body: String = public.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(body).unwrap();
        let key = UnparsedPublicKey::new(&ED25519, der.strip_prefix(&PUBLIC_KEY_INFO).unwrap());
        key.verify(b"sums", &signature).unwrap();
        assert!(key.verify(b"sum", &signature).is_err());
    }
}
