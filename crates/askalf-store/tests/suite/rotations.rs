use askalf_bridge_auth::{KeyStatus, Scopes};
use askalf_bridge_core::stores::{
    Kind, NewKey, NewRotation, Principal, Rotation, RotationEnd, RotationState, StoreError,
};

use super::{ADMIN, NOW, Shared, acts, device_of, facts, later, new_key, operator, prefix, registered};

const GONE: StoreError = StoreError::NotFound(Kind::Rotation);

fn new_rotation(number: u32, device_id: &str, old_key_id: &str) -> NewRotation {
    NewRotation {
        id: format!("rot_{number}"),
        device_id: device_id.to_owned(),
        old_key_id: old_key_id.to_owned(),
        key: NewKey {
            created_at: later(1000 * i64::from(number)),
            name: "of the caller".to_owned(),
            scopes: Scopes::parse(["admin"]),
            ..new_key("bob", &format!("key_new_{number}"))
        },
        attempt: 1,
        staged_at: later(1000 * i64::from(number)),
    }
}

/// A device with `key_1`, and a rotation to `key_new_1` that is staged.
async fn staged(store: &Shared) -> Rotation {
    registered(&**store, "ann", "key_1", "dev_1").await;
    let new = new_rotation(1, "dev_1", "key_1");
    store.stage_rotation(&operator("ann"), new).await.unwrap()
}

async fn status(store: &Shared, key_id: &str) -> KeyStatus {
    store.key(&ADMIN, key_id).await.unwrap().status
}

async fn registers(store: &Shared, key_id: &str, at: i64) -> Result<String, StoreError> {
    let who = device_of("ann", key_id);
    let device = store
        .register_device(&who, facts("dev_other", "dev_1"), later(at))
        .await?;
    Ok(device.id)
}

pub(crate) async fn a_staged_key_is_the_devices_beside_the_old_one(store: Shared) {
    let rotation = staged(&store).await;
    assert_eq!(
        (rotation.state, rotation.attempt, rotation.by.as_str()),
        (RotationState::Staged, 1, "user ann with key key_op_ann")
    );
    let key = store.key(&ADMIN, "key_new_1").await.unwrap();
    assert_eq!(
        (key.name.as_str(), key.user_id.as_deref()),
        ("key key_1", Some("ann"))
    );
    assert_eq!(key.device_id.as_deref(), Some("dev_1"));
    assert_eq!(key.scopes, Scopes::parse(["device"]), "whatever the caller says");
    assert_eq!(key.expires_at, None);
    let old = store.key(&ADMIN, "key_1").await.unwrap();
    assert_eq!(
        old.device_id.as_deref(),
        Some("dev_1"),
        "either is the same device"
    );
    assert_eq!(
        store.rotations(&ADMIN, 10).await.unwrap(),
        std::slice::from_ref(&rotation)
    );
    assert_eq!(
        store.open_rotation("dev_1", "key_1").await.unwrap(),
        Some(rotation.clone())
    );
    assert_eq!(store.open_rotation("dev_2", "key_1").await.unwrap(), None);

    let again = store
        .stage_rotation(&ADMIN, new_rotation(2, "dev_1", "key_1"))
        .await;
    assert_eq!(
        again.unwrap_err(),
        StoreError::Invalid("a rotation of this device's key is under way".to_owned())
    );
    store
        .rotation_stored(
            &device_of("ann", "key_1").registered_as("dev_1"),
            "rot_1",
            later(5),
        )
        .await
        .unwrap();
    let listed = store.rotations(&operator("ann"), 10).await.unwrap();
    assert_eq!(listed[0].stored_at, Some(later(5)));
    assert_eq!(store.rotations(&operator("bob"), 10).await.unwrap(), []);
}

pub(crate) async fn a_key_that_ends_is_replaced_by_one_that_is_good_for_as_long(store: Shared) {
    let mut old = new_key("ann", "key_1");
    old.expires_at = Some(later(60_000));
    store.add_key(&ADMIN, old).await.unwrap();
    registers(&store, "key_1", 0).await.unwrap();
    store
        .stage_rotation(&ADMIN, new_rotation(1, "dev_other", "key_1"))
        .await
        .unwrap();
    let key = store.key(&ADMIN, "key_new_1").await.unwrap();
    assert_eq!(key.expires_at, Some(later(61_000)));
}

