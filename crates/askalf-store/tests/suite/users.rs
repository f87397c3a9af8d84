use askalf_bridge_auth::UserStatus;
use askalf_bridge_core::stores::{NewUser, Principal, StoreError};

use super::{ADMIN, NOW, Shared, acts, device_of, new_key, operator};

fn new_user(id: &str, tenant: Option<&str>) -> NewUser {
    NewUser {
        id: id.to_owned(),
        tenant_id: tenant.map(str::to_owned),
        email: format!("{id}@acme.test"),
        display_name: None,
        created_at: NOW,
    }
}

pub(crate) async fn a_user_is_added_to_a_tenant_that_is_made_where_needed(store: Shared) {
    let mut zoe = new_user("zoe", Some("acme"));
    (zoe.email, zoe.display_name) = ("Zoë@Acme.test".to_owned(), Some("Zoë 🦀".to_owned()));
    let added = store.add_user(&ADMIN, zoe).await.unwrap();
    assert_eq!((added.id.as_str(), added.tenant_id.as_str()), ("zoe", "acme"));
    assert_eq!(
        (added.email.as_str(), added.display_name.as_deref()),
        ("Zoë@Acme.test", Some("Zoë 🦀"))
    );
    assert_eq!(
        (added.status, added.created_at),
        (Some(UserStatus::Active), Some(NOW))
    );
    let hal = store
        .add_user(&ADMIN, new_user("hal", Some("initech")))
        .await
        .unwrap();
    assert_eq!(hal.tenant_id, "initech");
    assert_eq!(
        acts(&*store, 2).await,
        ["uid 0: user.add hal", "uid 0: user.add zoe"]
    );
    let key = store.add_key(&ADMIN, new_key("hal", "key_1")).await.unwrap();
    assert_eq!(key.tenant_id, "initech");
}

pub(crate) async fn what_is_wrong_with_a_user_is_said_and_nothing_is_made(store: Shared) {
    let before = store.users(&ADMIN, 100).await.unwrap();
    let address = |email: &str| NewUser {
        email: email.to_owned(),
        ..new_user("new", Some("fresh"))
    };
    for (user, text) in [
        (
            new_user("ann", Some("acme")),
            "a user with this id exists already",
        ),
        (
            address("ANN@acme.test"),
            "a user with this address exists already",
        ),
        (
            new_user("new", None),
            "there are several tenants: name one with --tenant",
        ),
        (
            new_user("", Some("acme")),
            "the id of the user is empty or contains spaces",
        ),
        (
            new_user("new", Some("a b")),
            "the id of the tenant is empty or contains spaces",
        ),
        (address("nobody"), "'nobody' is no e-mail address"),
        (address("a@b c"), "'a@b c' is no e-mail address"),
        (
            new_user(&"x".repeat(101), Some("acme")),
            "the id of the user has 101 characters; at most 100 fit",
        ),
    ] {
        let error = store.add_user(&ADMIN, user).await.unwrap_err();
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(store.users(&ADMIN, 100).await.unwrap(), before);
    // The tenant went with the user that could not be added.
    let mut user = new_user("new", None);
    user.tenant_id = Some("fresh".to_owned());
    store.add_user(&ADMIN, user).await.unwrap();
}

pub(crate) async fn only_the_local_admin_adds_users(store: Shared) {
    for who in [operator("ann"), device_of("ann", "key_1"), Principal::Bridge] {
        let error = store
            .add_user(&who, new_user("new", Some("acme")))
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::User(_)), "{error:?}");
        assert_eq!(error.to_string(), "only a local admin of the bridge adds users");
    }
}

pub(crate) async fn an_operator_sees_itself_among_the_users(store: Shared) {
    let seen = async |who: &Principal, limit| {
        let users = store.users(who, limit).await.unwrap();
        users.into_iter().map(|user| user.id).collect::<Vec<_>>()
    };
    let all = seen(&ADMIN, 100).await;
    assert!(all.is_sorted() && all.contains(&"gil".to_owned()), "{all:?}");
    assert_eq!(seen(&ADMIN, 1).await, all[..1]);
    assert_eq!(seen(&operator("bob"), 100).await, ["bob"]);
    assert_eq!(seen(&device_of("bob", "key_1"), 100).await, [""; 0]);
    let users = store.users(&ADMIN, 100).await.unwrap();
    let sue = users.iter().find(|user| user.id == "sue").unwrap();
    assert_eq!(sue.status, Some(UserStatus::Suspended));
}
