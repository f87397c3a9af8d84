use askalf_bridge_auth::KeyStatus;
use askalf_bridge_core::stores::{
    Cause, Device, DeviceStatus, DeviceType, ExecutionEnd, ExecutionStatus, Kind, NewKey, Principal,
    StoreError,
};
use serde_json::json;

use super::{ADMIN, NOW, Shared, acts, device_of, dispatched, facts, later, new_key, operator, registered};

const GONE: StoreError = StoreError::NotFound(Kind::Device);

async fn only(store: &Shared, id: &str) -> Device {
    let mut found = store.find_devices(&ADMIN, id).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

pub(crate) async fn a_key_has_one_device_however_often_it_registers(store: Shared) {
    let (_, first) = registered(&*store, "ann", "key_1", "dev_1").await;
    assert_eq!(
        (first.tenant_id.as_str(), first.user_id.as_str()),
        ("acme", "ann")
    );
    assert_eq!(
        (first.api_key_id.as_str(), first.status),
        ("key_1", DeviceStatus::Online)
    );
    assert_eq!((first.created_at, first.last_seen_at), (NOW, Some(NOW)));
    assert_eq!((first.device_type.as_str(), first.max_concurrent), ("cli", 2));

    let mut renamed = facts("dev_2", "Küche 🍳");
    renamed.device_type = DeviceType::Rpi;
    renamed.max_concurrent = u32::MAX;
    renamed.capabilities = json!({ "ünï": ["a", { "b": null }] })
        .as_object()
        .unwrap()
        .clone();
    let again = store
        .register_device(&device_of("ann", "key_1"), renamed.clone(), later(5))
        .await
        .unwrap();
    assert_eq!(again.id, "dev_1");
    assert_eq!(
        (again.name.as_str(), &again.capabilities),
        ("Küche 🍳", &renamed.capabilities)
    );
    assert_eq!(
        (again.device_type.as_str(), again.max_concurrent),
        ("rpi", i32::MAX as u32)
    );
    assert_eq!((again.created_at, again.last_seen_at), (NOW, Some(later(5))));
    assert_eq!(store.devices(&ADMIN, 10).await.unwrap(), [again]);
}

pub(crate) async fn what_a_device_does_not_tell_again_stays_known(store: Shared) {
    registered(&*store, "ann", "key_1", "dev_1").await;
    let mut terse = facts("", "dev_1");
    (terse.hostname, terse.os) = (None, None);
    let device = store
        .register_device(&device_of("ann", "key_1"), terse, NOW)
        .await
        .unwrap();
    assert_eq!(
        (device.hostname.as_deref(), device.os.as_deref()),
        (Some("dev_1.test"), Some("linux"))
    );
}

pub(crate) async fn only_a_device_registers(store: Shared) {
    registered(&*store, "ann", "key_1", "dev_1").await;
    for who in [Principal::Bridge, ADMIN, operator("ann")] {
        assert_eq!(
            store
                .register_device(&who, facts("dev_2", "x"), NOW)
                .await
                .unwrap_err(),
            GONE
        );
        assert_eq!(
            store.reconnect_device(&who, "dev_1", NOW).await.unwrap_err(),
            GONE
        );
    }
    assert_eq!(store.devices(&ADMIN, 10).await.unwrap().len(), 1);
}

pub(crate) async fn a_device_comes_back_as_itself_alone(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    registered(&*store, "ann", "key_2", "dev_2").await;
    store.device_offline(&who, "dev_1", NOW).await.unwrap();
    let back = store
        .reconnect_device(&device_of("ann", "key_1"), "dev_1", later(9))
        .await
        .unwrap();
    assert_eq!(
        (back.status, back.last_seen_at),
        (DeviceStatus::Online, Some(later(9)))
    );
    assert_eq!(back, only(&store, "dev_1").await);

    let before = store.devices(&ADMIN, 10).await.unwrap();
    for (who, id) in [
        (device_of("ann", "key_1"), "dev_2"),
        (device_of("ann", "key_1"), "dev_3"),
        (device_of("ann", "key_3"), "dev_1"),
        (device_of("bob", "key_1"), "dev_1"),
        (device_of("gil", "key_1"), "dev_1"),
    ] {
        assert_eq!(
            store.reconnect_device(&who, id, later(10)).await.unwrap_err(),
            GONE,
            "{who:?} {id}"
        );
    }
    assert_eq!(store.devices(&ADMIN, 10).await.unwrap(), before);
}

pub(crate) async fn a_bound_key_takes_its_device_over(store: Shared) {
    let (_, device) = registered(&*store, "ann", "key_1", "dev_1").await;
    registered(&*store, "ann", "key_2", "dev_2").await;
    let mut bound = new_key("ann", "key_3");
    bound.device_id = Some("dev_1".to_owned());
    store.add_key(&ADMIN, bound).await.unwrap();
    let who = device_of("ann", "key_3");
    assert_eq!(
        store.reconnect_device(&who, "dev_2", NOW).await.unwrap_err(),
        GONE
    );

    let taken = store
        .register_device(&who, facts("dev_3", "new"), later(1))
        .await
        .unwrap();
    assert_eq!((taken.id.as_str(), taken.api_key_id.as_str()), ("dev_1", "key_3"));
    assert_eq!(
        (taken.created_at, taken.name.as_str()),
        (device.created_at, "new")
    );
    assert_eq!(store.devices(&ADMIN, 10).await.unwrap().len(), 2);
    // The key before it has lost the device.
    assert_eq!(
        store
            .reconnect_device(&device_of("ann", "key_1"), "dev_1", NOW)
            .await
            .unwrap_err(),
        GONE
    );

    let mut other = new_key("ann", "key_4");
    other.device_id = Some("dev_1".to_owned());
    store.add_key(&ADMIN, other).await.unwrap();
    let taken = store
        .reconnect_device(&device_of("ann", "key_4"), "dev_1", later(2))
        .await
        .unwrap();
    assert_eq!(taken.api_key_id, "key_4");
}

pub(crate) async fn a_device_touches_itself_alone(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    let (other, _) = registered(&*store, "ann", "key_2", "dev_2").await;
    let more = json!({ "gpu": 2 }).as_object().unwrap().clone();
    store
        .touch_device(&who, "dev_1", Some(&more), later(1))
        .await
        .unwrap();
    let device = only(&store, "dev_1").await;
    assert_eq!(
        (device.last_seen_at, &device.capabilities),
        (Some(later(1)), &more)
    );
    store.touch_device(&who, "dev_1", None, later(2)).await.unwrap();
    let device = only(&store, "dev_1").await;
    assert_eq!(
        (device.last_seen_at, &device.capabilities),
        (Some(later(2)), &more)
    );

    let moved = device_of("ann", "key_1").registered_as("dev_2");
    for (who, id) in [
        (&other, "dev_1"),
        (&moved, "dev_1"),
        (&operator("gil"), "dev_1"),
        (&who, "dev_3"),
    ] {
        assert_eq!(
            store
                .touch_device(who, id, Some(&more), later(3))
                .await
                .unwrap_err(),
            GONE
        );
    }
    assert_eq!(only(&store, "dev_1").await, device);
}

pub(crate) async fn who_is_offline_is_said_by_its_owner_alone(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    let (other, _) = registered(&*store, "ann", "key_2", "dev_2").await;
    for stranger in [&other, &operator("bob"), &operator("gil")] {
        store.device_offline(stranger, "dev_1", NOW).await.unwrap();
        assert_eq!(
            only(&store, "dev_1").await.status,
            DeviceStatus::Online,
            "{stranger:?}"
        );
    }
    store.device_offline(&who, "dev_1", NOW).await.unwrap();
    assert_eq!(only(&store, "dev_1").await.status, DeviceStatus::Offline);
    assert_eq!(only(&store, "dev_2").await.status, DeviceStatus::Online);
    store
        .device_offline(&Principal::Bridge, "dev_2", NOW)
        .await
        .unwrap();
    assert_eq!(only(&store, "dev_2").await.status, DeviceStatus::Offline);
}

pub(crate) async fn at_the_start_nobody_is_there(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    registered(&*store, "bob", "key_2", "dev_2").await;
    registered(&*store, "gil", "key_3", "dev_3").await;
    store.device_offline(&who, "dev_1", NOW).await.unwrap();
    assert_eq!(store.all_devices_offline(later(1)).await.unwrap(), 2);
    let devices = store.devices(&ADMIN, 10).await.unwrap();
    assert!(
        devices
            .iter()
            .all(|device| device.status == DeviceStatus::Offline)
    );
    // Being swept is not being heard.
    assert!(devices.iter().all(|device| device.last_seen_at == Some(NOW)));
    assert_eq!(store.all_devices_offline(later(2)).await.unwrap(), 0);
}

pub(crate) async fn devices_are_found_by_id_then_by_name(store: Shared) {
    for (key, id, name) in [
        ("key_1", "dev_1", "twin"),
        ("key_2", "dev_2", "twin"),
        ("key_3", "dev_3", "dev_1"),
    ] {
        registered(&*store, "ann", key, id).await;
        store
            .register_device(&device_of("ann", key), facts("", name), NOW)
            .await
            .unwrap();
    }
    let found = async |text: &str| {
        let devices = store.find_devices(&operator("ann"), text).await.unwrap();
        devices.into_iter().map(|device| device.id).collect::<Vec<_>>()
    };
    assert_eq!(found("twin").await, ["dev_1", "dev_2"]);
    assert_eq!(
        found("dev_1").await,
        ["dev_1"],
        "an id is not taken over by a name"
    );
    assert_eq!(found("dev_3").await, ["dev_3"]);
    assert_eq!(found("Twin").await, [""; 0]);
    assert_eq!(found("tw%").await, [""; 0]);
}

pub(crate) async fn a_listing_is_by_name_and_bounded(store: Shared) {
    for (key, id) in [("key_1", "dev_c"), ("key_2", "dev_a"), ("key_3", "dev_b")] {
        registered(&*store, "ann", key, id).await;
    }
    for (limit, expected) in [
        (0, &[][..]),
        (2, &["dev_a", "dev_b"]),
        (u32::MAX, &["dev_a", "dev_b", "dev_c"]),
    ] {
        let devices = store.devices(&ADMIN, limit).await.unwrap();
        assert_eq!(
            devices
                .iter()
                .map(|device| device.id.as_str())
                .collect::<Vec<_>>(),
            expected
        );
    }
}

pub(crate) async fn an_id_that_is_taken_is_a_conflict(store: Shared) {
    registered(&*store, "ann", "key_1", "dev_1").await;
    store.add_key(&ADMIN, new_key("gil", "key_2")).await.unwrap();
    let error = store
        .register_device(&device_of("gil", "key_2"), facts("dev_1", "x"), NOW)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "a device with this id exists already");
    assert_eq!(only(&store, "dev_1").await.user_id, "ann");
}