pub(crate) async fn a_proof_makes_the_new_key_the_devices_and_the_confirmation_ends_the_old(store: Shared) {
    staged(&store).await;
    let new = device_of("ann", "key_new_1");
    let committed = store.commit_rotation(&new, "rot_1", later(10)).await.unwrap();
    assert_eq!(
        (committed.state, committed.committed_at),
        (RotationState::Committed, Some(later(10)))
    );
    let device = store.find_devices(&ADMIN, "dev_1").await.unwrap().remove(0);
    assert_eq!(device.api_key_id, "key_new_1");
    assert_eq!(
        store.commit_rotation(&new, "rot_1", later(20)).await.unwrap(),
        committed
    );

    // Both are the same device until the confirmation, in whatever order they come.
    for key in ["key_new_1", "key_1", "key_new_1", "key_1"] {
        assert_eq!(registers(&store, key, 30).await.unwrap(), "dev_1", "{key}");
        assert_eq!(status(&store, "key_1").await, KeyStatus::Active);
        assert_eq!(status(&store, "key_new_1").await, KeyStatus::Active);
    }
    assert_eq!(store.open_rotation("dev_1", "key_1").await.unwrap(), None);
    assert_eq!(
        store.open_rotation("dev_1", "key_new_1").await.unwrap(),
        Some(committed.clone())
    );
    // No further than staged: that is over.
    let end = RotationEnd::Dropped("too late");
    assert_eq!(
        store
            .end_rotation(&Principal::Bridge, "rot_1", end, later(40))
            .await
            .unwrap(),
        None
    );

    let new = new.registered_as("dev_1");
    let confirmed = store.confirm_rotation(&new, "rot_1", later(50)).await.unwrap();
    assert_eq!(
        (confirmed.state, confirmed.ended_at, confirmed.reason.clone()),
        (RotationState::Confirmed, Some(later(50)), None)
    );
    assert_eq!(status(&store, "key_1").await, KeyStatus::Revoked);
    assert_eq!(
        store.confirm_rotation(&new, "rot_1", later(60)).await.unwrap(),
        confirmed
    );
    assert_eq!(
        store.commit_rotation(&new, "rot_1", later(60)).await.unwrap(),
        confirmed
    );
    assert_eq!(
        registers(&store, "key_1", 70).await,
        Err(StoreError::NotFound(Kind::Key))
    );
    assert_eq!(
        acts(&*store, 4).await,
        [
            "device dev_1: key.revoke key_1",
            "device dev_1: rotation.confirm rot_1",
            "a device with key key_new_1: rotation.commit rot_1",
            "user ann with key key_op_ann: rotation.stage rot_1",
        ]
    );
}

pub(crate) async fn a_registration_with_the_new_key_is_its_proof(store: Shared) {
    staged(&store).await;
    assert_eq!(registers(&store, "key_new_1", 10).await.unwrap(), "dev_1");
    let rotation = store.rotations(&ADMIN, 10).await.unwrap().remove(0);
    assert_eq!(
        (rotation.state, rotation.committed_at),
        (RotationState::Committed, Some(later(10)))
    );
    assert_eq!(
        status(&store, "key_1").await,
        KeyStatus::Active,
        "until it is confirmed"
    );
    let who = device_of("ann", "key_new_1");
    let back = store.reconnect_device(&who, "dev_1", later(20)).await.unwrap();
    assert_eq!(back.api_key_id, "key_new_1");
    assert_eq!(status(&store, "key_1").await, KeyStatus::Active);
}

