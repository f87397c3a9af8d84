use askalf_bridge_auth::{KeyStatus, Scopes, UnixMillis};
use askalf_bridge_core::stores::{Exchanged, Kind, NewKey, NewPairCode, Principal, Store, StoreError};

use super::{ADMIN, NOW, Shared, acts, device_of, later, new_key, operator, registered, used};

const GONE: StoreError = StoreError::NotFound(Kind::PairCode);

/// A code whose MAC is 32 times `byte`.
fn new_code(user: &str, byte: u8) -> NewPairCode {
    NewPairCode {
        id: format!("code_{byte}"),
        code_mac: [byte; 32],
        user_id: Some(user.to_owned()),
        device_id: None,
        name: format!("paired {byte}"),
        expires_at: later(1000),
        created_at: NOW,
    }
}

async fn exchange(
    store: &dyn Store,
    code: u8,
    nonce: u8,
    key: &str,
    now: UnixMillis,
) -> Result<Exchanged, StoreError> {
    let key = NewKey {
        user_id: None,
        name: "what the caller says".to_owned(),
        scopes: Scopes::parse(["admin"]),
        created_at: now,
        ..new_key("gil", key)
    };
    store
        .exchange_pair_code(&[code; 32], &[nonce; 32], key, now)
        .await
}

pub(crate) async fn a_code_is_exchanged_once(store: Shared) {
    let code = store.add_pair_code(&ADMIN, new_code("ann", 1)).await.unwrap();
    assert_eq!(
        (code.tenant_id.as_str(), code.user_id.as_str(), code.name.as_str()),
        ("acme", "ann", "paired 1")
    );
    assert_eq!((code.created_at, code.expires_at), (NOW, later(1000)));
    assert!(store.has_pair_code(&[1; 32]).await.unwrap());
    assert!(!store.has_pair_code(&[2; 32]).await.unwrap());
    let given = exchange(&*store, 1, 7, "key_1", later(1)).await.unwrap();
    let expected = Exchanged {
        key_id: "key_1".to_owned(),
        device_id: None,
        name: "paired 1".to_owned(),
        again: false,
    };
    assert_eq!(given, expected);
    let key = store.key(&ADMIN, "key_1").await.unwrap();
    assert_eq!(
        (key.user_id.as_deref(), key.name.as_str()),
        (Some("ann"), "paired 1")
    );
    assert_eq!(
        (key.scopes, key.status),
        (Scopes::parse(["device"]), KeyStatus::Active)
    );
    assert_eq!(
        acts(&*store, 2).await,
        [
            "pairing code code_1: pair-code.exchange key_1",
            "uid 0: pair-code.new code_1"
        ]
    );
    // Another nonce is somebody else. A wrong code tells no more.
    assert_eq!(exchange(&*store, 1, 8, "key_2", later(2)).await, Err(GONE));
    assert_eq!(exchange(&*store, 2, 7, "key_2", later(2)).await, Err(GONE));
    assert_eq!(store.keys(&ADMIN, 10).await.unwrap().len(), 1);
}

pub(crate) async fn a_lost_answer_is_given_again_for_a_day(store: Shared) {
    store.add_pair_code(&ADMIN, new_code("ann", 1)).await.unwrap();
    let first = exchange(&*store, 1, 7, "key_1", later(1)).await.unwrap();
    const DAY: i64 = 86_400_000;
    // Also after its end, since the first answer came in time; and after the key was used, since a device that proved it may
    // have died before it kept it.
    for now in [later(2), later(1000), later(1000 + DAY)] {
        let again = exchange(&*store, 1, 7, "key_2", now).await.unwrap();
        assert_eq!(
            again,
            Exchanged {
                again: true,
                ..first.clone()
            }
        );
        store.count_uses(&[used("key_1", now)]).await.unwrap();
    }
    assert_eq!(store.keys(&ADMIN, 10).await.unwrap().len(), 1);
    assert_eq!(exchange(&*store, 1, 8, "key_2", later(3)).await, Err(GONE));
    assert_eq!(
        exchange(&*store, 1, 7, "key_2", later(1001 + DAY)).await,
        Err(GONE)
    );

    store.add_pair_code(&ADMIN, new_code("ann", 2)).await.unwrap();
    exchange(&*store, 2, 7, "key_3", later(1)).await.unwrap();
    store.revoke_key(&ADMIN, "key_3", later(2)).await.unwrap();
    assert_eq!(exchange(&*store, 2, 7, "key_4", later(3)).await, Err(GONE));
}

pub(crate) async fn of_eight_exchanges_at_once_one_is_given(store: Shared) {
    store.add_pair_code(&ADMIN, new_code("ann", 1)).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for nonce in 0..8 {
        let store = Shared::clone(&store);
        tasks.spawn(async move { exchange(&*store, 1, nonce, &format!("key_{nonce}"), later(1)).await });
    }
    let results = tasks.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(
        results
            .iter()
            .all(|result| result.is_ok() || *result == Err(GONE))
    );
    assert_eq!(store.keys(&ADMIN, 10).await.unwrap().len(), 1);
}

