use askalf_bridge_auth::{
    DigestKey, KeyPrefix, KeyRecord, KeyStatus, Lookup, Scope, Scopes, Token, UserStatus,
};
use askalf_bridge_core::stores::{Kind, NewKey, Principal, Store, StoreError};
use zeroize::Zeroizing;

use super::{
    ADMIN, HASH, NOW, Shared, acts, device_of, facts, later, new_key, operator, prefix, registered, used,
};

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

fn digest_key(byte: u8) -> DigestKey {
    DigestKey::from_bytes(Zeroizing::new([byte; 32]))
}

fn token(text: &str) -> Token {
    Token::parse(text).unwrap()
}

fn by_digest(key: &DigestKey, token: &Token) -> Lookup {
    Lookup::ByDigest {
        digest_key_id: key.id().to_owned(),
        digest: key.digest(token),
    }
}

async fn record(store: &dyn Store, id: &str) -> KeyRecord {
    let mut found = store.keys_now(&[id.to_owned()]).await.unwrap();
    assert_eq!(found.len(), 1, "{id}");
    found.remove(0)
}

pub(crate) async fn a_key_is_found_by_its_digest_with_its_live_state(store: Shared) {
    registered(&*store, "ann", "key_1", "dev_1").await;
    let mut bound = new_key("ann", "key_2");
    bound.device_id = Some("dev_1".to_owned());
    store.add_key(&ADMIN, bound).await.unwrap();
    let (secret, shown) = (digest_key(1), token("sk_live_one"));
    let lookup = by_digest(&secret, &shown);
    assert_eq!(store.find_keys(&lookup).await.unwrap(), []);
    let plain = record(&*store, "key_2").await;
    store.keep_digests(&[secret.bind(&shown, &plain)]).await.unwrap();

    let found = store.find_keys(&lookup).await.unwrap();
    assert!(secret.confirms(&secret.digest(&shown), &found[0]));
    let expected = KeyRecord {
        digest_binding: found[0].digest_binding,
        ..plain.clone()
    };
    assert_eq!(found, [expected]);
    assert_eq!(found[0].device_id.as_deref(), Some("dev_1"));
    assert_eq!(plain.digest_binding, None, "only a look-up by digest has it");
    assert_eq!(
        store.find_keys(&by_digest(&digest_key(2), &shown)).await.unwrap(),
        []
    );
    assert_eq!(
        store
            .find_keys(&by_digest(&secret, &token("sk_live_two")))
            .await
            .unwrap(),
        []
    );
    store.revoke_key(&ADMIN, "key_2", NOW).await.unwrap();
    assert_eq!(
        store.find_keys(&lookup).await.unwrap()[0].status,
        KeyStatus::Revoked
    );
}

pub(crate) async fn a_key_has_one_digest_and_a_digest_one_key(store: Shared) {
    for id in ["key_1", "key_2"] {
        store.add_key(&ADMIN, new_key("ann", id)).await.unwrap();
    }
    let [one, two] = [record(&*store, "key_1").await, record(&*store, "key_2").await];
    let (old, new, shown) = (digest_key(1), digest_key(2), token("sk_live_one"));
    let mut gone = one.clone();
    gone.id = "key_3".to_owned();
    store
        .keep_digests(&[old.bind(&shown, &one), old.bind(&token("sk_live_x"), &gone)])
        .await
        .unwrap();
    assert_eq!(
        store
            .find_keys(&by_digest(&old, &token("sk_live_x")))
            .await
            .unwrap(),
        []
    );
    store.keep_digests(&[new.bind(&shown, &one)]).await.unwrap();
    assert_eq!(store.find_keys(&by_digest(&old, &shown)).await.unwrap(), []);
    assert_eq!(
        store.find_keys(&by_digest(&new, &shown)).await.unwrap()[0].id,
        "key_1"
    );
    // The same token in another row: the row that it matched last has the digest. Twice in one call is no fault.
    store
        .keep_digests(&[
            new.bind(&shown, &one),
            new.bind(&shown, &two),
            new.bind(&shown, &two),
        ])
        .await
        .unwrap();
    let found = store.find_keys(&by_digest(&new, &shown)).await.unwrap();
    assert_eq!(
        found.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(),
        ["key_2"]
    );
}

