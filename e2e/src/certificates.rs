//! Certificates of a CA of its own, as files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A CA and the files of a bridge on this machine, in a scratch folder.
#[derive(Debug)]
pub struct Certificates {
    folder: tempfile::TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    /// A new CA with a certificate for `localhost` and `127.0.0.1`.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "the CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("ca.pem"), ca.pem())?;
        let certificates = Self { folder, ca };
        certificates.issue(|_| {})?;
        Ok(certificates)
    }

    /// Puts another certificate with a key of its own in place.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Result<()> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        change(&mut params);
        let key = KeyPair::generate()?;
        fs::write(self.chain(), params.signed_by(&key, &self.ca)?.pem())?;
        self.put_key(&key)
    }

    /// Puts one in place that no CA has issued, as one command of openssl makes it: it signs itself and may sign others.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn issue_own(&self) -> Result<()> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        fs::write(self.chain(), params.self_signed(&key)?.pem())?;
        self.put_key(&key)
    }

    fn put_key(&self, key: &KeyPair) -> Result<()> {
        fs::write(self.key(), key.serialize_pem())?;
        Ok(fs::set_permissions(
            self.key(),
            fs::Permissions::from_mode(0o600),
        )?)
    }

    /// The CA's certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The bridge's certificate.
    pub fn chain(&self) -> PathBuf {
        self.folder.path().join("bridge.pem")
    }

    /// The bridge's key.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("bridge.key")
    }
}
