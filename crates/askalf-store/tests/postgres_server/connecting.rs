//! Opening a database.

use askalf_bridge_core::stores::{KeyStore, UserStore};
use askalf_store::{ConnectError, PostgresOptions, PostgresStore};

use super::catalogue::FORGE_TABLES;
use super::database::{Database, column, options};
use crate::suite::{ADMIN, new_key};

const FORGE: &str = include_str!("../../../../vectors/forge.sql");

const MIGRATIONS: &str = "select name from askalf_migrations order by version";

#[tokio::test]
async fn an_empty_database_gets_the_forges_tables_and_a_user() {
    let (empty, forge) = (Database::empty().await, Database::empty().await);
    forge.by_hand().await.batch_execute(FORGE).await.unwrap();
    let store = empty.open().await;
    let users = store.users(&ADMIN, 10).await.unwrap();
    assert_eq!(users.len(), 1);
    assert_eq!(
        (users[0].id.as_str(), users[0].tenant_id.as_str()),
        ("default", "default")
    );
    let ours = column(&empty.by_hand().await, FORGE_TABLES).await;
    let theirs = column(&forge.by_hand().await, FORGE_TABLES).await;
    let missing: Vec<_> = theirs.iter().filter(|line| !ours.contains(line)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    // What is more than a forge has are indexes, which change no answer.
    let more: Vec<_> = ours
        .iter()
        .filter(|line| !theirs.contains(line) && !line.contains(" CREATE INDEX "))
        .collect();
    assert!(more.is_empty(), "{more:#?}");
}

#[tokio::test]
async fn a_forges_tables_stay_as_they_are_and_its_users_are_the_users() {
    let database = Database::empty().await;
    let client = database.by_hand().await;
    client.batch_execute(FORGE).await.unwrap();
    let before = column(&client, FORGE_TABLES).await;
    assert!(before.len() > 80, "{before:#?}");
    let store = database.open().await;
    let mut key = new_key("selfhosted-admin", "key_1");
    key.user_id = None;
    let key = store.add_key(&ADMIN, key).await.unwrap();
    assert_eq!(key.user_id.as_deref(), Some("selfhosted-admin"));
    store.close().await;
    drop(store);
    // Again, with nothing left to do.
    database.open().await.close().await;
    assert_eq!(column(&client, FORGE_TABLES).await, before);
    assert_eq!(column(&client, "select id from tenants").await, ["selfhosted"]);
    let beside =
        "select relname::text from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace
        and relname like 'askalf%' order by 1";
    assert_eq!(
        column(&client, beside).await,
        [
            "askalf_acts",
            "askalf_attempts",
            "askalf_audit_heads",
            "askalf_key_devices",
            "askalf_key_digests",
            "askalf_migrations",
            "askalf_pair_codes",
            "askalf_rotations"
        ]
    );
}

#[tokio::test]
async fn a_schema_of_its_own_is_enough() {
    let database = Database::empty().await;
    let client = database.by_hand().await;
    client
        .batch_execute("create table cats (name text); create schema bridge")
        .await
        .unwrap();
    let url = format!("{}?options=-csearch_path%3Dbridge", database.url);
    PostgresStore::connect(&url, &options()).await.unwrap();
    assert_eq!(column(&client, "select id from bridge.users").await, ["default"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_make_the_same_database_at_once() {
    let database = Database::empty().await;
    let mut shared = options();
    shared.exclusive = false;
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (url, options) = (database.url.clone(), shared.clone());
        opening.spawn(async move { PostgresStore::connect(&url, &options).await.map(drop) });
    }
    for opened in opening.join_all().await {
        opened.unwrap();
    }
    let client = database.by_hand().await;
    assert_eq!(
        column(&client, MIGRATIONS).await,
        [
            "forge_tables",
            "key_devices",
            "key_digests",
            "pair_codes",
            "trail",
            "audit_heads",
            "rotations"
        ]
    );
    assert_eq!(column(&client, "select id from users").await, ["default"]);
}

#[tokio::test]
async fn a_database_of_another_program_is_left_alone() {
    let database = Database::empty().await;
    let client = database.by_hand().await;
    client
        .batch_execute("create table cats (name text)")
        .await
        .unwrap();
    let error = PostgresStore::connect(&database.url, &options())
        .await
        .unwrap_err();
    assert_eq!(error.id(), "database-foreign");
    assert!(
        error
            .to_string()
            .ends_with("it has tables, but not those of a forge"),
        "{error}"
    );
    let tables = "select relname::text from pg_class where relnamespace = 'public'::regnamespace";
    assert_eq!(column(&client, tables).await, ["cats"]);
}

#[tokio::test]
async fn a_part_of_a_forge_is_named_by_what_it_lacks() {
    let database = Database::seeded().await;
    let client = database.by_hand().await;
    client
        .batch_execute("alter table users drop column status; drop table agent_devices")
        .await
        .unwrap();
    let error = PostgresStore::connect(&database.url, &options())
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Foreign { .. }));
    assert!(
        error
            .to_string()
            .ends_with("it lacks the column users.status, the table agent_devices"),
        "{error}"
    );
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_stays() {
    let database = Database::seeded().await;
    let client = database.by_hand().await;
    client
        .batch_execute("insert into askalf_migrations values (9000, 'later', now())")
        .await
        .unwrap();
    let error = PostgresStore::connect(&database.url, &options())
        .await
        .unwrap_err();
    assert_eq!(error.id(), "database-newer");
    assert!(
        error
            .to_string()
            .ends_with("has schema 9000; this program knows up to 7"),
        "{error}"
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_one_before() {
    let database = Database::empty().await;
    let client = database.by_hand().await;
    client.batch_execute(FORGE).await.unwrap();
    client
        .batch_execute("create view askalf_pair_codes as select 1")
        .await
        .unwrap();
    PostgresStore::connect(&database.url, &options())
        .await
        .unwrap_err();
    assert_eq!(
        column(&client, MIGRATIONS).await,
        ["forge_tables", "key_devices", "key_digests"]
    );
    client.batch_execute("drop view askalf_pair_codes").await.unwrap();
    PostgresStore::connect(&database.url, &options()).await.unwrap();
    assert_eq!(column(&client, MIGRATIONS).await.len(), 7);
}

#[tokio::test]
async fn who_may_not_make_tables_is_told_so() {
    let database = Database::empty().await;
    let client = database.by_hand().await;
    let role = format!("reader_of_{}", database.name());
    client
        .batch_execute(&format!(
            "{FORGE}; create role {role} login; revoke create on schema public from public"
        ))
        .await
        .unwrap();
    let url = database.url.replacen("postgres@", &format!("{role}@"), 1);
    let error = PostgresStore::connect(&url, &options()).await.unwrap_err();
    client.batch_execute(&format!("drop role {role}")).await.unwrap();
    assert_eq!(error.id(), "database-denied");
    assert!(
        error.to_string().ends_with("this user may not do that there"),
        "{error}"
    );
    assert!(error.hint().contains("CREATE on the schema"), "{}", error.hint());
}

#[tokio::test]
async fn what_cannot_be_reached_is_told_without_the_password() {
    let database = Database::empty().await;
    let absent = database.url.replace(database.name(), "nothing_of_that_name");
    let error = PostgresStore::connect(&absent, &options()).await.unwrap_err();
    assert_eq!(error.id(), "database-denied");
    assert!(
        error.to_string().ends_with("its server has no such database"),
        "{error}"
    );

    let folder = tempfile::tempdir().unwrap();
    let nobody = folder.path().display().to_string().replace('/', "%2F");
    let mut options = PostgresOptions::new(options().now);
    options.password = Some("hunter2".to_owned());
    for url in [
        format!("postgres://ann@{nobody}/forge"),
        format!("postgres://ann:hunter2@{nobody}/forge"),
        "postgres://ann:hunter2@127.0.0.1:1/forge".to_owned(),
    ] {
        let error = PostgresStore::connect(&url, &options).await.unwrap_err();
        assert_eq!(error.id(), "database-unreachable");
        assert!(error.is_transient());
        assert!(error.to_string().ends_with("no server listens there"), "{error}");
        assert!(!format!("{error} {error:?} {options:?}").contains("hunter2"));
    }
}
