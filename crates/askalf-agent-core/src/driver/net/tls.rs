//! TLS on a stream, and what its faults mean.

use std::io;
use std::sync::{Arc, OnceLock};

use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{
    Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use crate::driver::clean::io_text;
use crate::driver::dial::Stream;
use crate::machine::{CertificateProblem, Fault};
use crate::{Route, TlsPin};

/// Secures a stream to `host`, whose certificate must show one of `pins`, where there are any.
pub(super) async fn secure(
    stream: Box<dyn Stream>,
    host: &str,
    route: &Route,
    pins: &[TlsPin],
) -> Result<TlsStream<Box<dyn Stream>>, Fault> {
    let handshake_fault = |detail: String| Fault::TlsHandshake { detail };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| handshake_fault(format!("'{host}' is not a name that a certificate can be for")))?;
    let provider = Arc::new(ring::default_provider());
    let check = Arc::new(CertificateCheck {
        roots: roots(route).await?,
        own: route.ca_certificates.as_slice().to_vec(),
        pins: pins.to_vec(),
        algorithms: provider.signature_verification_algorithms,
        shown: OnceLock::new(),
    });
    let config = config(provider, Arc::clone(&check)).map_err(|error| handshake_fault(error.to_string()))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    connecting.await.map_err(|error| check.fault(&error))
}

/// The fingerprint of the key that a peer has shown.
pub(super) fn shown_key(stream: &TlsStream<Box<dyn Stream>>) -> Option<TlsPin> {
    let (_, session) = stream.get_ref();
    let certificate = ParsedCertificate::try_from(session.peer_certificates()?.first()?).ok()?;
    Some(TlsPin::of_key_info(&certificate.subject_public_key_info()))
}

fn config(provider: Arc<CryptoProvider>, check: Arc<CertificateCheck>) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(check)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Each connection has a configuration of its own.
    config.resumption = Resumption::disabled();
    Ok(config)
}

async fn roots(route: &Route) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    if let Some(platform) = route.platform_roots {
        // Files that the system's store names may be on a disk that hangs. Should reading panic, there are none.
        let read = tokio::task::spawn_blocking(platform).await.unwrap_or_default();
        roots.add_parsable_certificates(read.into_iter().map(CertificateDer::from));
    }
    roots.add_parsable_certificates(route.ca_certificates.as_slice().iter().cloned());
    if roots.is_empty() {
        return Err(Fault::NoRoots);
    }
    Ok(roots)
}

/// Whether a certificate is the bridge's.
#[derive(Debug)]
struct CertificateCheck {
    roots: RootCertStore,
    /// What a person trusts by file.
    own: Vec<CertificateDer<'static>>,
    pins: Vec<TlsPin>,
    algorithms: WebPkiSupportedAlgorithms,
    /// The fingerprint of the key that the peer showed.
    shown: OnceLock<TlsPin>,
}

#[derive(Debug, thiserror::Error)]
#[error("the key is none of those that are pinned")]
struct NotPinned;

impl ServerCertVerifier for CertificateCheck {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let shown = *self
            .shown
            .get_or_init(|| TlsPin::of_key_info(&certificate.subject_public_key_info()));
        if !self.pins.is_empty() && !self.pins.contains(&shown) {
            return Err(CertificateError::Other(OtherError(Arc::new(NotPinned))).into());
        }
        let chain = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        );
        match chain {
            // 'openssl req -x509' marks what it signs as a CA. The certificate that a person has named is the one they mean;
            // its validity was looked at before this.
            Err(Error::InvalidCertificate(error))
                if is_ca_as_leaf(&error) && self.own.iter().any(|own| own == end_entity) => {}
            outcome => outcome?,
        }
        verify_server_name(&certificate, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn is_ca_as_leaf(error: &CertificateError) -> bool {
    let CertificateError::Other(OtherError(cause)) = error else {
        return false;
    };
    matches!(cause.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

impl CertificateCheck {
    fn fault(&self, error: &io::Error) -> Fault {
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            let detail = match error.kind() {
                io::ErrorKind::UnexpectedEof => "the connection was closed in the middle of it".to_owned(),
                _ => io_text(error),
            };
            return Fault::TlsHandshake { detail };
        };
        match tls {
            Error::InvalidCertificate(error) => self.certificate_fault(error),
            Error::NoCertificatesPresented => Fault::Certificate {
                problem: CertificateProblem::Other,
                detail: "it shows none".to_owned(),
            },
            Error::InvalidMessage(_) => Fault::NotTls,
            other => Fault::TlsHandshake {
                detail: askalf_proto::one_line(&other.to_string()),
            },
        }
    }

    fn certificate_fault(&self, error: &CertificateError) -> Fault {
        let (problem, what) = match error {
            CertificateError::Other(OtherError(cause)) if cause.is::<NotPinned>() => {
                let pins: Vec<String> = self.pins.iter().map(TlsPin::to_string).collect();
                (
                    CertificateProblem::NotPinned,
                    format!("pinned: {}", pins.join(" or ")),
                )
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                (CertificateProblem::Expired, "it has expired".to_owned())
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                (CertificateProblem::NotValidYet, "it is not valid yet".to_owned())
            }
            // The latter where an untrusted issuer goes by the name of a trusted one.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => (
                CertificateProblem::UnknownIssuer,
                "nothing that this device trusts has issued it".to_owned(),
            ),
            // What signs itself, as those who make one certificate do; named as a CA file it is trusted.
            other if is_ca_as_leaf(other) => (
                CertificateProblem::UnknownIssuer,
                "it vouches for itself, and this device was not told to trust it".to_owned(),
            ),
            CertificateError::NotValidForName => {
                (CertificateProblem::WrongName, "it is for another name".to_owned())
            }
            CertificateError::NotValidForNameContext { expected, presented } => (
                CertificateProblem::WrongName,
                format!(
                    "it is not for {}, but for {}",
                    expected.to_str(),
                    names(presented)
                ),
            ),
            other => (CertificateProblem::Other, other.to_string()),
        };
        let shown = self.shown.get().map_or_else(String::new, |shown| {
            format!("; its key has the fingerprint {shown}")
        });
        Fault::Certificate {
            problem,
            detail: askalf_proto::one_line(&format!("{what}{shown}")),
        }
    }
}

/// The names of a certificate, as many as fit into a line. The library shows them as `DnsName("...")`.
fn names(presented: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut names: Vec<&str> = presented
        .iter()
        .take(SHOWN)
        .map(|name| name.split('"').nth(1).unwrap_or(name))
        .collect();
    match presented.len() {
        0 => return "no name at all".to_owned(),
        len if len > SHOWN => names.push("others"),
        _ => {}
    }
    names.join(", ")
}