pub(crate) async fn nobody_sees_the_devices_of_others(store: Shared) {
    let (ann, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    registered(&*store, "ann", "key_2", "dev_2").await;
    registered(&*store, "bob", "key_3", "dev_3").await;
    registered(&*store, "gil", "key_4", "dev_4").await;
    let seen = async |who: &Principal| {
        let devices = store.devices(who, 10).await.unwrap();
        devices.into_iter().map(|device| device.id).collect::<Vec<_>>()
    };
    assert_eq!(seen(&operator("ann")).await, ["dev_1", "dev_2"]);
    assert_eq!(seen(&operator("gil")).await, ["dev_4"]);
    assert_eq!(seen(&ann).await, ["dev_1"]);
    assert_eq!(seen(&device_of("ann", "key_2")).await, ["dev_2"]);
    assert_eq!(seen(&ADMIN).await.len(), 4);
    let stray = Principal::Operator {
        tenant_id: "globex".to_owned(),
        user_id: "ann".to_owned(),
        key_id: "key_4".to_owned(),
    };
    assert_eq!(seen(&stray).await, [""; 0]);
    for who in [
        &operator("bob"),
        &operator("gil"),
        &stray,
        &device_of("ann", "key_2"),
    ] {
        assert_eq!(store.find_devices(who, "dev_1").await.unwrap(), []);
    }
}

/// Its session was let in before, and registers late.
pub(crate) async fn a_revoked_key_makes_no_device_and_takes_none_back(store: Shared) {
    registered(&*store, "ann", "key_1", "dev_1").await;
    for (id, at) in [("key_2", 1), ("key_3", 2)] {
        let bound = NewKey {
            device_id: Some("dev_1".to_owned()),
            created_at: later(at),
            ..new_key("ann", id)
        };
        store.add_key(&ADMIN, bound).await.unwrap();
        store
            .reconnect_device(&device_of("ann", id), "dev_1", later(at))
            .await
            .unwrap();
    }
    // Both are retired: one that was bound to nothing, and one that is bound to the device.
    for key in ["key_1", "key_2"] {
        let who = device_of("ann", key);
        let error = store
            .register_device(&who, facts("dev_2", "x"), later(3))
            .await
            .unwrap_err();
        assert_eq!(error, StoreError::NotFound(Kind::Key), "{key}");
    }
    let error = store
        .reconnect_device(&device_of("ann", "key_2"), "dev_1", later(3))
        .await
        .unwrap_err();
    assert_eq!(error, StoreError::NotFound(Kind::Key));
    let devices = store.devices(&ADMIN, 10).await.unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0].api_key_id, "key_3");
}

