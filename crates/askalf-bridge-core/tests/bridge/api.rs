//! The HTTP API: who may ask, and answers that programs can read.

use askalf_bridge_core::stores::DeviceStatus;
use askalf_bridge_core::{BridgeOptions, Transport, router};
use axum::body::Body;
use futures_util::StreamExt;
use http::Request;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::faulty_store::FaultyStore;
use crate::harness::{ADMIN, TestBridge, call, memory_store, unopened};

#[tokio::test]
async fn only_an_operators_key_gets_in_over_tcp() {
    let bridge = TestBridge::start().await;
    let device = bridge.mint("ann", &["device", "execute", "read", "write"]).await;
    let admin = bridge.mint("ann", &["admin"]).await;
    let suspended = bridge.mint("sue", &["admin"]).await;
    for (token, status, id) in [
        (None, 401, "key-missing"),
        (
            Some("sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG"),
            401,
            "key-unknown",
        ),
        (Some(device.token.as_str()), 403, "key-scope-missing"),
        (Some(suspended.token.as_str()), 403, "key-user-inactive"),
    ] {
        for path in [
            "/api/v1/devices",
            "/api/v1/keys",
            "/api/v1/executions",
            "/api/v1/nothing",
        ] {
            let (got, error) = bridge.call_over_tcp(token, "GET", path, Value::Null).await;
            assert_eq!((got.as_u16(), error["id"].as_str()), (status, Some(id)), "{path}");
        }
        let body = json!({ "name": "mine", "scopes": ["admin"] });
        let (got, _) = bridge.call_over_tcp(token, "POST", "/api/v1/keys", body).await;
        assert_eq!(got.as_u16(), status);
    }
    let (got, _) = bridge
        .call_over_tcp(Some(&admin.token), "GET", "/api/v1/devices", Value::Null)
        .await;
    assert_eq!(got, 200);
    let (_, keys) = bridge.call("GET", "/api/v1/keys", Value::Null).await;
    assert_eq!(keys.as_array().unwrap().len(), 3, "none was minted");
}

#[tokio::test]
async fn a_store_that_fails_refuses_nobody_for_good() {
    let store = FaultyStore::over(memory_store());
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let admin = bridge.mint("ann", &["admin"]).await;
    store.fail(true);
    let ask = async |token| {
        bridge
            .call_over_tcp(token, "GET", "/api/v1/devices", Value::Null)
            .await
    };
    let (status, error) = ask(Some(admin.token.as_str())).await;
    assert_eq!(
        (status.as_u16(), error["id"].as_str()),
        (503, Some("key-check-unavailable"))
    );
    let (status, error) = bridge.call("GET", "/api/v1/devices", Value::Null).await;
    assert_eq!(
        (status.as_u16(), error["id"].as_str()),
        (503, Some("store-unavailable"))
    );
    assert_eq!(
        error["message"],
        "the database is not available: the disk is full"
    );
    store.fail(false);
    assert_eq!(ask(Some(admin.token.as_str())).await.0, 200);
}

#[tokio::test]
async fn a_minted_key_registers_a_device_until_it_is_revoked() {
    let bridge = TestBridge::start().await;
    let body = json!({ "name": "laptop", "user": "ann" });
    let (status, minted) = bridge.call("POST", "/api/v1/keys", body).await;
    assert_eq!(status, 201, "{minted}");
    let id = minted["id"].as_str().unwrap();
    let token = minted["key"].as_str().unwrap();
    assert!(id.starts_with("key_") && id.len() == 30);
    assert_eq!(minted["key_prefix"], &token[..12]);

    let (_, keys) = bridge.call("GET", "/api/v1/keys", Value::Null).await;
    assert_eq!(keys[0]["scopes"], json!(["device"]));
    assert_eq!(keys[0]["status"], "active");
    assert!(!keys.to_string().contains(token));

    let mut client = bridge.try_connect(Some(token)).await;
    client
        .send("device:register", json!({ "deviceName": "laptop" }))
        .await;
    client.expect("device:registered").await;

    let revoke = format!("/api/v1/keys/{id}/revoke");
    let (status, view) = bridge.call("POST", &revoke, Value::Null).await;
    assert_eq!((status.as_u16(), view["status"].as_str()), (200, Some("revoked")));
    let (_, again) = bridge.call("POST", &revoke, Value::Null).await;
    assert_eq!(again["revoked_at"], view["revoked_at"]);
    let (status, error) = bridge
        .call("POST", "/api/v1/keys/key_none/revoke", Value::Null)
        .await;
    assert_eq!((status.as_u16(), error["id"].as_str()), (404, Some("not-found")));
}

#[tokio::test]
async fn an_operator_mints_for_its_own_user_only() {
    let bridge = TestBridge::start().await;
    let admin = bridge.mint("ann", &["admin"]).await;
    let mint = async |body| {
        bridge
            .call_over_tcp(Some(&admin.token), "POST", "/api/v1/keys", body)
            .await
    };
    let (status, error) = mint(json!({ "name": "x", "user": "bob" })).await;
    assert_eq!((status.as_u16(), error["id"].as_str()), (403, Some("other-user")));
    let (status, _) = mint(json!({ "name": "x" })).await;
    assert_eq!(status, 201);
    let (_, keys) = bridge.call("GET", "/api/v1/keys?limit=1", Value::Null).await;
    assert_eq!(keys[0]["user_id"], "ann");
}

