use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::stores::{Attempt, Cause, ExecutionEnd, ExecutionStatus, MAX_ATTEMPTS};

use super::{ADMIN, NOW, Shared, acts, acts_of, device_of, dispatched, later, new_key, operator, registered};

fn attempt(at: i64, preview: &str, reason: &str) -> Attempt {
    Attempt {
        at: later(at),
        address: Some("192.0.2.7:51000".to_owned()),
        preview: preview.to_owned(),
        key_id: None,
        reason: reason.to_owned(),
        count: 1,
    }
}

const LONG_AGO: UnixMillis = UnixMillis(0);

pub(crate) async fn attempts_are_kept_newest_first_and_found_by_prefix(store: Shared) {
    let mut matched = attempt(2, "sk_live_efgh...", "revoked");
    (matched.key_id, matched.address, matched.count) = (Some("key_1".to_owned()), None, u32::MAX);
    let kept = [
        attempt(1, "sk_live_abcd...", "unknown"),
        matched.clone(),
        attempt(3, "none", "missing"),
    ];
    store.keep_attempts(&kept, LONG_AGO).await.unwrap();
    let listed = store.attempts(&ADMIN, None, 10).await.unwrap();
    matched.count = i32::MAX as u32;
    assert_eq!(listed, [kept[2].clone(), matched.clone(), kept[0].clone()]);
    assert_eq!(store.attempts(&ADMIN, None, 1).await.unwrap(), kept[2..]);
    for (prefix, expected) in [
        ("sk_live_efgh", 1),
        ("sk_live_", 2),
        ("sk_live_efgh...", 1),
        ("SK_", 0),
        ("%", 0),
        ("", 3),
    ] {
        let found = store.attempts(&ADMIN, Some(prefix), 10).await.unwrap();
        assert_eq!(found.len(), expected, "{prefix}");
    }
    for who in [operator("ann"), device_of("ann", "key_1")] {
        assert_eq!(store.attempts(&who, None, 10).await.unwrap(), [], "{who:?}");
    }
}

pub(crate) async fn attempts_are_forgotten_by_age_and_by_number(store: Shared) {
    let ages: Vec<_> = (0..10).map(|at| attempt(at, "none", "missing")).collect();
    store.keep_attempts(&ages, LONG_AGO).await.unwrap();
    store.keep_attempts(&[], later(7)).await.unwrap();
    assert_eq!(
        store
            .attempts(&ADMIN, None, 100)
            .await
            .unwrap()
            .last()
            .unwrap()
            .at,
        later(7)
    );

    let many: Vec<_> = (0..i64::from(MAX_ATTEMPTS) - 1)
        .map(|at| attempt(100 + at, "none", "unknown"))
        .collect();
    store.keep_attempts(&many, LONG_AGO).await.unwrap();
    let listed = store.attempts(&ADMIN, None, u32::MAX).await.unwrap();
    assert_eq!(listed.len(), MAX_ATTEMPTS as usize);
    assert_eq!(
        listed.last().unwrap().at,
        later(9),
        "the oldest of those that were left went"
    );
}

pub(crate) async fn each_act_is_on_the_trail_within_the_reach_of_its_owner(store: Shared) {
    registered(&*store, "ann", "key_1", "dev_1").await;
    store
        .add_key(&operator("gil"), new_key("gil", "key_2"))
        .await
        .unwrap();
    dispatched(&*store, "exec_1", "dev_1").await;
    let end = ExecutionEnd::without_result(ExecutionStatus::Cancelled, Cause::Cancelled, "stopped");
    store
        .finish_execution(&operator("ann"), "exec_1", end.clone(), later(1))
        .await
        .unwrap();
    // A later end is none, and neither is what a device reports.
    store
        .finish_execution(&operator("ann"), "exec_1", end.clone(), later(2))
        .await
        .unwrap();
    dispatched(&*store, "exec_2", "dev_1").await;
    let device = device_of("ann", "key_1").registered_as("dev_1");
    store
        .finish_execution(&device, "exec_2", end, later(3))
        .await
        .unwrap();
    store.revoke_key(&ADMIN, "key_2", later(4)).await.unwrap();
    store.revoke_key(&ADMIN, "key_2", later(5)).await.unwrap();
    let ann = [
        "uid 0: execution.dispatch exec_2",
        "user ann with key key_op_ann: execution.cancel exec_1",
        "uid 0: execution.dispatch exec_1",
        "uid 0: key.mint key_1",
    ];
    let gil = [
        "uid 0: key.revoke key_2",
        "user gil with key key_op_gil: key.mint key_2",
    ];
    assert_eq!(acts_of(&*store, &operator("ann"), 10).await, ann);
    assert_eq!(acts_of(&*store, &operator("gil"), 10).await, gil);
    assert_eq!(acts_of(&*store, &operator("bob"), 10).await, [""; 0]);
    assert_eq!(acts_of(&*store, &device, 10).await, [""; 0]);
    assert_eq!(acts(&*store, 10).await.len(), 6);
    assert_eq!(acts(&*store, 1).await, [gil[0]]);
    let newest = store.acts(&ADMIN, 1).await.unwrap().remove(0);
    assert_eq!(
        (newest.at, newest.tenant_id.as_deref()),
        (later(4), Some("globex"))
    );
}

pub(crate) async fn what_failed_is_no_act(store: Shared) {
    store.add_key(&ADMIN, new_key("ann", "key_1")).await.unwrap();
    store.add_key(&ADMIN, new_key("ann", "key_1")).await.unwrap_err();
    store
        .revoke_key(&operator("bob"), "key_1", NOW)
        .await
        .unwrap_err();
    store
        .withdraw_pair_code(&ADMIN, "nothing", NOW)
        .await
        .unwrap_err();
    store.remove_device(&ADMIN, "nothing", NOW).await.unwrap_err();
    assert_eq!(acts(&*store, 10).await, ["uid 0: key.mint key_1"]);
}
