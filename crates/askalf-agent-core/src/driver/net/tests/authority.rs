//! Certificates of all kinds.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData, date_time_ymd,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{CaCertificates, Route, TlsPin};

/// A CA of its own.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a server shows.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) pem: String,
    pub(super) pin: TlsPin,
    key: KeyPair,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = params("the CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Trust in this CA and in nothing else.
    pub(super) fn route(&self) -> Route {
        route(&self.0.pem())
    }

    pub(super) fn issue(&self, name: &str) -> Identity {
        self.issue_with(name, |_| {})
    }

    pub(super) fn issue_with(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity::new(certificate.der().clone(), certificate.pem(), key)
    }
}

impl Identity {
    fn new(certificate: CertificateDer<'static>, pem: String, key: KeyPair) -> Self {
        Self {
            chain: vec![certificate],
            pem,
            pin: TlsPin::of_key_info(&key.subject_public_key_info()),
            key,
        }
    }

    /// A certificate for `localhost` that signs itself; as `openssl req -x509` makes it, it is a CA.
    pub(super) fn self_signed(change: impl Fn(&mut CertificateParams)) -> Self {
        let mut params = params("itself");
        params.subject_alt_names = CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .subject_alt_names;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self::new(certificate.der().clone(), certificate.pem(), key)
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

pub(super) fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2002, 2, 3);
}

pub(super) fn not_yet_valid(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2999, 1, 1);
}

/// Trust in these certificates and in nothing else.
pub(super) fn route(pem: &str) -> Route {
    Route {
        ca_certificates: CaCertificates::from_pem(pem.as_bytes()).unwrap(),
        ..Route::default()
    }
}
