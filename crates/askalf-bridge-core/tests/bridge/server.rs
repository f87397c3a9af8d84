//! The server itself: raw HTTP, the local socket, the end.

use std::future::pending;

use askalf_bridge_core::stores::DeviceStatus;
use askalf_bridge_core::{ServeOptions, Transport, TransportSecurity, router, serve};
use axum::Extension;
use axum::routing::get;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{ADMIN, TestBridge, within};

async fn ask(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    answer
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const DEVICES: &str = "GET /api/v1/devices HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn health_is_told_to_anybody_and_devices_are_not() {
    let bridge = TestBridge::start().await;
    let answer = ask(TcpStream::connect(bridge.addr).await.unwrap(), HEALTH).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );
    let answer = ask(TcpStream::connect(bridge.addr).await.unwrap(), DEVICES).await;
    assert!(
        answer.starts_with("HTTP/1.1 401 ") && answer.contains("www-authenticate: Bearer"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let bridge = TestBridge::start().await;
    let request = format!(
        "GET /healthz HTTP/1.1\r\nX-Padding: {}\r\n\r\n",
        "x".repeat(64 * 1024)
    );
    let mut stream = TcpStream::connect(bridge.addr).await.unwrap();
    // The server may hang up before it has all.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = within("the answer", stream.read_to_end(&mut answer)).await;
    assert!(!String::from_utf8_lossy(&answer).contains(" 200 "), "{answer:?}");
    ask(TcpStream::connect(bridge.addr).await.unwrap(), HEALTH).await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_local_socket_serves_its_own_user_and_no_other() {
    use askalf_bridge_core::Listener;
    use tokio::net::{UnixListener, UnixStream};

    let bridge = TestBridge::start().await;
    let folder = tempfile::tempdir().unwrap();
    let serve_for = |name: &str, uid| {
        let path = folder.path().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let router = router(bridge.bridge.clone(), Transport::Local { uid });
        let down = bridge.bridge.shutting_down();
        tokio::spawn(serve(
            Listener::Unix { listener, uid },
            router,
            ServeOptions::default(),
            down,
        ));
        path
    };
    let probe = UnixListener::bind(folder.path().join("probe")).unwrap();
    let (own, _) = tokio::join!(UnixStream::connect(folder.path().join("probe")), probe.accept());
    let own = own.unwrap().peer_cred().unwrap().uid();

    let path = serve_for("own", own);
    let answer = ask(UnixStream::connect(&path).await.unwrap(), DEVICES).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("[]"),
        "{answer}"
    );

    let path = serve_for("foreign", own.wrapping_add(1));
    let answer = ask(UnixStream::connect(&path).await.unwrap(), DEVICES).await;
    // Root may use every socket.
    let wanted = if own == 0 {
        "HTTP/1.1 200 "
    } else {
        "HTTP/1.1 403 "
    };
    assert!(answer.starts_with(wanted), "{answer}");
}

#[tokio::test]
async fn a_request_says_what_kept_it_private() {
    let security = |Extension(security): Extension<TransportSecurity>| async move {
        format!("{security:?} {}", security.is_private())
    };
    let router = axum::Router::new().route("/healthz", get(security));
    let tcp = TcpListener::bind("[::1]:0").await.unwrap();
    let addr = tcp.local_addr().unwrap();
    tokio::spawn(serve(tcp, router.clone(), ServeOptions::default(), pending()));
    let answer = ask(TcpStream::connect(addr).await.unwrap(), HEALTH).await;
    assert!(answer.ends_with("\r\n\r\nLoopback true"), "{answer}");

    assert!(!TransportSecurity::Plain.is_private());
    #[cfg(unix)]
    over_a_local_socket(router).await;
}

#[cfg(unix)]
async fn over_a_local_socket(router: axum::Router) {
    use std::os::unix::fs::MetadataExt;

    use askalf_bridge_core::Listener;
    use tokio::net::{UnixListener, UnixStream};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    let uid = folder.path().metadata().unwrap().uid();
    tokio::spawn(serve(
        Listener::Unix { listener, uid },
        router,
        ServeOptions::default(),
        pending(),
    ));
    let answer = ask(UnixStream::connect(&path).await.unwrap(), HEALTH).await;
    assert!(answer.ends_with("\r\n\r\nLocalSocket true"), "{answer}");
}

#[tokio::test]
async fn a_shutdown_tells_every_device_and_leaves_them_offline() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, id) = bridge.register(&key, "laptop").await;
    let mut idle = bridge.try_connect(Some(&key.token)).await;
    idle.is_alive().await;
    let mut events = bridge.dispatch("laptop", "sleep 99").await;
    client.expect("task:dispatch").await;

    let (store, addr) = (bridge.store.clone(), bridge.addr);
    let goodbyes = async {
        for client in [&mut client, &mut idle] {
            client.expect_error("SERVER_SHUTDOWN").await;
            assert_eq!(client.closed().await, (1001, "Server shutting down".to_owned()));
        }
        assert_eq!(
            events.next().await,
            None,
            "a stream ends without an end that was not recorded"
        );
    };
    tokio::join!(goodbyes, bridge.stop());
    let device = &store.find_devices(&ADMIN, &id).await.unwrap()[0];
    assert_eq!(device.status, DeviceStatus::Offline);
    assert!(TcpStream::connect(addr).await.is_err(), "the port is free");
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_and_a_session_counts_until_it_ends() {
    let bridge = TestBridge::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let options = ServeOptions {
        max_connections: 1,
        ..ServeOptions::default()
    };
    let narrow = router(bridge.bridge.clone(), Transport::Tcp);
    tokio::spawn(serve(listener, narrow, options, bridge.bridge.shutting_down()));

    let key = bridge.mint("ann", &["device"]).await;
    let narrow = TestBridge { addr, ..bridge };
    let (client, _) = narrow.register(&key, "laptop").await;
    let second = tokio::spawn(async move { ask(TcpStream::connect(addr).await.unwrap(), HEALTH).await });
    let mut other = narrow.call("GET", "/api/v1/devices", json!(null)).await.1;
    assert_eq!(other[0]["status"].take(), "online");
    assert!(!second.is_finished(), "there is no place while the session lives");
    client.vanish();
    assert!(
        within("a place", second)
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200 ")
    );
}
