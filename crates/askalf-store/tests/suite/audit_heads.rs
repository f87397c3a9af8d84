use askalf_bridge_core::stores::{
    AuditConflict, AuditHead, HeadKept, KeptAuditHead, Kind, Principal, StoreError,
};

use super::{ADMIN, NOW, Shared, acts, device_of, later, new_key, operator, registered};

fn head(seq: u64, digit: char) -> AuditHead {
    AuditHead {
        seq,
        head: digit.to_string().repeat(64),
    }
}

async fn tell(store: &Shared, who: &Principal, at: i64, seq: u64, digit: char) -> HeadKept {
    store
        .keep_audit_head(who, head(seq, digit), later(at))
        .await
        .unwrap()
}

async fn kept(store: &Shared) -> KeptAuditHead {
    store.audit_head(&ADMIN, "dev_1").await.unwrap().unwrap()
}

pub(crate) async fn a_head_moves_on_and_never_back(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    assert_eq!(store.audit_head(&ADMIN, "dev_1").await.unwrap(), None);
    assert_eq!(tell(&store, &who, 1, 5, 'a').await, HeadKept::Kept);
    assert_eq!(tell(&store, &who, 2, 5, 'a').await, HeadKept::Unchanged);
    assert_eq!(tell(&store, &who, 3, 9, 'b').await, HeadKept::Kept);
    let newest = KeptAuditHead {
        key_id: "key_1".to_owned(),
        head: head(9, 'b'),
        received_at: later(3),
        conflicts: 0,
        last_conflict: None,
    };
    assert_eq!(kept(&store).await, newest);

    assert_eq!(tell(&store, &who, 4, 8, 'c').await, HeadKept::Conflict);
    assert_eq!(tell(&store, &who, 5, 9, 'd').await, HeadKept::Conflict);
    let conflict = KeptAuditHead {
        conflicts: 2,
        last_conflict: Some(AuditConflict {
            at: later(5),
            head: head(9, 'd'),
        }),
        ..newest
    };
    assert_eq!(kept(&store).await, conflict);
    assert_eq!(tell(&store, &who, 6, 10, 'e').await, HeadKept::Kept);
    let on = KeptAuditHead {
        head: head(10, 'e'),
        received_at: later(6),
        ..conflict
    };
    assert_eq!(kept(&store).await, on, "and the conflict stays to be seen");
}

pub(crate) async fn a_new_key_begins_a_new_row_and_tells_where_it_is_behind(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    tell(&store, &who, 1, 50, 'a').await;
    let with_key = |key: &str| device_of("ann", key).registered_as("dev_1");
    for key in ["key_2", "key_3"] {
        let mut bound = new_key("ann", key);
        bound.device_id = Some("dev_1".to_owned());
        store.add_key(&ADMIN, bound).await.unwrap();
    }
    assert_eq!(tell(&store, &with_key("key_2"), 2, 60, 'b').await, HeadKept::Kept);
    assert_eq!(
        (kept(&store).await.head, kept(&store).await.conflicts),
        (head(60, 'b'), 0)
    );
    // Set up anew: its log begins again, which an operator may want to know.
    let anew = with_key("key_3");
    assert_eq!(tell(&store, &anew, 3, 1, 'c').await, HeadKept::Conflict);
    let now = kept(&store).await;
    assert_eq!(
        (now.head, now.key_id.as_str(), now.conflicts),
        (head(1, 'c'), "key_3", 1)
    );
    assert_eq!(tell(&store, &anew, 4, 2, 'd').await, HeadKept::Kept);
    assert_eq!(acts(&*store, 1).await, ["device dev_1: audit.conflict dev_1"]);
}

pub(crate) async fn a_flood_of_conflicts_is_one_act_an_hour(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    tell(&store, &who, 0, 5, 'a').await;
    let hour = 60 * 60 * 1000;
    for at in [1, 2, 3, hour / 2, hour + hour / 2] {
        assert_eq!(tell(&store, &who, at, 4, 'b').await, HeadKept::Conflict);
    }
    let conflicts = acts(&*store, 10).await;
    let of_conflict = conflicts.iter().filter(|act| act.contains("audit.conflict"));
    assert_eq!(of_conflict.count(), 2);
    assert_eq!(kept(&store).await.conflicts, 5);
}

pub(crate) async fn a_head_is_told_by_its_device_and_seen_by_its_owner_alone(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    let (other, _) = registered(&*store, "bob", "key_2", "dev_2").await;
    tell(&store, &who, 1, 5, 'a').await;
    for nobody in [
        ADMIN,
        operator("ann"),
        device_of("ann", "key_1"),
        other.registered_as("dev_1"),
    ] {
        assert_eq!(
            store.keep_audit_head(&nobody, head(6, 'b'), NOW).await,
            Err(StoreError::NotFound(Kind::Device)),
            "{nobody:?}"
        );
    }
    assert!(matches!(
        store.keep_audit_head(&who, head(u64::MAX, 'b'), NOW).await,
        Err(StoreError::Invalid(_))
    ));
    assert_eq!(kept(&store).await.head, head(5, 'a'));
    assert!(
        store
            .audit_head(&operator("ann"), "dev_1")
            .await
            .unwrap()
            .is_some()
    );
    for stranger in [operator("bob"), operator("gil"), who] {
        assert_eq!(
            store.audit_head(&stranger, "dev_1").await.unwrap(),
            None,
            "{stranger:?}"
        );
    }
}

pub(crate) async fn a_removed_device_leaves_no_head(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    tell(&store, &who, 1, 5, 'a').await;
    store.remove_device(&ADMIN, "dev_1", later(2)).await.unwrap();
    registered(&*store, "ann", "key_2", "dev_1").await;
    assert_eq!(store.audit_head(&ADMIN, "dev_1").await.unwrap(), None);
}