pub(crate) async fn malformed_prefixes_are_a_set_of_their_own(store: Shared) {
    for (id, text) in [
        ("whole", "sk_live_abcd"),
        ("unicode", "sk_live_ünïç"),
        ("short", "sk_live_abc"),
    ] {
        let mut key = new_key("ann", id);
        key.prefix = prefix(text);
        store.add_key(&ADMIN, key).await.unwrap();
    }
    let found = store.find_keys(&Lookup::MalformedPrefix).await.unwrap();
    assert_eq!(
        found.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(),
        ["short"]
    );
    assert_eq!(found, [record(&*store, "short").await]);
    assert_eq!(store.malformed_prefixes().await.unwrap(), 1);

    let mended = store
        .repair_key_prefix(
            &ADMIN,
            "short",
            &prefix("sk_live_efgh"),
            "sk_live_efgh...",
            later(1),
        )
        .await
        .unwrap();
    assert_eq!(mended.prefix, "sk_live_efgh");
    assert_eq!(store.find_keys(&Lookup::MalformedPrefix).await.unwrap(), []);
    assert_eq!(
        store.find_keys(&by_prefix("sk_live_efgh")).await.unwrap().len(),
        1
    );
    assert_eq!(acts(&*store, 1).await, ["uid 0: key.repair short"]);
}

pub(crate) async fn keys_now_are_those_that_are_there(store: Shared) {
    for id in ["key_1", "key_2", "key_3"] {
        store.add_key(&ADMIN, new_key("ann", id)).await.unwrap();
    }
    store.revoke_key(&ADMIN, "key_3", NOW).await.unwrap();
    let ids = ["key_3", "nothing", "key_1", "key_1", "it's"].map(str::to_owned);
    let mut rows = store.keys_now(&ids).await.unwrap();
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (row.id.as_str(), row.status, row.user_status))
        .collect();
    let active = Some(UserStatus::Active);
    assert_eq!(
        seen,
        [
            ("key_1", KeyStatus::Active, active),
            ("key_3", KeyStatus::Revoked, active)
        ]
    );
    assert_eq!(store.keys_now(&[]).await.unwrap(), []);
    let many: Vec<String> = (0..1000).map(|number| format!("key_{number}")).collect();
    assert_eq!(store.keys_now(&many).await.unwrap().len(), 3);
}

