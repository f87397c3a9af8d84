//! A bridge on a free port, and clients for it. Every wait has an end, so that a test fails instead of hanging.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use askalf_bridge_auth::{Scopes, UnixMillis, mint_key};
use askalf_bridge_core::api::{DispatchEvent, ExecutionView};
use askalf_bridge_core::stores::{DeviceStatus, NewKey, Principal, Store};
use askalf_bridge_core::{Bridge, BridgeOptions, ServeOptions, Transport, router, serve};
use askalf_store::{OpenOptions, SqliteStore};
use axum::body::{Body, BodyDataStream};
use futures_util::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tower::ServiceExt;

pub(crate) const NOW: i64 = 1_795_505_580_000;
pub(crate) const ADMIN: Principal = Principal::LocalAdmin { uid: 0 };

/// ann and bob are active, sue is suspended; gil is of another tenant.
pub(crate) const SEED: &str = "
insert into tenants (id, name, slug) values ('acme', 'Acme', 'acme'), ('globex', 'Globex', 'globex');
insert into users (id, tenant_id, email, email_normalized, password_hash, status) values
  ('ann', 'acme', 'ann@acme.test', 'ann@acme.test', '', 'active'),
  ('bob', 'acme', 'bob@acme.test', 'bob@acme.test', '', 'active'),
  ('sue', 'acme', 'sue@acme.test', 'sue@acme.test', '', 'suspended'),
  ('gil', 'globex', 'gil@globex.test', 'gil@globex.test', '', 'active');
";

pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| panic!("waited too long for {what}"))
}

pub(crate) fn memory_store() -> Arc<dyn Store> {
    Arc::new(SqliteStore::open_in_memory(&OpenOptions::new(UnixMillis(NOW)), SEED).unwrap())
}

pub(crate) struct TestBridge {
    pub(crate) bridge: Bridge,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) addr: SocketAddr,
    pub(crate) server: JoinHandle<()>,
}

impl TestBridge {
    pub(crate) async fn start() -> Self {
        Self::with(memory_store(), BridgeOptions::default()).await
    }

    pub(crate) async fn with(store: Arc<dyn Store>, options: BridgeOptions) -> Self {
        let bridge = unopened(&store, options);
        bridge.start().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = router(bridge.clone(), Transport::Tcp);
        let down = bridge.shutting_down();
        let server = tokio::spawn(serve(listener, router, ServeOptions::default(), down));
        Self {
            bridge,
            store,
            addr,
            server,
        }
    }

    /// Goes down as a signal would make it.
    pub(crate) async fn stop(self) {
        within("the shutdown", self.bridge.shutdown()).await;
        within("the server", self.server).await.unwrap();
    }

    /// Goes down as SIGKILL would make it: nothing is told to anybody.
    pub(crate) fn kill(self) -> Arc<dyn Store> {
        self.server.abort();
        self.store
    }

    pub(crate) async fn mint(&self, user: &str, scopes: &[&str]) -> MintedTestKey {
        mint(&*self.store, user, scopes, None).await
    }

    pub(crate) async fn try_connect(&self, token: Option<&str>) -> Client {
        let header = token.map(|token| ("authorization", format!("Bearer {token}")));
        self.connect_with("", header.as_slice()).await.0
    }

    pub(crate) async fn connect_with(&self, query: &str, headers: &[(&str, String)]) -> (Client, Response) {
        self.connect_from("127.0.0.1", query, headers).await
    }