pub(crate) async fn a_bound_key_retires_the_older_ones_at_its_first_use(store: Shared) {
    registered(&*store, "ann", "key_1", "dev_1").await;
    registered(&*store, "ann", "other", "dev_2").await;
    let bound = |id: &str, at, device: &str| NewKey {
        device_id: Some(device.to_owned()),
        created_at: later(at),
        ..new_key("ann", id)
    };
    for (id, at, device) in [
        ("key_2", 1, "dev_1"),
        ("key_3", 2, "dev_1"),
        ("key_4", 3, "dev_1"),
        ("key_5", 1, "dev_2"),
    ] {
        store.add_key(&ADMIN, bound(id, at, device)).await.unwrap();
    }
    let active = async || {
        let keys = store.keys(&ADMIN, 10).await.unwrap();
        let active = keys.into_iter().filter(|key| key.status == KeyStatus::Active);
        let mut ids: Vec<_> = active.map(|key| key.id).collect();
        ids.sort();
        ids
    };
    // Until then each of them is good. By reconnecting as well as by registering.
    assert_eq!(active().await.len(), 6);
    store
        .reconnect_device(&device_of("ann", "key_3"), "dev_1", later(9))
        .await
        .unwrap();
    assert_eq!(active().await, ["key_3", "key_4", "key_5", "other"]);
    store
        .register_device(&device_of("ann", "key_4"), facts("", "x"), later(10))
        .await
        .unwrap();
    assert_eq!(active().await, ["key_4", "key_5", "other"]);
    // A key that is not bound takes nothing over.
    store
        .reconnect_device(&device_of("ann", "other"), "dev_2", later(11))
        .await
        .unwrap();
    assert_eq!(active().await, ["key_4", "key_5", "other"]);
}

