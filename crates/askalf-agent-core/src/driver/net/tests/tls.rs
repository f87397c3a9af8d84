use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::authority::{Authority, Identity, expired, not_yet_valid, route};
use super::peers::{listen, tls_echo};
use super::{dial, dial_with, echoes, told};
use crate::{Route, Timings};

async fn start(identity: &Identity) -> String {
    format!("wss://localhost:{}", tls_echo(identity).await.port())
}

#[tokio::test]
async fn a_certificate_of_a_trusted_issuer_is_good_for_its_name() {
    let ca = Authority::new();
    echoes(
        dial(&start(&ca.issue("localhost")).await, &ca.route())
            .await
            .unwrap(),
    )
    .await;
    let by_address = tls_echo(&ca.issue("127.0.0.1")).await;
    echoes(dial(&format!("wss://{by_address}"), &ca.route()).await.unwrap()).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told_apart_and_its_fingerprint_named() {
    let ca = Authority::new();
    for (identity, id, text) in [
        (
            ca.issue_with("localhost", expired),
            "certificate-expired",
            "it has expired",
        ),
        (
            ca.issue_with("localhost", not_yet_valid),
            "certificate-not-valid-yet",
            "it is not valid yet",
        ),
        (
            Authority::new().issue("localhost"),
            "certificate-unknown-issuer",
            "nothing that this device trusts has issued it",
        ),
        (
            ca.issue("bridge.example.org"),
            "certificate-wrong-name",
            "it is not for localhost, but for bridge.example.org",
        ),
    ] {
        let told = told(dial(&start(&identity).await, &ca.route()).await);
        assert_eq!(told.0, id);
        let wanted = format!(
            "the bridge's certificate is not the expected one: {text}; its key has the fingerprint {}",
            identity.pin
        );
        assert_eq!(told.1, wanted);
        assert!(!told.2.is_empty());
    }
}

#[tokio::test]
async fn a_pin_is_demanded_beside_all_else_and_replaces_nothing() {
    let ca = Authority::new();
    let (identity, other) = (ca.issue("localhost"), ca.issue("localhost"));
    let url = start(&identity).await;
    let pinned = |pins: &[_]| Route {
        pins: pins.to_vec(),
        ..ca.route()
    };
    echoes(dial(&url, &pinned(&[identity.pin])).await.unwrap()).await;
    echoes(dial(&url, &pinned(&[other.pin, identity.pin])).await.unwrap()).await;

    let refused = told(dial(&url, &pinned(&[other.pin])).await);
    assert_eq!(refused.0, "certificate-not-pinned");
    assert!(
        refused.1.contains(&format!("pinned: {}", other.pin)),
        "{}",
        refused.1
    );
    assert!(
        refused.1.contains(&format!("fingerprint {}", identity.pin)),
        "{}",
        refused.1
    );
    assert!(refused.2.contains("captive portal"), "{}", refused.2);

    for bad in [
        ca.issue_with("localhost", expired),
        Authority::new().issue("localhost"),
    ] {
        let told = told(dial(&start(&bad).await, &pinned(&[bad.pin])).await);
        assert!(
            ["certificate-expired", "certificate-unknown-issuer"].contains(&&*told.0),
            "{}",
            told.0
        );
    }
}

#[tokio::test]
async fn a_certificate_that_signs_itself_is_good_where_a_person_named_it() {
    let identity = Identity::self_signed(|_| {});
    let url = start(&identity).await;
    echoes(dial(&url, &route(&identity.pem)).await.unwrap()).await;
    let told_by_ip = told(dial(&url.replace("localhost", "127.0.0.1"), &route(&identity.pem)).await);
    assert_eq!(told_by_ip.0, "certificate-wrong-name");

    // Of the same name, but not the same.
    let other = Identity::self_signed(|_| {});
    assert!(dial(&url, &route(&other.pem)).await.is_err());

    let old = Identity::self_signed(expired);
    let told = told(dial(&start(&old).await, &route(&old.pem)).await);
    assert_eq!(told.0, "certificate-expired");
}

#[tokio::test]
async fn a_named_ca_counts_beside_the_systems_roots() {
    fn one_root() -> Vec<Vec<u8>> {
        vec![
            Identity::self_signed(|_| {}).chain[0].to_vec(),
            b"no certificate".to_vec(),
        ]
    }
    let ca = Authority::new();
    let url = start(&ca.issue("localhost")).await;
    let both = Route {
        platform_roots: Some(one_root),
        ..ca.route()
    };
    echoes(dial(&url, &both).await.unwrap()).await;
    let system = Route {
        platform_roots: Some(one_root),
        ..Route::default()
    };
    assert_eq!(told(dial(&url, &system).await).0, "certificate-unknown-issuer");
    let none = Route {
        platform_roots: Some(Vec::new),
        ..Route::default()
    };
    assert_eq!(told(dial(&url, &none).await).0, "no-root-certificates");
}

#[tokio::test]
async fn what_does_not_speak_tls_is_said_not_to() {
    let ca = Authority::new();
    let plain = listen(|mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        super::peers::echo(stream).await;
    })
    .await;
    let plain = told(dial(&format!("wss://localhost:{}", plain.port()), &ca.route()).await);
    assert_eq!(plain.0, "not-tls");

    let closing = listen(|stream| async move { drop(stream) }).await;
    let closing = told(dial(&format!("wss://localhost:{}", closing.port()), &ca.route()).await);
    assert_eq!(closing.0, "tls-handshake");
    assert!(!closing.1.contains("os error"), "{}", closing.1);
}

#[tokio::test]
async fn a_peer_that_never_finishes_the_handshake_is_given_up() {
    let ca = Authority::new();
    let silent = listen(|stream| async move {
        super::peers::echo(tokio::io::join(stream, tokio::io::sink())).await;
    })
    .await;
    let timings = Timings {
        handshake: Duration::from_millis(50),
        ..Timings::default()
    };
    let told = told(
        dial_with(
            &format!("wss://localhost:{}", silent.port()),
            &ca.route(),
            &timings,
        )
        .await,
    );
    assert_eq!(told.0, "no-answer");
    assert!(
        told.1.starts_with("the bridge did not finish the TLS handshake"),
        "{}",
        told.1
    );
}