    /// Connects from an address of this machine.
    pub(crate) async fn connect_from(
        &self,
        address: &str,
        query: &str,
        headers: &[(&str, String)],
    ) -> (Client, Response) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
        let stream = socket.connect(self.addr).await.unwrap();
        let url = format!("ws://{}/ws/agent-bridge{query}", self.addr);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            let name = http::HeaderName::try_from(*name).unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let handshake = tokio_tungstenite::client_async(request, stream);
        let (socket, response) = within("the handshake", handshake).await.unwrap();
        (Client { socket }, response)
    }

    /// Connects and registers as an agent of today.
    pub(crate) async fn register(&self, key: &MintedTestKey, name: &str) -> (Client, String) {
        self.register_as(key, modern(name, json!([]))).await
    }

    pub(crate) async fn register_as(&self, key: &MintedTestKey, payload: Value) -> (Client, String) {
        let mut client = self.try_connect(Some(&key.token)).await;
        client.send("device:register", payload).await;
        let registered = client.expect("device:registered").await;
        let scan = client.expect("capabilities:scan").await;
        assert_eq!(scan["deviceId"], registered["deviceId"]);
        (client, registered["deviceId"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        call(
            router(self.bridge.clone(), Transport::Local { uid: 0 }),
            None,
            method,
            path,
            body,
        )
        .await
    }

    pub(crate) async fn call_over_tcp(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        call(
            router(self.bridge.clone(), Transport::Tcp),
            token,
            method,
            path,
            body,
        )
        .await
    }

    /// Dispatches a shell task and follows it.
    pub(crate) async fn dispatch(&self, device: &str, input: &str) -> Events {
        let body = json!({ "device": device, "input": input });
        let router = router(self.bridge.clone(), Transport::Local { uid: 0 });
        let request = request(None, "POST", "/api/v1/executions", body);
        let response = within("the dispatch", router.oneshot(request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        let mut events = Events {
            id: String::new(),
            body: response.into_body().into_data_stream(),
        };
        let DispatchEvent::Accepted { id, device_id } = events.next().await.unwrap() else {
            panic!("the first event is not accepted");
        };
        assert_eq!(
            self.execution(&id).await.device_id.as_deref(),
            Some(device_id.as_str())
        );
        events.id = id;
        events
    }

    pub(crate) async fn execution(&self, id: &str) -> ExecutionView {
        let (status, view) = self
            .call("GET", &format!("/api/v1/executions/{id}"), Value::Null)
            .await;
        assert_eq!(status, StatusCode::OK, "{view}");
        serde_json::from_value(view).unwrap()
    }

    pub(crate) async fn status_of(&self, device_id: &str) -> DeviceStatus {
        self.store.find_devices(&ADMIN, device_id).await.unwrap()[0].status
    }

    /// Waits until a question to the store has the answer wanted. The store tells nobody when it changes; so it is
    /// asked again and again.
    pub(crate) async fn until<T: PartialEq, F: Future<Output = T>>(
        &self,
        what: &str,
        wanted: T,
        ask: impl Fn() -> F,
    ) {
        within(what, async {
            while ask().await != wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

pub(crate) fn unopened(store: &Arc<dyn Store>, options: BridgeOptions) -> Bridge {
    let ticks = AtomicI64::new(NOW);
    let clock = move || UnixMillis(ticks.fetch_add(1, Ordering::Relaxed));
    Bridge::new(Arc::clone(store), options, Arc::new(clock))
}

/// A registration of an agent of today that holds `executions`.
pub(crate) fn modern(name: &str, executions: Value) -> Value {
    json!({
        "deviceName": name, "hostname": "host", "os": "linux", "capabilities": { "shell": true },
        "maxConcurrent": 2, "version": "0.1.0", "protocol": 1,
        "features": ["execution-ack", "resume", "rotation"], "executions": executions,
    })
}

/// A registration of an agent that remembers what it has taken, and holds `executions`.
pub(crate) fn durable(name: &str, executions: Value) -> Value {
    let mut registration = modern(name, executions);
    registration["features"] = json!(["execution-ack", "resume", "redelivery", "audit-anchor"]);
    registration
}

/// A registration of an agent of the older generation.
pub(crate) fn old(name: &str) -> Value {
    json!({ "deviceName": name, "hostname": "host", "os": "linux", "capabilities": { "shell": true } })
}

pub(crate) struct MintedTestKey {
    pub(crate) id: String,
    pub(crate) token: String,
}

pub(crate) async fn mint(
    store: &dyn Store,
    user: &str,
    scopes: &[&str],
    expires_at: Option<UnixMillis>,
) -> MintedTestKey {
    let key = mint_key().unwrap();
    let id = format!("key_{}", &key.token.expose_secret()[8..]);
    let row = NewKey {
        id: id.clone(),
        user_id: Some(user.to_owned()),
        name: "bench".to_owned(),
        hash: key.hash,
        prefix: key.prefix,
        preview: key.preview,
        scopes: Scopes::parse(scopes),
        device_id: None,
        expires_at,
        created_at: UnixMillis(NOW),
    };
    store.add_key(&ADMIN, row).await.unwrap();
    MintedTestKey {
        id,
        token: key.token.expose_secret().to_owned(),
    }
}

fn request(token: Option<&str>, method: &str, path: &str, body: Value) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = if body.is_null() {
        Body::empty()
    } else {
        Body::from(body.to_string())
    };
    request.body(body).unwrap()
}

pub(crate) async fn call(
    router: axum::Router,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: Value,
) -> (StatusCode, Value) {
    let response = within(path, router.oneshot(request(token, method, path, body)))
        .await
        .unwrap();
    let status = response.status();
    let body = within("the body", response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    (
        status,
        serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{method} {path} is no JSON: {body:?}")),
    )
}

/// The lines of a dispatch.
pub(crate) struct Events {
    pub(crate) id: String,
    body: BodyDataStream,
}

impl Events {
    pub(crate) async fn next(&mut self) -> Option<DispatchEvent> {
        let line = within("an event", self.body.next()).await?.unwrap();
        assert_eq!(line.last(), Some(&b'\n'));
        Some(serde_json::from_slice(&line).unwrap())
    }

    /// Reads on to the end, and answers how the execution ended.
    pub(crate) async fn ended(mut self) -> ExecutionView {
        let mut last = None;
        while let Some(event) = self.next().await {
            last = Some(event);
        }
        match last {
            Some(DispatchEvent::Ended { execution }) => *execution,
            other => panic!("the last event is not ended: {other:?}"),
        }
    }
}

/// One socket of a device.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
}

impl Client {
    pub(crate) async fn send(&mut self, kind: &str, payload: Value) {
        self.send_raw(Message::text(
            json!({ "type": kind, "payload": payload }).to_string(),
        ))
        .await;
    }

    pub(crate) async fn send_raw(&mut self, message: Message) {
        within("a frame to be sent", self.socket.send(message))
            .await
            .unwrap();
    }

    /// The next message: its type and its payload.
    pub(crate) async fn next(&mut self) -> (String, Value) {
        match within("a message", self.socket.next()).await {
            Some(Ok(Message::Text(text))) => {
                let mut message: Value = serde_json::from_str(&text).unwrap();
                (
                    message["type"].as_str().unwrap().to_owned(),
                    message["payload"].take(),
                )
            }
            other => panic!("not a message: {other:?}"),
        }
    }

    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        let (got, payload) = self.next().await;
        assert_eq!(got, kind, "{payload}");
        payload
    }

    pub(crate) async fn expect_error(&mut self, code: &str) -> Value {
        let payload = self.expect("device:error").await;
        assert_eq!(payload["code"], code, "{payload}");
        payload
    }

    /// The close that must come next: its code and its text.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        match within("the close", self.socket.next()).await {
            Some(Ok(Message::Close(Some(frame)))) => (frame.code.into(), frame.reason.as_str().to_owned()),
            other => panic!("not a close: {other:?}"),
        }
    }

    /// Shows that the session is alive and has answered everything before: an unknown type gets its answer.
    pub(crate) async fn is_alive(&mut self) {
        self.send("no:such", json!({})).await;
        self.expect_error("UNKNOWN_TYPE").await;
    }

    /// Goes as a killed process does: without a close.
    pub(crate) fn vanish(self) {
        drop(self.socket.into_inner());
    }

    pub(crate) async fn try_send(&mut self, message: Message) -> Result<(), WsError> {
        within("a frame to be sent", self.socket.send(message)).await
    }
}