pub(crate) async fn all_keys_come_page_by_page(store: Shared) {
    for id in ["key_b", "key_a", "key_c", "Key_d", "key_e"] {
        store.add_key(&ADMIN, new_key("ann", id)).await.unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.all_keys(after.as_deref(), 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        seen.extend(page.into_iter().map(|row| row.id));
    }
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    assert_eq!(seen.len(), 5);
}

pub(crate) async fn one_key_is_shown_to_whom_it_belongs(store: Shared) {
    let added = store.add_key(&ADMIN, new_key("ann", "key_1")).await.unwrap();
    for who in [
        ADMIN,
        Principal::Bridge,
        operator("ann"),
        device_of("ann", "key_1"),
    ] {
        assert_eq!(store.key(&who, "key_1").await.unwrap(), added, "{who:?}");
    }
    for who in [operator("bob"), operator("gil"), device_of("ann", "key_2")] {
        assert_eq!(
            store.key(&who, "key_1").await.unwrap_err(),
            StoreError::NotFound(Kind::Key)
        );
    }
}

pub(crate) async fn a_rotated_key_lives_on_for_the_overlap(store: Shared) {
    let mut old = new_key("ann", "key_1");
    old.scopes = Scopes::parse(["admin", "billing"]);
    store.add_key(&ADMIN, old.clone()).await.unwrap();
    let mut new = NewKey {
        expires_at: Some(later(900)),
        created_at: later(5),
        ..new_key("bob", "key_2")
    };
    new.scopes = Scopes::parse(["device"]);
    let rotated = store
        .rotate_key(&operator("ann"), "key_1", new.clone(), later(100))
        .await
        .unwrap();
    assert_eq!(
        (rotated.id.as_str(), rotated.user_id.as_deref(), &rotated.scopes),
        ("key_2", Some("ann"), &old.scopes)
    );
    assert_eq!(
        (rotated.expires_at, rotated.created_at),
        (Some(later(900)), later(5))
    );
    let before = store.key(&ADMIN, "key_1").await.unwrap();
    assert_eq!(
        (before.status, before.expires_at),
        (KeyStatus::Active, Some(later(100)))
    );
    assert_eq!(
        acts(&*store, 1).await,
        ["user ann with key key_op_ann: key.rotate key_1"]
    );

    // An end that is nearer stays.
    let third = new_key("ann", "key_3");
    store
        .rotate_key(&ADMIN, "key_1", third, later(200))
        .await
        .unwrap();
    assert_eq!(
        store.key(&ADMIN, "key_1").await.unwrap().expires_at,
        Some(later(100))
    );
}

pub(crate) async fn a_rotation_keeps_the_device(store: Shared) {
    registered(&*store, "ann", "key_1", "dev_1").await;
    let new = |id: &str, at| NewKey {
        created_at: later(at),
        ..new_key("ann", id)
    };
    // The first key is not bound: the device is the one that it registered.
    let rotated = store
        .rotate_key(&ADMIN, "key_1", new("key_2", 1), later(100))
        .await
        .unwrap();
    assert_eq!(rotated.device_id.as_deref(), Some("dev_1"));
    // The old key within its overlap does not take the new one's place.
    store
        .reconnect_device(&device_of("ann", "key_1"), "dev_1", later(2))
        .await
        .unwrap();
    assert_eq!(record(&*store, "key_2").await.status, KeyStatus::Active);
    let device = store
        .register_device(&device_of("ann", "key_2"), facts("dev_9", "x"), later(3))
        .await
        .unwrap();
    assert_eq!(
        (device.id.as_str(), device.api_key_id.as_str()),
        ("dev_1", "key_2")
    );
    assert_eq!(record(&*store, "key_1").await.status, KeyStatus::Revoked);
    assert_eq!(acts(&*store, 1).await, ["device dev_1: key.revoke key_1"]);
    // The second is bound, and so is the third.
    let rotated = store
        .rotate_key(&ADMIN, "key_2", new("key_3", 4), later(100))
        .await
        .unwrap();
    assert_eq!(rotated.device_id.as_deref(), Some("dev_1"));

    // An operator's key stays an operator's.
    let mut admin = new_key("ann", "key_4");
    admin.scopes = Scopes::from_iter([Scope::Admin, Scope::Device]);
    store.add_key(&ADMIN, admin).await.unwrap();
    store
        .register_device(&device_of("ann", "key_4"), facts("dev_4", "x"), NOW)
        .await
        .unwrap();
    let rotated = store
        .rotate_key(&ADMIN, "key_4", new("key_5", 1), later(100))
        .await
        .unwrap();
    assert_eq!(rotated.device_id, None);
}

pub(crate) async fn what_cannot_be_rotated_leaves_nothing(store: Shared) {
    for id in ["revoked", "expired", "good"] {
        let mut key = new_key("ann", id);
        key.expires_at = (id == "expired").then(|| later(1));
        store.add_key(&ADMIN, key).await.unwrap();
    }
    store.revoke_key(&ADMIN, "revoked", NOW).await.unwrap();
    let new = || NewKey {
        created_at: later(1),
        ..new_key("ann", "new")
    };
    for (who, id, text) in [
        (
            ADMIN,
            "revoked",
            "the key is revoked, so nothing can take its place",
        ),
        (
            ADMIN,
            "expired",
            "the key has expired, so nothing can take its place",
        ),
        (ADMIN, "nothing", "no such key"),
        (operator("bob"), "good", "no such key"),
        (device_of("ann", "good"), "good", "no such key"),
    ] {
        let error = store.rotate_key(&who, id, new(), later(9)).await.unwrap_err();
        assert_eq!(error.to_string(), text, "{who:?} {id}");
    }
    let mut taken = new();
    taken.prefix = KeyPrefix::parse("good").unwrap();
    let error = store
        .rotate_key(&ADMIN, "good", taken, later(9))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "a key with this prefix exists already");
    assert_eq!(store.keys(&ADMIN, 10).await.unwrap().len(), 3);
    assert_eq!(store.key(&ADMIN, "good").await.unwrap().expires_at, None);
}

pub(crate) async fn only_operators_change_keys(store: Shared) {
    store.add_key(&ADMIN, new_key("ann", "key_1")).await.unwrap();
    let before = store.key(&ADMIN, "key_1").await.unwrap();
    for who in [operator("bob"), operator("gil"), device_of("ann", "key_1")] {
        let repaired = store
            .repair_key_prefix(&who, "key_1", &prefix("sk_live_abcd"), "...", NOW)
            .await;
        assert_eq!(repaired, Err(StoreError::NotFound(Kind::Key)), "{who:?}");
    }
    assert_eq!(store.key(&ADMIN, "key_1").await.unwrap(), before);
}