pub(crate) async fn a_rotation_that_is_given_up_leaves_the_old_key_alone(store: Shared) {
    staged(&store).await;
    let device = device_of("ann", "key_1").registered_as("dev_1");
    let stranger = device_of("ann", "key_x").registered_as("dev_2");
    let end = || RotationEnd::Failed("the disk is full".to_owned());
    assert_eq!(
        store
            .end_rotation(&stranger, "rot_1", end(), later(5))
            .await
            .unwrap(),
        None
    );
    let ended = store
        .end_rotation(&device, "rot_1", end(), later(10))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (ended.state, ended.reason.as_deref(), ended.ended_at),
        (RotationState::Failed, Some("the disk is full"), Some(later(10)))
    );
    assert_eq!(status(&store, "key_new_1").await, KeyStatus::Revoked);
    assert_eq!(status(&store, "key_1").await, KeyStatus::Active);
    let new = device_of("ann", "key_new_1");
    assert_eq!(store.commit_rotation(&new, "rot_1", later(20)).await, Err(GONE));
    assert_eq!(registers(&store, "key_1", 30).await.unwrap(), "dev_1");
    store
        .stage_rotation(&ADMIN, new_rotation(2, "dev_1", "key_1"))
        .await
        .unwrap();
    let listed = store.rotations(&ADMIN, 10).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|rotation| rotation.id.as_str()).collect();
    assert_eq!(ids, ["rot_2", "rot_1"]);
}

pub(crate) async fn only_the_new_key_proves_and_confirms(store: Shared) {
    staged(&store).await;
    for who in [
        device_of("ann", "key_1"),
        device_of("bob", "key_new_1"),
        operator("ann"),
        ADMIN,
    ] {
        assert_eq!(
            store.commit_rotation(&who, "rot_1", NOW).await,
            Err(GONE),
            "{who}"
        );
        assert_eq!(
            store.confirm_rotation(&who, "rot_1", NOW).await,
            Err(GONE),
            "{who}"
        );
    }
    let new = device_of("ann", "key_new_1");
    assert_eq!(store.commit_rotation(&new, "rot_2", NOW).await, Err(GONE));
    assert_eq!(
        store.confirm_rotation(&new, "rot_1", NOW).await,
        Err(GONE),
        "it was not committed"
    );
    assert_eq!(store.commit_rotation(&new, "rot\0_1", NOW).await, Err(GONE));
}

pub(crate) async fn who_may_begin_a_rotation_and_of_what(store: Shared) {
    registered(&*store, "ann", "key_1", "dev_1").await;
    let stage = |who: Principal, device: &'static str, key: &'static str| {
        let store = store.clone();
        async move {
            store
                .stage_rotation(&who, new_rotation(1, device, key))
                .await
                .unwrap_err()
        }
    };
    let gone = StoreError::NotFound(Kind::Device);
    assert_eq!(stage(operator("bob"), "dev_1", "key_1").await, gone);
    assert_eq!(stage(ADMIN, "dev_2", "key_1").await, gone);
    assert_eq!(
        stage(ADMIN, "dev_1", "key_2").await,
        StoreError::NotFound(Kind::Key)
    );
    let device = device_of("ann", "key_1").registered_as("dev_1");
    assert!(matches!(
        stage(device, "dev_1", "key_1").await,
        StoreError::User(_)
    ));

    let mut taken = new_rotation(1, "dev_1", "key_1");
    taken.key.prefix = prefix("key_1");
    assert!(matches!(
        store.stage_rotation(&ADMIN, taken).await,
        Err(StoreError::Conflict(_))
    ));
    let mut admin = new_key("ann", "key_admin");
    admin.scopes = Scopes::parse(["admin", "device"]);
    store.add_key(&ADMIN, admin).await.unwrap();
    let refused = stage(ADMIN, "dev_1", "key_admin").await;
    assert!(refused.to_string().contains("operator's key"), "{refused}");
    store.revoke_key(&ADMIN, "key_1", NOW).await.unwrap();
    let refused = stage(ADMIN, "dev_1", "key_1").await;
    assert!(refused.to_string().contains("is revoked"), "{refused}");
    assert_eq!(store.rotations(&ADMIN, 10).await.unwrap(), []);
}

pub(crate) async fn who_revokes_a_key_revokes_what_was_to_take_its_place(store: Shared) {
    staged(&store).await;
    store.revoke_key(&ADMIN, "key_1", later(10)).await.unwrap();
    assert_eq!(status(&store, "key_new_1").await, KeyStatus::Revoked);
    let rotation = store.rotations(&ADMIN, 10).await.unwrap().remove(0);
    assert_eq!(
        (rotation.state, rotation.reason.as_deref()),
        (RotationState::Dropped, Some("its key was revoked"))
    );
}

