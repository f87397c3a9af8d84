//! What an operator sees of checks that were refused.

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::BridgeOptions;
use serde_json::Value;

use crate::harness::{ADMIN, NOW, TestBridge, memory_store};

#[tokio::test]
async fn refused_checks_are_kept_with_their_reason_key_and_address() {
    let store = memory_store();
    let bridge = TestBridge::with(store.clone(), BridgeOptions::default()).await;
    let key = bridge.mint("ann", &["device"]).await;
    bridge
        .store
        .revoke_key(&ADMIN, &key.id, UnixMillis(NOW))
        .await
        .unwrap();
    let device = bridge.mint("ann", &["device"]).await;
    let stranger = "sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG";
    for token in [
        None,
        Some("two words"),
        Some(stranger),
        Some(stranger),
        Some(&*key.token),
    ] {
        bridge.try_connect(token).await.expect("device:error").await;
    }
    let (status, _) = bridge
        .call_over_tcp(Some(&device.token), "GET", "/api/v1/keys", Value::Null)
        .await;
    assert_eq!(status, 403);
    bridge.stop().await;

    let kept = store.attempts(&ADMIN, None, 10).await.unwrap();
    // Equal ones are merged within each second, so those that a second came between are added up here.
    type Seen<'a> = (&'a str, String, Option<&'a str>, Option<&'a str>, u32);
    let mut seen = Vec::<Seen<'_>>::new();
    for attempt in kept.iter().rev() {
        let next = (
            attempt.reason.as_str(),
            attempt.preview.clone(),
            attempt.key_id.as_deref(),
            attempt.address.as_deref(),
            attempt.count,
        );
        match seen.last_mut() {
            Some(last) if (last.0, &last.1, last.2, last.3) == (next.0, &next.1, next.2, next.3) => {
                last.4 += next.4
            }
            _ => seen.push(next),
        }
    }
    let here = Some("127.0.0.1");
    let preview = |token: &str| format!("{}...", &token[..12]);
    assert_eq!(
        seen,
        [
            ("missing", "none".to_owned(), None, here, 1),
            ("malformed", "malformed".to_owned(), None, here, 1),
            ("unknown", preview(stranger), None, here, 2),
            ("revoked", preview(&key.token), Some(&*key.id), here, 1),
            (
                "scope_missing",
                preview(&device.token),
                Some(&*device.id),
                None,
                1
            ),
        ]
    );
}