pub(crate) async fn a_code_ends(store: Shared) {
    store.add_pair_code(&ADMIN, new_code("ann", 1)).await.unwrap();
    assert_eq!(exchange(&*store, 1, 7, "key_1", later(1000)).await, Err(GONE));
    store.add_pair_code(&ADMIN, new_code("ann", 2)).await.unwrap();
    store
        .withdraw_pair_code(&operator("ann"), "code_2", later(1))
        .await
        .unwrap();
    assert_eq!(
        acts(&*store, 1).await,
        ["user ann with key key_op_ann: pair-code.withdraw code_2"]
    );
    assert_eq!(exchange(&*store, 2, 7, "key_1", later(2)).await, Err(GONE));
    for id in ["code_1", "code_2", "nothing"] {
        assert_eq!(
            store.withdraw_pair_code(&ADMIN, id, later(1000)).await,
            Err(GONE),
            "{id}"
        );
    }
    assert!(store.keys(&ADMIN, 10).await.unwrap().is_empty());
}

pub(crate) async fn a_conflict_spends_no_code(store: Shared) {
    store.add_pair_code(&ADMIN, new_code("ann", 1)).await.unwrap();
    store.add_key(&ADMIN, new_key("gil", "key_1")).await.unwrap();
    let error = exchange(&*store, 1, 7, "key_1", later(1)).await.unwrap_err();
    assert_eq!(error.to_string(), "a key with this prefix exists already");
    exchange(&*store, 1, 8, "key_2", later(1)).await.unwrap();
}

pub(crate) async fn a_code_pairs_a_device_anew(store: Shared) {
    registered(&*store, "ann", "key_1", "dev_1").await;
    let for_device = |user: &str, byte, device: &str| NewPairCode {
        device_id: Some(device.to_owned()),
        ..new_code(user, byte)
    };
    for (user, device) in [("bob", "dev_1"), ("gil", "dev_1"), ("ann", "dev_2")] {
        let error = store
            .add_pair_code(&ADMIN, for_device(user, 1, device))
            .await
            .unwrap_err();
        assert_eq!(error, StoreError::NotFound(Kind::Device), "{user} {device}");
    }
    let code = store
        .add_pair_code(&operator("ann"), for_device("ann", 1, "dev_1"))
        .await
        .unwrap();
    assert_eq!(code.device_id.as_deref(), Some("dev_1"));
    let given = exchange(&*store, 1, 7, "key_2", later(1)).await.unwrap();
    assert_eq!(given.device_id.as_deref(), Some("dev_1"));
    let status = async |id: &str| store.key(&ADMIN, id).await.unwrap().status;
    // The old key stays good until the new one has come.
    assert_eq!(status("key_1").await, KeyStatus::Active);
    let device = store
        .reconnect_device(&device_of("ann", "key_2"), "dev_1", later(2))
        .await
        .unwrap();
    assert_eq!(device.api_key_id, "key_2");
    assert_eq!(status("key_1").await, KeyStatus::Revoked);

    store
        .add_pair_code(&ADMIN, for_device("ann", 2, "dev_1"))
        .await
        .unwrap();
    store.remove_device(&ADMIN, "dev_1", later(3)).await.unwrap();
    assert_eq!(exchange(&*store, 2, 7, "key_3", later(4)).await, Err(GONE));
}

pub(crate) async fn codes_are_listed_while_they_are_good(store: Shared) {
    for (byte, user, at) in [
        (1, "ann", 1),
        (2, "ann", 0),
        (3, "ann", 2),
        (4, "bob", 0),
        (5, "gil", 0),
    ] {
        let code = NewPairCode {
            created_at: later(at),
            expires_at: later(1000 + at),
            ..new_code(user, byte)
        };
        store.add_pair_code(&ADMIN, code).await.unwrap();
    }
    let seen = async |who: &Principal, now, limit| {
        let codes = store.pair_codes(who, now, limit).await.unwrap();
        codes.into_iter().map(|code| code.id).collect::<Vec<_>>()
    };
    assert_eq!(
        seen(&operator("ann"), later(3), 10).await,
        ["code_2", "code_1", "code_3"]
    );
    assert_eq!(seen(&ADMIN, later(3), 2).await, ["code_2", "code_4"]);
    assert_eq!(seen(&device_of("ann", "key_1"), later(3), 10).await, [""; 0]);
    exchange(&*store, 2, 7, "key_1", later(4)).await.unwrap();
    assert_eq!(seen(&operator("ann"), later(5), 10).await, ["code_1", "code_3"]);
    assert_eq!(seen(&operator("ann"), later(1001), 10).await, ["code_3"]);
    for who in [operator("bob"), operator("gil"), device_of("ann", "key_1")] {
        assert_eq!(
            store.withdraw_pair_code(&who, "code_3", later(5)).await,
            Err(GONE),
            "{who:?}"
        );
    }
}

pub(crate) async fn whom_a_code_is_for_must_be_clear(store: Shared) {
    let unnamed = |byte| NewPairCode {
        user_id: None,
        ..new_code("ann", byte)
    };
    let error = store.add_pair_code(&ADMIN, unnamed(1)).await.unwrap_err();
    assert_eq!(error.to_string(), "there are several users: one must be named");
    let own = store.add_pair_code(&operator("bob"), unnamed(1)).await.unwrap();
    assert_eq!(own.user_id, "bob");
    let error = store
        .add_pair_code(&operator("bob"), new_code("ann", 2))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "there is no user 'ann'");
    let error = store
        .add_pair_code(&device_of("ann", "key_1"), new_code("ann", 2))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "a device cannot make pairing codes");
    let mut long = new_code("ann", 2);
    long.name = "ü".repeat(256);
    let error = store.add_pair_code(&ADMIN, long).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the name of the key has 256 characters; at most 255 fit"
    );
    let mut same = new_code("ann", 1);
    same.id = "code_2".to_owned();
    let error = store.add_pair_code(&ADMIN, same).await.unwrap_err();
    assert_eq!(error.to_string(), "this pairing code exists already");
}
