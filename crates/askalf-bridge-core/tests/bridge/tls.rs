//! TLS on the bridge's own port.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use askalf_bridge_core::{Listener, ServeOptions, ServerTls, TlsError, TransportSecurity, serve};
use axum::Extension;
use axum::routing::get;
use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair, PublicKeyData, date_time_ymd};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

use crate::harness::within;

/// A certificate that signs itself, and its key, as PEM and DER.
struct Identity {
    chain: String,
    key: String,
    root: CertificateDer<'static>,
    fingerprint: String,
}

fn identity(name: &str) -> Identity {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_after = date_time_ymd(2090, 2, 3);
    let signed = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    Identity {
        chain: signed.pem(),
        key: signed.key().serialize_pem(),
        root: signed.der().clone(),
        fingerprint: Sha256::digest(signed.key().subject_public_key_info())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    }
}

/// A bridge's server whose answer is what a request says about its security.
async fn start(identity: &Identity, options: ServeOptions) -> (SocketAddr, ServerTls) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let tls = ServerTls::from_pem(identity.chain.as_bytes(), identity.key.as_bytes()).unwrap();
    let security = |Extension(security): Extension<TransportSecurity>| async move { format!("{security:?}") };
    let listener = Listener::Tls {
        listener,
        tls: tls.clone(),
    };
    let router = axum::Router::new().route("/", get(security));
    tokio::spawn(serve(listener, router, options, pending()));
    (addr, tls)
}

async fn connect(addr: SocketAddr, trusted: &Identity) -> std::io::Result<TlsStream<TcpStream>> {
    connect_with(addr, trusted, &[&version::TLS12, &version::TLS13]).await
}

async fn connect_with(
    addr: SocketAddr,
    trusted: &Identity,
    versions: &[&'static tokio_rustls::rustls::SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.root.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(addr).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    within(
        "the handshake",
        connector.connect("localhost".try_into().unwrap(), stream),
    )
    .await
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

async fn ask(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> String {
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    answer
}

#[tokio::test]
async fn requests_by_either_version_of_tls_are_answered_and_known_as_such() {
    let identity = identity("bridge");
    let (addr, _) = start(&identity, ServeOptions::default()).await;
    for versions in [[&version::TLS12], [&version::TLS13]] {
        let stream = connect_with(addr, &identity, &versions).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let answer = ask(stream).await;
        assert!(answer.ends_with("\r\n\r\nTls"), "{answer}");
    }
}

#[tokio::test]
async fn plain_http_is_told_to_speak_tls() {
    let (addr, _) = start(&identity("bridge"), ServeOptions::default()).await;
    let answer = ask(TcpStream::connect(addr).await.unwrap()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\nThis port speaks TLS: use an https:// or a wss:// URL\n"),
        "{answer}"
    );
    let length = answer.split("\r\n\r\n").nth(1).unwrap().len();
    assert!(
        answer.contains(&format!("Content-Length: {length}\r\n")),
        "{answer}"
    );
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_cut_off() {
    let options = ServeOptions {
        handshake_timeout: Duration::from_millis(50),
        ..ServeOptions::default()
    };
    let (addr, _) = start(&identity("bridge"), options).await;
    let mut silent = TcpStream::connect(addr).await.unwrap();
    let mut rest = Vec::new();
    let _reset = within("the end", silent.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn slow_handshakes_keep_nobody_out() {
    let identity = identity("bridge");
    let options = ServeOptions {
        max_handshakes: 2,
        max_connections: 3,
        ..ServeOptions::default()
    };
    let (addr, _) = start(&identity, options).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(&[0x16]).await.unwrap();
        slow.push(stream);
    }
    for _ in 0..4 {
        let answer = ask(connect(addr, &identity).await.unwrap()).await;
        assert!(answer.ends_with("\r\n\r\nTls"), "{answer}");
    }
    let mut rest = Vec::new();
    let _reset = within("the oldest's end", slow[0].read_to_end(&mut rest)).await;
}

#[tokio::test]
async fn another_certificate_counts_from_the_next_handshake_and_open_connections_stay() {
    let (first, second) = (identity("first"), identity("second"));
    let (addr, tls) = start(&first, ServeOptions::default()).await;
    let open = connect(addr, &first).await.unwrap();
    tls.replace(second.chain.as_bytes(), second.key.as_bytes())
        .unwrap();
    assert!(connect(addr, &first).await.is_err());
    ask(connect(addr, &second).await.unwrap()).await;
    assert!(ask(open).await.ends_with("Tls"));

    let refused = tls.replace(first.chain.as_bytes(), second.key.as_bytes());
    assert_eq!(refused, Err(TlsError::Mismatch));
    ask(connect(addr, &second).await.unwrap()).await;
}

#[test]
fn what_cannot_be_served_is_named() {
    let Identity {
        chain,
        key,
        fingerprint,
        ..
    } = identity("bridge");
    let torn = chain.replace('M', "N");
    for (chain, key, id) in [
        ("", &*key, "tls-no-certificate"),
        (&key, &key, "tls-no-certificate"),
        (&torn, &key, "tls-bad-certificate"),
        (&chain, "", "tls-no-key"),
        (&chain, &chain, "tls-no-key"),
        (
            &chain,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "tls-bad-key",
        ),
        (&chain, &identity("other").key, "tls-key-mismatch"),
    ] {
        let error = ServerTls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(error.id(), id);
    }
    let tls = ServerTls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!(tls.key_fingerprint(), fingerprint);
    assert_eq!(tls.expires_at().0, 3_789_763_200_000, "2090-02-03");
}