pub(crate) async fn a_removed_device_takes_its_keys_with_it_and_leaves_its_history(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    let mut bound = new_key("ann", "key_2");
    bound.device_id = Some("dev_1".to_owned());
    store.add_key(&ADMIN, bound).await.unwrap();
    dispatched(&*store, "exec_1", "dev_1").await;
    let error = store.remove_device(&ADMIN, "dev_1", later(1)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the device has executions that have not ended: cancel them first"
    );
    let end = ExecutionEnd::without_result(ExecutionStatus::Cancelled, Cause::Cancelled, "stopped");
    store
        .finish_execution(&ADMIN, "exec_1", end, later(1))
        .await
        .unwrap();
    for stranger in [
        operator("bob"),
        operator("gil"),
        who.clone(),
        device_of("ann", "key_1"),
    ] {
        assert_eq!(
            store
                .remove_device(&stranger, "dev_1", later(1))
                .await
                .unwrap_err(),
            GONE,
            "{stranger:?}"
        );
    }
    store
        .remove_device(&operator("ann"), "dev_1", later(2))
        .await
        .unwrap();
    assert_eq!(store.devices(&ADMIN, 10).await.unwrap(), []);
    assert_eq!(
        store.remove_device(&ADMIN, "dev_1", later(3)).await.unwrap_err(),
        GONE
    );
    let key = store.key(&ADMIN, "key_2").await.unwrap();
    assert_eq!((key.status, key.revoked_at), (KeyStatus::Revoked, Some(later(2))));
    assert_eq!(
        store.key(&ADMIN, "key_1").await.unwrap().status,
        KeyStatus::Active
    );
    let execution = store.execution(&ADMIN, "exec_1").await.unwrap();
    assert_eq!(execution.device_id.as_deref(), Some("dev_1"));
    assert_eq!(
        acts(&*store, 2).await,
        [
            "user ann with key key_op_ann: device.remove dev_1",
            "user ann with key key_op_ann: key.revoke key_2"
        ]
    );
    // A bound key makes no new device.
    let error = store
        .register_device(&device_of("ann", "key_2"), facts("dev_2", "x"), later(4))
        .await
        .unwrap_err();
    assert_eq!(error, GONE);
}
