use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// Certificates that a person trusts beside the system's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaCertificates(Vec<CertificateDer<'static>>);

impl CaCertificates {
    /// Reads every certificate of a PEM text; what else stands in it is passed over.
    ///
    /// # Errors
    /// [`CaCertificatesError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, CaCertificatesError> {
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|_| CaCertificatesError::Unreadable)?;
        if certificates.is_empty() {
            return Err(CaCertificatesError::NoCertificate);
        }
        for certificate in &certificates {
            RootCertStore::empty()
                .add(certificate.clone())
                .map_err(|_| CaCertificatesError::Unreadable)?;
        }
        Ok(Self(certificates))
    }

    pub(crate) fn as_slice(&self) -> &[CertificateDer<'static>] {
        &self.0
    }
}

/// Why a text holds no certificates to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CaCertificatesError {
    /// There is none in it.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// One of them does not decode.
    #[error("a certificate in it cannot be read")]
    Unreadable,
}

impl CaCertificatesError {
    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::NoCertificate => "ca-file-empty",
            Self::Unreadable => "ca-file-malformed",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        "give a PEM file that holds the certificate of the bridge's CA, or the bridge's own"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_certificate_is_told_from_what_cannot_be_read() {
        let not_der = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let torn = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
        for (pem, id) in [
            (&b""[..], "ca-file-empty"),
            (b"sk_live_x", "ca-file-empty"),
            (not_der, "ca-file-malformed"),
            (torn, "ca-file-malformed"),
        ] {
            assert_eq!(CaCertificates::from_pem(pem).unwrap_err().id(), id);
        }
    }
}
