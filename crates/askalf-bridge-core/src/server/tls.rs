//! The certificate that a TLS listener shows, and the way to another one while it serves.

use std::sync::{Arc, PoisonError, RwLock};

use askalf_bridge_auth::UnixMillis;
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::{self, InconsistentKeys, ServerConfig};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

/// Certificate chain and key of a TLS listener. Clones are handles to the same one: [`ServerTls::replace`] counts for
/// every handshake from then on, and sessions that are open stay.
///
/// It speaks TLS 1.2 and 1.3, HTTP/1.1, and resumes no sessions: devices stay connected for days.
///
/// ```
/// use askalf_bridge_core::{ServerTls, TlsError};
///
/// assert!(matches!(ServerTls::from_pem(b"", b""), Err(TlsError::NoCertificate)));
/// ```
#[derive(Debug, Clone)]
pub struct ServerTls(Arc<RwLock<Loaded>>);

#[derive(Debug, Clone)]
struct Loaded {
    config: Arc<ServerConfig>,
    expires_at: UnixMillis,
    key_fingerprint: String,
}

impl ServerTls {
    /// Reads a chain, the bridge's own certificate first, and its key, both as PEM.
    ///
    /// # Errors
    /// [`TlsError`]; none of them holds a part of the key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Loaded::from_pem(chain, key).map(|loaded| Self(Arc::new(RwLock::new(loaded))))
    }

    /// Takes another chain and key for every handshake from now on.
    ///
    /// # Errors
    /// As [`ServerTls::from_pem`]; then the present ones stay.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let loaded = Loaded::from_pem(chain, key)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// When the bridge's certificate stops being good.
    pub fn expires_at(&self) -> UnixMillis {
        self.0.read().unwrap_or_else(PoisonError::into_inner).expires_at
    }

    /// SHA-256 of the `SubjectPublicKeyInfo` of the bridge's certificate, as 64 lower-case hex digits: what agents pin.
    pub fn key_fingerprint(&self) -> String {
        let loaded = self.0.read().unwrap_or_else(PoisonError::into_inner);
        loaded.key_fingerprint.clone()
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let loaded = self.0.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&loaded.config))
    }
}

impl Loaded {
    fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError::BadCertificate)?;
        let own = chain.first().ok_or(TlsError::NoCertificate)?;
        let certificate = Certificate::from_der(own).map_err(|_| TlsError::BadCertificate)?;
        let certificate = certificate.tbs_certificate();
        let not_after = certificate.validity().not_after.to_unix_duration();
        let key_info = certificate
            .subject_public_key_info()
            .to_der()
            .map_err(|_| TlsError::BadCertificate)?;
        let digest = Sha256::digest(&key_info);
        let key_fingerprint = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let expires_at = UnixMillis(i64::try_from(not_after.as_millis()).unwrap_or(i64::MAX));
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey,
            _ => TlsError::BadKey,
        })?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| TlsError::BadKey)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch,
                rustls::Error::InvalidCertificate(_) => TlsError::BadCertificate,
                _ => TlsError::BadKey,
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            config: Arc::new(config),
            expires_at,
            key_fingerprint,
        })
    }
}

/// Why a certificate and key cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// No certificate stands in the chain.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// The chain does not decode.
    #[error("a certificate in it cannot be read")]
    BadCertificate,
    /// No key was given.
    #[error("there is no private key in it")]
    NoKey,
    /// The key does not decode, or is of a kind that is not served.
    #[error("the private key cannot be read, or is of a kind that is not supported")]
    BadKey,
    /// The key belongs to another certificate.
    #[error("the key does not belong to the first certificate of the chain")]
    Mismatch,
}

impl TlsError {
    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::NoCertificate => "tls-no-certificate",
            Self::BadCertificate => "tls-bad-certificate",
            Self::NoKey => "tls-no-key",
            Self::BadKey => "tls-bad-key",
            Self::Mismatch => "tls-key-mismatch",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoCertificate | Self::BadCertificate => {
                "give a PEM file with the bridge's certificate first and those of its issuers behind it"
            }
            Self::NoKey | Self::BadKey => {
                "give a PEM file with an unencrypted RSA, ECDSA (P-256, P-384) or Ed25519 key"
            }
            Self::Mismatch => {
                "give the key that the certificate was made for, and the bridge's certificate first"
            }
        }
    }
}
