use askalf_bridge_auth::{KeyStatus, Lookup, Scopes, UserStatus};
use askalf_bridge_core::stores::{Kind, Principal, StoreError};

use super::{ADMIN, HASH, NOW, Shared, device_of, later, new_key, operator, prefix, registered, used};

fn by_prefix(id: &str) -> Lookup {
    Lookup::ByPrefix { prefix: prefix(id) }
}

pub(crate) async fn a_key_is_found_by_its_prefix_with_the_state_of_its_user(store: Shared) {
    let mut key = new_key("ann", "sk_live_ann");
    key.name = "Änns Schlüssel 🦀".to_owned();
    key.scopes = Scopes::parse(["device", "ünï\"code"]);
    key.expires_at = Some(later(7));
    let added = store.add_key(&ADMIN, key.clone()).await.unwrap();
    assert_eq!(
        (added.tenant_id.as_str(), added.user_id.as_deref()),
        ("acme", Some("ann"))
    );
    assert_eq!(
        (added.created_at, added.revoked_at, added.usage_count),
        (NOW, None, 0)
    );
    store
        .add_key(&ADMIN, new_key("sue", "sk_live_sue"))
        .await
        .unwrap();

    let found = store.find_keys(&by_prefix("sk_live_ann")).await.unwrap();
    let [record] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(
        (record.id.as_str(), record.tenant_id.as_str()),
        ("sk_live_ann", "acme")
    );
    assert_eq!(record.user_id.as_deref(), Some("ann"));
    assert_eq!((&record.name, &record.scopes), (&key.name, &key.scopes));
    assert_eq!(
        (record.key_hash.as_str(), record.key_prefix.as_str()),
        (HASH, "sk_live_ann")
    );
    assert_eq!(
        (record.status, record.user_status),
        (KeyStatus::Active, Some(UserStatus::Active))
    );
    assert_eq!((record.expires_at, &record.device_id), (Some(later(7)), &None));

    let sue = store.find_keys(&by_prefix("sk_live_sue")).await.unwrap();
    assert_eq!(sue[0].user_status, Some(UserStatus::Suspended));
    assert!(store.find_keys(&by_prefix("sk_live_")).await.unwrap().is_empty());
    assert!(
        store
            .find_keys(&by_prefix("sk_live_an%"))
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        store
            .find_keys(&by_prefix("SK_LIVE_ANN"))
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn what_is_taken_is_a_conflict(store: Shared) {
    store.add_key(&ADMIN, new_key("ann", "key_1")).await.unwrap();
    let mut same_prefix = new_key("gil", "key_2");
    same_prefix.prefix = prefix("key_1");
    let error = store.add_key(&ADMIN, same_prefix).await.unwrap_err();
    assert_eq!(error.to_string(), "a key with this prefix exists already");
    let mut same_id = new_key("gil", "key_1");
    same_id.prefix = prefix("key_2");
    let error = store.add_key(&ADMIN, same_id).await.unwrap_err();
    assert_eq!(error.to_string(), "a key with this id exists already");
    assert_eq!(store.keys(&ADMIN, 10).await.unwrap().len(), 1);
    // A prefix stays taken by a key that was revoked: its bearer would be sent to the wrong row.
    store.revoke_key(&ADMIN, "key_1", NOW).await.unwrap();
    let mut same_prefix = new_key("ann", "key_2");
    same_prefix.prefix = prefix("key_1");
    assert!(matches!(
        store.add_key(&ADMIN, same_prefix).await,
        Err(StoreError::Conflict(_))
    ));
}

pub(crate) async fn the_user_of_a_key_must_be_clear(store: Shared) {
    let unnamed = |id: &str| {
        let mut key = new_key("ann", id);
        key.user_id = None;
        key
    };
    let error = store.add_key(&ADMIN, unnamed("key_1")).await.unwrap_err();
    assert_eq!(error.to_string(), "there are several users: one must be named");
    let error = store
        .add_key(&ADMIN, new_key("no\nbody", "key_1"))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "there is no user 'no\\nbody'");
    assert_eq!(error.id(), "user");

    let own = store.add_key(&operator("bob"), unnamed("key_1")).await.unwrap();
    assert_eq!(
        (own.tenant_id.as_str(), own.user_id.as_deref()),
        ("acme", Some("bob"))
    );
    let own = store
        .add_key(&operator("bob"), new_key("bob", "key_2"))
        .await
        .unwrap();
    assert_eq!(own.user_id.as_deref(), Some("bob"));
    for other in ["ann", "gil"] {
        let error = store
            .add_key(&operator("bob"), new_key(other, "key_3"))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), format!("there is no user '{other}'"));
    }
    let stray = Principal::Operator {
        tenant_id: "globex".to_owned(),
        user_id: "bob".to_owned(),
        key_id: "key_1".to_owned(),
    };
    assert!(matches!(
        store.add_key(&stray, unnamed("key_3")).await,
        Err(StoreError::User(_))
    ));
    let error = store
        .add_key(&device_of("bob", "key_1"), new_key("bob", "key_3"))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "a device cannot make keys");
}

pub(crate) async fn a_value_that_does_not_fit_is_refused(store: Shared) {
    let mut key = new_key("ann", "key_1");
    key.name = "ü".repeat(256);
    let error = store.add_key(&ADMIN, key.clone()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the name of the key has 256 characters; at most 255 fit"
    );
    key.name = "ü".repeat(255);
    assert_eq!(store.add_key(&ADMIN, key.clone()).await.unwrap().name, key.name);
}