pub(crate) async fn pairing_anew_ends_a_rotation(store: Shared) {
    staged(&store).await;
    let new = device_of("ann", "key_new_1");
    store.commit_rotation(&new, "rot_1", later(10)).await.unwrap();
    let paired = NewKey {
        device_id: Some("dev_1".to_owned()),
        created_at: later(20_000),
        ..new_key("ann", "key_pair")
    };
    store.add_key(&ADMIN, paired).await.unwrap();
    assert_eq!(registers(&store, "key_pair", 30_000).await.unwrap(), "dev_1");
    for old in ["key_1", "key_new_1"] {
        assert_eq!(status(&store, old).await, KeyStatus::Revoked, "{old}");
    }
    let rotation = store.rotations(&ADMIN, 10).await.unwrap().remove(0);
    assert_eq!(rotation.state, RotationState::Dropped);
}

pub(crate) async fn a_removed_device_has_no_open_rotation(store: Shared) {
    staged(&store).await;
    store.remove_device(&ADMIN, "dev_1", later(10)).await.unwrap();
    let rotation = store.rotations(&ADMIN, 10).await.unwrap().remove(0);
    assert_eq!(
        (rotation.state, rotation.reason.as_deref()),
        (RotationState::Dropped, Some("the device was removed"))
    );
    for key in ["key_1", "key_new_1"] {
        assert_eq!(status(&store, key).await, KeyStatus::Revoked, "{key}");
    }
}

pub(crate) async fn a_lost_disk_leaves_the_old_key_good_and_the_next_rotation_settles_it(store: Shared) {
    staged(&store).await;
    let new = device_of("ann", "key_new_1");
    store.commit_rotation(&new, "rot_1", later(10)).await.unwrap();
    // The device has lost what was staged, and comes with the old key.
    assert_eq!(registers(&store, "key_1", 2_000).await.unwrap(), "dev_1");
    store
        .stage_rotation(&ADMIN, new_rotation(2, "dev_1", "key_1"))
        .await
        .unwrap();
    let newer = device_of("ann", "key_new_2");
    store
        .commit_rotation(&newer, "rot_2", later(3_000))
        .await
        .unwrap();
    assert_eq!(registers(&store, "key_new_2", 4_000).await.unwrap(), "dev_1");
    let newer = newer.registered_as("dev_1");
    store
        .confirm_rotation(&newer, "rot_2", later(5_000))
        .await
        .unwrap();
    for key in ["key_1", "key_new_1"] {
        assert_eq!(status(&store, key).await, KeyStatus::Revoked, "{key}");
    }
    let states: Vec<_> = store.rotations(&ADMIN, 10).await.unwrap();
    let states: Vec<_> = states.iter().map(|rotation| rotation.state).collect();
    assert_eq!(states, [RotationState::Confirmed, RotationState::Dropped]);
}

pub(crate) async fn what_is_stuck_or_due_is_found(store: Shared) {
    let rotation = staged(&store).await;
    assert_eq!(store.overdue_rotations(later(1_000)).await.unwrap(), []);
    assert_eq!(store.overdue_rotations(later(1_001)).await.unwrap(), [rotation]);
    store.add_key(&ADMIN, new_key("ann", "key_2")).await.unwrap();
    store.add_key(&ADMIN, new_key("ann", "key_3")).await.unwrap();
    store.revoke_key(&ADMIN, "key_3", NOW).await.unwrap();
    let ids = ["key_1", "key_2", "key_3", "key_4"].map(str::to_owned);
    let made = store.keys_made_at(&ids, later(0)).await.unwrap();
    assert_eq!(
        made,
        [("key_2".to_owned(), NOW)],
        "key_1 was tried, key_3 is revoked"
    );
    let mut made = store.keys_made_at(&ids, later(1_000)).await.unwrap();
    made.sort();
    assert_eq!(made, [("key_1".to_owned(), NOW), ("key_2".to_owned(), NOW)]);
    assert_eq!(store.keys_made_at(&[], NOW).await.unwrap(), []);
}
