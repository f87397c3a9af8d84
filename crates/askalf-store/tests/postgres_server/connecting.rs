//! Opening a database.

use askalf_store::{ConnectError, PostgresStore};

use super::database::{Database, column, options};

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
            .contains("has schema 9000; this program knows up to"),
        "{error}"
    );
    assert!(!error.is_transient());
}