pub(crate) async fn a_revocation_counts_at_once_and_keeps_its_first_time(store: Shared) {
    store.add_key(&ADMIN, new_key("ann", "key_1")).await.unwrap();
    let revoked = store.revoke_key(&ADMIN, "key_1", later(1)).await.unwrap();
    assert_eq!(
        (revoked.status, revoked.revoked_at),
        (KeyStatus::Revoked, Some(later(1)))
    );
    assert_eq!(
        store.find_keys(&by_prefix("key_1")).await.unwrap()[0].status,
        KeyStatus::Revoked
    );
    let again = store.revoke_key(&ADMIN, "key_1", later(2)).await.unwrap();
    assert_eq!(again, revoked);
    let missing = store.revoke_key(&ADMIN, "key_2", NOW).await.unwrap_err();
    assert_eq!(missing, StoreError::NotFound(Kind::Key));
}

pub(crate) async fn uses_are_counted(store: Shared) {
    store.add_key(&ADMIN, new_key("ann", "key_1")).await.unwrap();
    store.add_key(&ADMIN, new_key("ann", "key_2")).await.unwrap();
    store.count_uses(&[used("key_1", later(1))]).await.unwrap();
    store.count_uses(&[used("key_1", later(2))]).await.unwrap();
    store.count_uses(&[used("nothing", later(2))]).await.unwrap();
    let keys = store.keys(&ADMIN, 10).await.unwrap();
    let uses: Vec<_> = keys
        .iter()
        .map(|key| (key.id.as_str(), key.usage_count, key.last_used_at))
        .collect();
    assert_eq!(uses, [("key_2", 0, None), ("key_1", 2, Some(later(2)))]);
}

pub(crate) async fn a_listing_is_newest_first_and_bounded(store: Shared) {
    for (id, at) in [("key_b", 1), ("key_a", 2), ("key_c", 1)] {
        let mut key = new_key("ann", id);
        key.created_at = later(at);
        store.add_key(&ADMIN, key).await.unwrap();
    }
    for (limit, expected) in [
        (0, &[][..]),
        (2, &["key_a", "key_c"]),
        (u32::MAX, &["key_a", "key_c", "key_b"]),
    ] {
        let keys = store.keys(&ADMIN, limit).await.unwrap();
        assert_eq!(
            keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(),
            expected
        );
    }
}

pub(crate) async fn a_key_is_bound_to_a_device_of_its_own_user_alone(store: Shared) {
    registered(&*store, "ann", "key_1", "dev_1").await;
    let bound = |user: &str, id: &str, device: &str| {
        let mut key = new_key(user, id);
        key.device_id = Some(device.to_owned());
        key
    };
    let key = store
        .add_key(&ADMIN, bound("ann", "key_2", "dev_1"))
        .await
        .unwrap();
    assert_eq!(key.device_id.as_deref(), Some("dev_1"));
    let found = store.find_keys(&by_prefix("key_2")).await.unwrap();
    assert_eq!(found[0].device_id.as_deref(), Some("dev_1"));
    for (user, device) in [("bob", "dev_1"), ("gil", "dev_1"), ("ann", "dev_2")] {
        let error = store
            .add_key(&ADMIN, bound(user, "key_3", device))
            .await
            .unwrap_err();
        assert_eq!(error, StoreError::NotFound(Kind::Device), "{user} {device}");
    }
    // The refused key left nothing, so that it can be made again.
    assert!(store.find_keys(&by_prefix("key_3")).await.unwrap().is_empty());
}

pub(crate) async fn nobody_sees_or_revokes_the_keys_of_others(store: Shared) {
    for (user, id) in [("ann", "key_ann"), ("bob", "key_bob"), ("gil", "key_gil")] {
        store.add_key(&ADMIN, new_key(user, id)).await.unwrap();
    }
    store.add_key(&ADMIN, new_key("ann", "key_ann_2")).await.unwrap();
    let seen = async |who: Principal| {
        let keys = store.keys(&who, 10).await.unwrap();
        keys.into_iter().map(|key| key.id).collect::<Vec<_>>()
    };
    assert_eq!(seen(operator("bob")).await, ["key_bob"]);
    assert_eq!(seen(operator("ann")).await, ["key_ann_2", "key_ann"]);
    assert_eq!(seen(device_of("ann", "key_ann")).await, ["key_ann"]);
    assert_eq!(seen(device_of("ann", "key_gil")).await, [""; 0]);
    assert_eq!(seen(Principal::Bridge).await.len(), 4);
    let stray = Principal::Operator {
        tenant_id: "globex".to_owned(),
        user_id: "ann".to_owned(),
        key_id: "key_gil".to_owned(),
    };
    assert_eq!(seen(stray.clone()).await, [""; 0]);

    for who in [
        operator("bob"),
        operator("gil"),
        stray,
        device_of("ann", "key_ann"),
    ] {
        let error = store.revoke_key(&who, "key_ann", NOW).await.unwrap_err();
        assert_eq!(error, StoreError::NotFound(Kind::Key), "{who:?}");
    }
    assert_eq!(
        store.find_keys(&by_prefix("key_ann")).await.unwrap()[0].status,
        KeyStatus::Active
    );
    store.revoke_key(&operator("ann"), "key_ann", NOW).await.unwrap();
}
