//! Encryption of the connections.

use std::path::Path;
use std::sync::Arc;

use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::connect_error::ConnectError;
use super::url::Encryption;

/// What makes the connections encrypted ones.
pub(super) fn connector(
    encryption: Encryption,
    root_certificate: Option<&Path>,
) -> Result<MakeRustlsConnect, ConnectError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|_| certificates("this program", "no version of TLS is built in"))?;
    let config = match (encryption, root_certificate) {
        (Encryption::Disable | Encryption::Prefer, _) | (Encryption::Require, None) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate { provider }))
            .with_no_client_auth(),
        (Encryption::Require | Encryption::VerifyFull, Some(path)) => builder
            .with_root_certificates(from_file(path)?)
            .with_no_client_auth(),
        (Encryption::VerifyFull, None) => builder
            .with_root_certificates(from_system()?)
            .with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

fn certificates(from: &str, reason: &'static str) -> ConnectError {
    ConnectError::Certificates {
        from: from.to_owned(),
        reason,
    }
}

fn from_file(path: &Path) -> Result<RootCertStore, ConnectError> {
    let fault = |reason| certificates(&path.display().to_string(), reason);
    let found: Vec<CertificateDer<'_>> = CertificateDer::pem_file_iter(path)
        .map_err(|_| fault("the file could not be opened"))?
        .collect::<Result<_, _>>()
        .map_err(|_| fault("the file is not PEM"))?;
    let mut roots = RootCertStore::empty();
    for certificate in found {
        roots
            .add(certificate)
            .map_err(|_| fault("one of them is malformed"))?;
    }
    if roots.is_empty() {
        return Err(fault("the file has none"));
    }
    Ok(roots)
}

fn from_system() -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    // Single ones that cannot be read are nothing unusual; none at all is.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(certificates(
            "the system",
            "it has none; name a file with sslrootcert=FILE",
        ));
    }
    Ok(roots)
}

/// Takes any certificate, as libpq's `require` does: the connection is encrypted, but not proof against somebody in
/// between. That the server has the certificate's key is still checked.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