#[tokio::test]
async fn requests_without_sense_are_refused_in_json() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (_client, _) = bridge.register(&key, "laptop").await;
    let large = "x".repeat(1024 * 1024);
    // The request is just small enough; the frame, which names the execution too, is not.
    let snug = "x".repeat(1024 * 1024 - 60);
    let task = |fields: Value| {
        let mut task = json!({ "device": "laptop", "input": "true" });
        task.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        task
    };
    for (method, path, body, status, id) in [
        ("GET", "/nothing", Value::Null, 404, "no-such-route"),
        ("GET", "/api/v1/nothing", Value::Null, 404, "no-such-route"),
        ("DELETE", "/api/v1/keys", Value::Null, 405, "method-not-allowed"),
        ("POST", "/healthz", Value::Null, 405, "method-not-allowed"),
        ("GET", "/ws/agent-bridge", Value::Null, 426, "upgrade-required"),
        ("POST", "/api/v1/keys", Value::Null, 400, "invalid-json"),
        ("POST", "/api/v1/keys", json!({ "name": 7 }), 400, "invalid-json"),
        (
            "POST",
            "/api/v1/keys",
            json!({ "name": " " }),
            400,
            "invalid-request",
        ),
        (
            "POST",
            "/api/v1/keys",
            json!({ "name": "x", "scopes": ["Admin"] }),
            400,
            "invalid-request",
        ),
        ("POST", "/api/v1/keys", json!({ "name": "x" }), 400, "user"),
        (
            "POST",
            "/api/v1/keys",
            json!({ "name": "x", "user": "nobody" }),
            400,
            "user",
        ),
        (
            "GET",
            "/api/v1/devices?limit=many",
            Value::Null,
            400,
            "invalid-request",
        ),
        (
            "GET",
            "/api/v1/executions/exec_none",
            Value::Null,
            404,
            "not-found",
        ),
        (
            "GET",
            "/api/v1/executions/%ff",
            Value::Null,
            400,
            "invalid-request",
        ),
        (
            "GET",
            "/api/v1/executions?device=nobody",
            Value::Null,
            404,
            "device-unknown",
        ),
        (
            "POST",
            "/api/v1/executions",
            json!({ "device": "laptop" }),
            400,
            "invalid-json",
        ),
        (
            "POST",
            "/api/v1/executions",
            task(json!({ "device": "" })),
            400,
            "invalid-request",
        ),
        (
            "POST",
            "/api/v1/executions",
            task(json!({ "timeout_ms": 0 })),
            400,
            "invalid-request",
        ),
        (
            "POST",
            "/api/v1/executions",
            task(json!({ "executor": "" })),
            400,
            "invalid-request",
        ),
        (
            "POST",
            "/api/v1/executions",
            task(json!({ "working_directory": "" })),
            400,
            "invalid-request",
        ),
        (
            "POST",
            "/api/v1/executions",
            task(json!({ "input": large })),
            413,
            "request-too-large",
        ),
        (
            "POST",
            "/api/v1/executions",
            task(json!({ "input": snug })),
            413,
            "input-too-large",
        ),
    ] {
        let (got, error) = bridge.call(method, path, body).await;
        assert_eq!(
            (got.as_u16(), error["id"].as_str()),
            (status, Some(id)),
            "{method} {path}: {error}"
        );
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(error["hint"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let (_, list) = bridge.call("GET", "/api/v1/executions", Value::Null).await;
    assert_eq!(list, json!([]), "no row was made");
}

#[tokio::test]
async fn without_an_open_bridge_the_store_is_served_and_devices_are_not() {
    let store = memory_store();
    let router = router(
        unopened(&store, BridgeOptions::default()),
        Transport::Local { uid: 0 },
    );
    let ask = async |method, path, body| call(router.clone(), None, method, path, body).await;
    let (status, _) = ask("POST", "/api/v1/keys", json!({ "name": "laptop", "user": "ann" })).await;
    assert_eq!(status, 201);
    let (status, list) = ask("GET", "/api/v1/devices", Value::Null).await;
    assert_eq!((status.as_u16(), list), (200, json!([])));
    let (status, error) = ask(
        "POST",
        "/api/v1/executions",
        json!({ "device": "laptop", "input": "true" }),
    )
    .await;
    assert_eq!(
        (status.as_u16(), error["id"].as_str()),
        (503, Some("bridge-unavailable"))
    );
    for path in ["/ws/agent-bridge", "/healthz"] {
        let (status, error) = ask("GET", path, Value::Null).await;
        assert_eq!(
            (status.as_u16(), error["id"].as_str()),
            (503, Some("bridge-unavailable")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn while_no_bridge_is_open_no_device_is_shown_online() {
    let store = memory_store();
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (_client, id) = bridge.register(&key, "laptop").await;
    bridge.kill();
    let row = store.find_devices(&ADMIN, &id).await.unwrap().remove(0);
    assert_eq!(
        row.status,
        DeviceStatus::Online,
        "as a bridge that was killed leaves it"
    );

    let command = router(
        unopened(&store, BridgeOptions::default()),
        Transport::Local { uid: 0 },
    );
    let (_, devices) = call(command, None, "GET", "/api/v1/devices", Value::Null).await;
    assert_eq!(devices[0]["status"], "offline");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_halfway_is_not_waited_for() {
    let store = memory_store();
    let routes = router(
        unopened(&store, BridgeOptions::default()),
        Transport::Local { uid: 0 },
    );
    let halfway = futures_util::stream::once(async { Ok::<_, std::io::Error>("{\"name\":") });
    let body = Body::from_stream(halfway.chain(futures_util::stream::pending()));
    let request = Request::post("/api/v1/keys").body(body).unwrap();
    let response = routes.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 408);
}
