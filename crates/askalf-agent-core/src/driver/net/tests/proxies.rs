use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::authority::Authority;
use super::peers::{acceptor, connect_proxy, echo, listen, serve_connect, socks_proxy, tls_echo};
use super::{dial, echoes, told};
use crate::{Proxies, ProxySettings, Route};

/// A bridge whose name no resolver knows: only by the proxy it can be reached.
const URL: &str = "wss://bridge.invalid:3005";

fn through(proxy: &str, route: Route) -> Route {
    let settings = ProxySettings {
        https: proxy.to_owned(),
        ..ProxySettings::default()
    };
    Route {
        proxies: Proxies::new(&settings).unwrap(),
        ..route
    }
}

async fn bridge() -> (Authority, SocketAddr) {
    let ca = Authority::new();
    let address = tls_echo(&ca.issue("bridge.invalid")).await;
    (ca, address)
}

const OK: &str = "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n";

#[tokio::test]
async fn an_http_proxy_leads_to_the_bridge_by_its_name() {
    let (ca, bridge) = bridge().await;
    let (proxy, mut heads) = connect_proxy(OK, bridge).await;
    let route = through(&format!("http://me:s%40cret@{proxy}"), ca.route());
    echoes(dial(URL, &route).await.unwrap()).await;
    let head = heads.recv().await.unwrap().to_lowercase();
    assert!(
        head.starts_with("connect bridge.invalid:3005 http/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nhost: bridge.invalid:3005\r\n"), "{head}");
    // base64 of me:s@cret, in lower case.
    assert!(
        head.contains("\r\nproxy-authorization: basic bwu6c0bjcmv0\r\n"),
        "{head}"
    );

    let other = Authority::new();
    let told = told(dial(URL, &through(&format!("http://{proxy}"), other.route())).await);
    assert_eq!(
        told.0, "certificate-unknown-issuer",
        "the bridge's certificate is checked behind a proxy too"
    );
}

#[tokio::test]
async fn plain_text_goes_through_a_proxy_too() {
    let echoing = listen(echo).await;
    let (proxy, mut heads) = connect_proxy(OK, echoing).await;
    let settings = ProxySettings {
        all: proxy.to_string(),
        ..ProxySettings::default()
    };
    let route = Route {
        proxies: Proxies::new(&settings).unwrap(),
        ..Route::default()
    };
    echoes(dial("ws://bridge.invalid", &route).await.unwrap()).await;
    assert!(
        heads
            .recv()
            .await
            .unwrap()
            .starts_with("CONNECT bridge.invalid:80 ")
    );
}

#[tokio::test]
async fn a_proxy_that_speaks_tls_shows_a_certificate_of_its_own() {
    let (ca, bridge) = bridge().await;
    let acceptor = acceptor(&ca.issue("localhost"));
    let (heads, _told) = mpsc::unbounded_channel();
    let proxy = listen(move |stream| {
        let (acceptor, heads) = (acceptor.clone(), heads.clone());
        async move { serve_connect(acceptor.accept(stream).await.unwrap(), OK, bridge, heads).await }
    })
    .await;
    let route = through(&format!("https://localhost:{}", proxy.port()), ca.route());
    echoes(dial(URL, &route).await.unwrap()).await;
}

#[tokio::test]
async fn what_a_proxy_refuses_is_its_own_reason() {
    let (ca, bridge) = bridge().await;
    for (answer, id, text) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nServer: squid\r\nContent-Length: 0\r\n\r\n",
            "proxy-authentication",
            "a proxy on the way demands a login: it answered 407 (it calls itself squid)",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
            "proxy-refused",
            "does not lead to the bridge: it answered 403",
        ),
        (
            "SSH-2.0-OpenSSH\r\n",
            "proxy-refused",
            "does not lead to the bridge",
        ),
        ("", "proxy-refused", "does not lead to the bridge"),
    ] {
        let (proxy, _heads) = connect_proxy(answer, bridge).await;
        let told = told(dial(URL, &through(&format!("http://me:hunter2@{proxy}"), ca.route())).await);
        assert_eq!(told.0, id, "{answer}");
        assert!(told.1.contains(text), "{}", told.1);
        assert!(!told.1.contains("hunter2") && !told.2.is_empty());
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    for scheme in ["http", "socks5"] {
        let told = told(
            dial(
                URL,
                &through(&format!("{scheme}://{address}"), Authority::new().route()),
            )
            .await,
        );
        assert_eq!(told.0, "proxy-unreachable");
        let port = address.port();
        assert!(
            told.1.starts_with(&format!(
                "the proxy 127.0.0.1 port {port} cannot be used: 127.0.0.1 port {port}: "
            )),
            "{}",
            told.1
        );
    }
}

#[tokio::test]
async fn a_socks_proxy_leads_to_the_bridge_by_its_name() {
    let (ca, bridge) = bridge().await;
    for (login, user) in [(None, ""), (Some(("me", "s@cret")), "me:s%40cret@")] {
        let (proxy, mut names) = socks_proxy(login, 0, bridge).await;
        for scheme in ["socks5", "socks5h"] {
            let route = through(&format!("{scheme}://{user}{proxy}"), ca.route());
            echoes(dial(URL, &route).await.unwrap()).await;
            assert_eq!(names.recv().await.unwrap(), "bridge.invalid:3005");
        }
    }
}

#[tokio::test]
async fn what_a_socks_proxy_refuses_is_its_own_reason() {
    let (ca, bridge) = bridge().await;
    for (login, user, reply) in [
        (None, "", 2),
        (Some(("me", "secret")), "", 0),
        (Some(("me", "secret")), "me:wrong@", 0),
    ] {
        let (proxy, _names) = socks_proxy(login, reply, bridge).await;
        let told = told(dial(URL, &through(&format!("socks5://{user}{proxy}"), ca.route())).await);
        assert_eq!(told.0, "proxy-refused");
        assert!(told.1.contains("does not lead to the bridge: "), "{}", told.1);
    }
}
