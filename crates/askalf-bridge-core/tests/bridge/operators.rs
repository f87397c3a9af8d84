//! What operators do over the API: keys, users, the trail, devices.

use askalf_bridge_auth::{KeyHash, KeyPrefix, Token, UnixMillis};
use askalf_bridge_core::{Transport, router};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::harness::{ADMIN, NOW, TestBridge, within};

async fn ok(bridge: &TestBridge, method: &str, path: &str, body: Value) -> Value {
    let (status, answer) = bridge.call(method, path, body).await;
    assert!(status.is_success(), "{method} {path}: {status} {answer}");
    answer
}

async fn refused(bridge: &TestBridge, method: &str, path: &str, body: Value) -> (u16, String) {
    let (status, answer) = bridge.call(method, path, body).await;
    (
        status.as_u16(),
        answer["id"].as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test]
async fn a_key_is_minted_for_a_device_of_its_user_and_ends_when_it_is_told_to() {
    let bridge = TestBridge::start().await;
    let first = bridge.mint("ann", &["device"]).await;
    let (_client, device) = bridge.register(&first, "laptop").await;
    let body = json!({ "name": "second", "device": "laptop", "ttl_seconds": 60 });
    let minted = ok(&bridge, "POST", "/api/v1/keys", body).await;
    let path = format!("/api/v1/keys/{}", minted["id"].as_str().unwrap());
    let key = ok(&bridge, "GET", &path, Value::Null).await;
    assert_eq!(
        (&key["user_id"], &key["device_id"]),
        (&json!("ann"), &json!(device))
    );
    let times = [&key["created_at"], &key["expires_at"]].map(|time| time.as_str().unwrap().to_owned());
    assert!(times[0].starts_with("2026-11-24T07:33:0") && times[1].starts_with("2026-11-24T07:34:0"));
    for (body, expected) in [
        (
            json!({ "name": "x", "device": "tablet" }),
            (404, "device-unknown"),
        ),
        (
            json!({ "name": "x", "device": "laptop", "user": "bob" }),
            (404, "not-found"),
        ),
        (
            json!({ "name": "x", "user": "ann", "ttl_seconds": u64::MAX }),
            (400, "invalid-request"),
        ),
        (json!({ "name": " ", "user": "ann" }), (400, "invalid-request")),
    ] {
        let (status, id) = refused(&bridge, "POST", "/api/v1/keys", body.clone()).await;
        assert_eq!((status, id.as_str()), expected, "{body}");
    }
}

#[tokio::test]
async fn a_rotated_key_keeps_its_device_and_the_old_one_goes_when_the_new_one_comes() {
    let bridge = TestBridge::start().await;
    let first = bridge.mint("ann", &["device"]).await;
    let (client, device) = bridge.register(&first, "laptop").await;
    let path = format!("/api/v1/keys/{}/rotate", first.id);
    let minted = ok(&bridge, "POST", &path, json!({})).await;
    let old = ok(&bridge, "GET", &format!("/api/v1/keys/{}", first.id), Value::Null).await;
    assert!(
        old["expires_at"]
            .as_str()
            .unwrap()
            .starts_with("2026-11-25T07:33:"),
        "{old}"
    );
    client.vanish();

    let token = minted["key"].as_str().unwrap();
    let mut client = bridge.try_connect(Some(token)).await;
    client
        .send("device:reconnect", json!({ "deviceId": device }))
        .await;
    assert_eq!(client.expect("device:registered").await["deviceId"], device);
    bridge
        .try_connect(Some(&first.token))
        .await
        .expect_error("AUTH_FAILED")
        .await;

    // Nothing takes the place of a key that is over.
    assert_eq!(
        refused(&bridge, "POST", &path, json!({})).await,
        (400, "invalid".to_owned())
    );
    let (status, id) = refused(&bridge, "POST", "/api/v1/keys/key_none/rotate", json!({})).await;
    assert_eq!((status, id.as_str()), (404, "not-found"));
}

#[tokio::test]
async fn a_rotated_key_lives_as_long_as_the_old_one_was_made_for() {
    let bridge = TestBridge::start().await;
    let body = json!({ "name": "short", "user": "ann", "ttl_seconds": 3600 });
    let minted = ok(&bridge, "POST", "/api/v1/keys", body).await;
    let path = format!("/api/v1/keys/{}/rotate", minted["id"].as_str().unwrap());
    let new = ok(&bridge, "POST", &path, json!({ "overlap_seconds": 0 })).await;
    let new = ok(
        &bridge,
        "GET",
        &format!("/api/v1/keys/{}", new["id"].as_str().unwrap()),
        Value::Null,
    )
    .await;
    assert!(
        new["expires_at"]
            .as_str()
            .unwrap()
            .starts_with("2026-11-24T08:33:0"),
        "{new}"
    );
    assert_eq!(new["name"], "short");
    // Without an overlap the old one is over at once.
    let old = minted["key"].as_str().unwrap();
    bridge
        .try_connect(Some(old))
        .await
        .expect_error("AUTH_FAILED")
        .await;
}

#[tokio::test]
async fn a_key_from_elsewhere_gets_in_by_its_hash() {
    let bridge = TestBridge::start().await;
    let text = "fk_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let hash = KeyHash::mint(&Token::parse(text).unwrap()).unwrap().to_string();
    let body = json!({ "name": "old", "user": "ann", "key_hash": hash, "key_prefix": &text[..12] });
    let key = ok(&bridge, "POST", "/api/v1/keys/import", body.clone()).await;
    assert_eq!(
        (&key["key_prefix"], &key["scopes"]),
        (&json!("fk_012345678"), &json!(["device"]))
    );
    assert!(!key.to_string().contains(&hash));
    let mut client = bridge.try_connect(Some(text)).await;
    client
        .send("device:register", json!({ "deviceName": "old" }))
        .await;
    client.expect("device:registered").await;

    assert_eq!(
        refused(&bridge, "POST", "/api/v1/keys/import", body.clone()).await,
        (409, "conflict".to_owned())
    );
    for (field, value) in [
        ("key_hash", json!("no hash")),
        ("key_prefix", json!("much too long a prefix")),
        ("key_preview", json!("x".repeat(21))),
        ("scopes", json!(["root"])),
    ] {
        let mut wrong = body.clone();
        wrong[field] = value;
        assert_eq!(
            refused(&bridge, "POST", "/api/v1/keys/import", wrong).await.0,
            400,
            "{field}"
        );
    }
}

/// The lines of a repair.
async fn repair(bridge: &TestBridge, token: &str) -> Vec<Value> {
    let request = Request::post("/api/v1/keys/repair")
        .body(Body::from(json!({ "key": token }).to_string()))
        .unwrap();
    let router = router(bridge.bridge.clone(), Transport::Local { uid: 0 });
    let response = within("the repair", router.oneshot(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = within("the repair", response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    let lines = std::str::from_utf8(&body).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_wrong_prefix_is_mended_by_whoever_shows_the_token() {
    let bridge = TestBridge::start().await;
    let right = bridge.mint("ann", &["device"]).await;
    let wrong = bridge.mint("ann", &["device"]).await;
    let short = bridge.mint("ann", &["device"]).await;
    for (id, prefix) in [(&wrong.id, "sk_live_nope"), (&short.id, "x")] {
        let prefix = KeyPrefix::parse(prefix).unwrap();
        let now = UnixMillis(NOW);
        bridge
            .store
            .repair_key_prefix(&ADMIN, id, &prefix, "...", now)
            .await
            .unwrap();
    }
    bridge
        .try_connect(Some(&wrong.token))
        .await
        .expect_error("AUTH_FAILED")
        .await;
    for (key, before) in [(&wrong, "sk_live_nope"), (&short, "x")] {
        let events = repair(&bridge, &key.token).await;
        let last = events.last().unwrap();
        assert_eq!(last["event"], "mended", "{events:?}");
        assert_eq!(
            (&last["key"]["id"], &last["prefix_before"]),
            (&json!(key.id), &json!(before))
        );
        assert_eq!(last["key"]["key_prefix"], &key.token[..12]);
    }
    bridge.register(&wrong, "laptop").await;
    assert_eq!(
        repair(&bridge, &right.token).await.last().unwrap()["event"],
        "right"
    );
    let missing = repair(&bridge, "sk_live_0123456789abcdefghijABCDEFGHIJ01").await;
    assert_eq!(missing, [json!({ "event": "not_found", "rows": 3 })]);

    let admin = bridge.mint("ann", &["admin"]).await;
    let (status, error) = bridge
        .call_over_tcp(
            Some(&admin.token),
            "POST",
            "/api/v1/keys/repair",
            json!({ "key": wrong.token }),
        )
        .await;
    assert_eq!((status.as_u16(), &error["id"]), (403, &json!("local-admin-only")));
}

#[tokio::test]
async fn users_are_added_by_the_local_admin_and_own_keys() {
    let bridge = TestBridge::start().await;
    let body = json!({ "id": "zoe", "email": "zoe@acme.test", "tenant": "acme", "display_name": "Zoë" });
    let user = ok(&bridge, "POST", "/api/v1/users", body.clone()).await;
    assert_eq!(
        (&user["tenant_id"], &user["status"]),
        (&json!("acme"), &json!("active"))
    );
    assert_eq!(
        refused(&bridge, "POST", "/api/v1/users", body.clone()).await,
        (409, "conflict".to_owned())
    );
    let minted = ok(
        &bridge,
        "POST",
        "/api/v1/keys",
        json!({ "name": "x", "user": "zoe", "scopes": ["admin"] }),
    )
    .await;
    let token = minted["key"].as_str();
    let (status, error) = bridge.call_over_tcp(token, "POST", "/api/v1/users", body).await;
    assert_eq!((status.as_u16(), &error["id"]), (403, &json!("local-admin-only")));
    let (_, users) = bridge
        .call_over_tcp(token, "GET", "/api/v1/users", Value::Null)
        .await;
    assert_eq!(users.as_array().unwrap().len(), 1);
    let users = ok(&bridge, "GET", "/api/v1/users?limit=1000", Value::Null).await;
    let sue = users
        .as_array()
        .unwrap()
        .iter()
        .find(|user| user["id"] == "sue")
        .unwrap();
    assert_eq!(sue["status"], "suspended");
}

#[tokio::test]
async fn who_did_what_is_told_within_reach() {
    let bridge = TestBridge::start().await;
    let admin = bridge.mint("ann", &["admin"]).await;
    bridge.mint("gil", &["admin"]).await;
    let revoke = format!("/api/v1/keys/{}/revoke", admin.id);
    let acts = ok(&bridge, "GET", "/api/v1/acts?limit=1", Value::Null).await;
    assert_eq!(
        (&acts[0]["what"], &acts[0]["by"], &acts[0]["tenant_id"]),
        (&json!("key.mint"), &json!("uid 0"), &json!("globex"))
    );
    let (_, own) = bridge
        .call_over_tcp(Some(&admin.token), "GET", "/api/v1/acts", Value::Null)
        .await;
    assert_eq!(own.as_array().unwrap().len(), 1, "{own}");
    assert_eq!(own[0]["subject"], admin.id);
    ok(&bridge, "POST", &revoke, Value::Null).await;
    assert_eq!(
        ok(&bridge, "GET", "/api/v1/acts?limit=1", Value::Null).await[0]["what"],
        "key.revoke"
    );
}

#[tokio::test]
async fn a_device_is_disconnected_and_removed() {
    let bridge = TestBridge::start().await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, device) = bridge.register(&key, "laptop").await;
    let path = format!("/api/v1/devices/{device}");
    let shown = ok(&bridge, "GET", "/api/v1/devices/laptop", Value::Null).await;
    assert_eq!(
        (&shown["id"], &shown["status"]),
        (&json!(device), &json!("online"))
    );
    ok(&bridge, "POST", "/api/v1/devices/laptop/disconnect", Value::Null).await;
    assert_eq!(client.closed().await.0, 1013);
    // It may come back; again it is the same device.
    let (mut client, again) = bridge.register(&key, "laptop").await;
    assert_eq!(again, device);

    let events = bridge.dispatch("laptop", "true").await;
    client.expect("task:dispatch").await;
    let (status, id) = refused(&bridge, "DELETE", &path, Value::Null).await;
    assert_eq!((status, id.as_str()), (400, "invalid"));
    let done = json!({ "executionId": events.id, "output": "", "executor": "shell" });
    client.send("execution:complete", done).await;
    client.expect("execution:ack").await;
    let bound = ok(
        &bridge,
        "POST",
        "/api/v1/keys",
        json!({ "name": "b", "device": "laptop" }),
    )
    .await;
    let removed = ok(&bridge, "DELETE", &path, Value::Null).await;
    assert_eq!(removed["id"], device);
    assert_eq!(client.closed().await.0, 1013);
    assert_eq!(refused(&bridge, "GET", &path, Value::Null).await.0, 404);
    let bound = format!("/api/v1/keys/{}", bound["id"].as_str().unwrap());
    assert_eq!(ok(&bridge, "GET", &bound, Value::Null).await["status"], "revoked");
}

#[tokio::test]
async fn a_removed_device_whose_key_is_bound_hears_that_it_is_revoked() {
    let bridge = TestBridge::start().await;
    let first = bridge.mint("ann", &["device"]).await;
    let (client, device) = bridge.register(&first, "laptop").await;
    client.vanish();
    let bound = ok(
        &bridge,
        "POST",
        "/api/v1/keys",
        json!({ "name": "b", "device": device }),
    )
    .await;
    let mut client = bridge.try_connect(bound["key"].as_str()).await;
    client
        .send("device:reconnect", json!({ "deviceId": device }))
        .await;
    client.expect("device:registered").await;
    client.expect("capabilities:scan").await;
    ok(
        &bridge,
        "DELETE",
        &format!("/api/v1/devices/{device}"),
        Value::Null,
    )
    .await;
    assert_eq!(client.expect_error("AUTH_FAILED").await["reason"], "revoked");
}

#[tokio::test]
async fn dashboards_of_the_forge_find_their_paths_and_shapes() {
    let bridge = TestBridge::start().await;
    let admin = bridge.mint("ann", &["admin"]).await;
    let key = bridge.mint("ann", &["device"]).await;
    let (mut client, device) = bridge.register(&key, "laptop").await;
    let ask = async |method: &str, path: &str| {
        let (status, answer) = bridge
            .call_over_tcp(
                Some(&admin.token),
                method,
                &format!("/api/v1/forge/{path}"),
                Value::Null,
            )
            .await;
        (status.as_u16(), answer)
    };
    assert_eq!(
        ask("GET", "devices/summary").await,
        (
            200,
            json!({ "total": 1, "online": 1, "busy": 0, "offline": 0, "byType": { "cli": 1 } })
        )
    );
    let (_, listed) = ask("GET", "devices").await;
    assert_eq!(listed["devices"][0]["device_name"], "laptop");
    let (_, shown) = ask("GET", &format!("devices/{device}")).await;
    assert_eq!(shown["device"], listed["devices"][0]);
    assert_eq!(ask("GET", "devices/laptop").await.0, 404, "an id, not a name");
    assert_eq!(
        ask("POST", &format!("devices/{device}/disconnect")).await,
        (200, json!({ "disconnected": true }))
    );
    assert_eq!(client.closed().await.0, 1013);
    assert_eq!(
        ask("DELETE", &format!("devices/{device}")).await,
        (200, json!({ "deleted": true }))
    );
    let (status, rotated) = ask("POST", &format!("api-keys/{}/rotate", key.id)).await;
    assert_eq!(status, 200);
    bridge.try_connect(rotated["key"].as_str()).await.is_alive().await;
}

#[tokio::test]
async fn a_key_that_is_revoked_before_its_request_is_whole_does_nothing() {
    let bridge = TestBridge::start().await;
    let operator = bridge.mint("ann", &["admin"]).await;
    let (asked, body_begun) = tokio::sync::oneshot::channel();
    let (revoked, body_goes_on) = tokio::sync::oneshot::channel::<()>();
    let body = futures_util::stream::once(async move {
        // Only now, with the key checked, is the body read.
        asked.send(()).unwrap();
        body_goes_on.await.unwrap();
        Ok::<_, std::io::Error>(r#"{"name":"another","scopes":["admin"]}"#)
    });
    let request = Request::post("/api/v1/keys")
        .header("authorization", format!("Bearer {}", operator.token))
        .body(Body::from_stream(body))
        .unwrap();
    let answer = tokio::spawn(router(bridge.bridge.clone(), Transport::Tcp).oneshot(request));
    within("the request", body_begun).await.unwrap();
    let path = format!("/api/v1/keys/{}/revoke", operator.id);
    ok(&bridge, "POST", &path, Value::Null).await;
    revoked.send(()).unwrap();

    let answer = within("the answer", answer).await.unwrap().unwrap();
    assert_eq!(answer.status(), 401);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let error: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(error["id"], "key-revoked");
    let keys = ok(&bridge, "GET", "/api/v1/keys", Value::Null).await;
    assert_eq!(keys.as_array().unwrap().len(), 1, "{keys}");
}
