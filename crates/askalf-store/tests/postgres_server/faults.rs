//! What goes wrong with the server is told as such, is no verdict, and is over when the server is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use askalf_bridge_core::stores::{
    ExecutionEnd, ExecutionFilter, ExecutionStatus, ExecutionStore, Finish, KeyStore, StoreError,
};
use askalf_store::{PostgresOptions, PostgresStore};
use tokio::task::JoinSet;

use super::cluster::{Cluster, signal};
use super::database::{Database, column, connect, options};
use crate::suite::{ADMIN, NOW, SEED, execution, new_key, registered};

fn unavailable(result: Result<impl std::fmt::Debug, StoreError>, words: &str) {
    assert_eq!(
        result.unwrap_err().to_string(),
        format!("the database is not available: {words}")
    );
}

fn hasty() -> PostgresOptions {
    let mut options = options();
    options.statement_timeout = Duration::from_millis(300);
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answered_write_is_lost_when_the_server_is_killed() {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start("")).await.unwrap();
    let url = cluster.url("postgres");
    let store = Arc::new(PostgresStore::connect(&url, &options()).await.unwrap());
    tokio::task::block_in_place(|| cluster.sql("postgres", SEED)).unwrap();
    registered(&*store, "ann", "key_1", "dev_1").await;

    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..3 {
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        writers.spawn(async move {
            let (mut answered, mut refused, mut number) = (Vec::new(), 0, 0);
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let id = format!("exec_{writer}_{number}");
                match store.add_execution(&ADMIN, execution(&id, "dev_1")).await {
                    Ok(_) => answered.push(id),
                    Err(StoreError::Unavailable(_)) => {
                        refused += 1;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            (answered, refused)
        });
    }
    for _ in 0..2 {
        let before = rows(&store).await;
        while rows(&store).await < before + 30 {
            tokio::task::yield_now().await;
        }
        tokio::task::block_in_place(|| cluster.kill());
        // With nothing there each request ends at once.
        let asked = Instant::now();
        unavailable_whatever(store.keys(&ADMIN, 1).await);
        assert!(asked.elapsed() < Duration::from_secs(2));
        tokio::task::block_in_place(|| cluster.restart());
        let back = Instant::now();
        while store.keys(&ADMIN, 1).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    let results = writers.join_all().await;
    let kept = connect(&url).await;
    let kept = column(&kept, "select id from forge_executions").await;
    let mut refusals = 0;
    for (answered, refused) in results {
        let lost: Vec<_> = answered.iter().filter(|id| !kept.contains(id)).collect();
        assert!(lost.is_empty(), "{lost:?}");
        refusals += refused;
    }
    assert!(refusals > 0, "the writers noticed nothing");
}

async fn rows(store: &PostgresStore) -> usize {
    let filter = ExecutionFilter {
        limit: u32::MAX,
        ..ExecutionFilter::default()
    };
    store.executions(&ADMIN, filter).await.unwrap().len()
}

fn unavailable_whatever(result: Result<impl std::fmt::Debug, StoreError>) {
    assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up_and_another_connection_serves() {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start("")).await.unwrap();
    let url = cluster.url("postgres");
    let mut options = hasty();
    options.exclusive = false;
    let store = PostgresStore::connect(&url, &options).await.unwrap();
    let pids = column(
        &connect(&url).await,
        "select pid::text from pg_stat_activity where application_name = 'askalf-bridge'",
    )
    .await;
    let [pid] = pids.as_slice() else {
        panic!("{pids:?}")
    };
    let pid = pid.parse().unwrap();
    signal("STOP", pid);
    unavailable(store.keys(&ADMIN, 1).await, "it did not answer in time");
    store.keys(&ADMIN, 1).await.unwrap();
    signal("CONT", pid);
}

#[tokio::test]
async fn a_statement_that_waits_too_long_ends_and_changes_nothing() {
    let database = Database::seeded().await;
    let store = PostgresStore::connect(&database.url, &hasty()).await.unwrap();
    let (who, _) = registered(&store, "ann", "key_1", "dev_1").await;
    store
        .add_execution(&ADMIN, execution("exec_1", "dev_1"))
        .await
        .unwrap();
    let client = database.by_hand().await;
    client
        .batch_execute("begin; select 1 from forge_executions where id = 'exec_1' for update")
        .await
        .unwrap();
    let end = || ExecutionEnd::interrupted("gone");
    unavailable(
        store.finish_execution(&who, "exec_1", end(), NOW).await,
        "a request took too long",
    );
    client.batch_execute("rollback").await.unwrap();
    let pending = store.execution(&ADMIN, "exec_1").await.unwrap();
    assert_eq!(pending.status, ExecutionStatus::Pending);
    assert_eq!(
        store.finish_execution(&who, "exec_1", end(), NOW).await.unwrap(),
        Finish::Recorded
    );
}

#[tokio::test]
async fn a_request_that_is_given_up_leaves_nothing_behind() {
    let database = Database::seeded().await;
    let mut options = options();
    options.max_connections = 2;
    let store = PostgresStore::connect(&database.url, &options).await.unwrap();
    let (who, _) = registered(&store, "ann", "key_1", "dev_1").await;
    store
        .add_execution(&ADMIN, execution("exec_1", "dev_1"))
        .await
        .unwrap();
    let client = database.by_hand().await;
    client
        .batch_execute("begin; select 1 from forge_executions where id = 'exec_1' for update")
        .await
        .unwrap();
    // More often than there are connections.
    for _ in 0..5 {
        let end = store.finish_execution(&who, "exec_1", ExecutionEnd::interrupted("gone"), NOW);
        tokio::select! {
            end = end => panic!("{end:?}"),
            () = somebody_waits(&database) => {}
        }
    }
    client.batch_execute("rollback").await.unwrap();
    let pending = store.execution(&ADMIN, "exec_1").await.unwrap();
    assert_eq!(pending.status, ExecutionStatus::Pending);
    assert_eq!(
        store
            .finish_execution(&who, "exec_1", ExecutionEnd::interrupted("gone"), NOW)
            .await
            .unwrap(),
        Finish::Recorded
    );
}

/// Until a statement waits for a row, and then until it has been given up: a new one each time.
async fn somebody_waits(database: &Database) {
    let client = database.by_hand().await;
    let sql = "select pid::text from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()
        and query_start > now() - interval '50 milliseconds'";
    while column(&client, sql).await.is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_server_without_connections_left_is_told_and_waited_for() {
    let database = Database::seeded().await;
    let client = database.by_hand().await;
    let role = format!("one_of_{}", database.name());
    client
        .batch_execute(&format!(
            "create role {role} superuser login; alter database {} connection limit -1",
            database.name()
        ))
        .await
        .unwrap();
    let url = database.url.replacen("postgres@", &format!("{role}@"), 1);
    let mut options = options();
    options.exclusive = false;
    let store = PostgresStore::connect(&url, &options).await.unwrap();
    // Superusers are exempt from limits.
    client
        .batch_execute(&format!(
            "alter role {role} nosuperuser connection limit 1;
             grant all on all tables in schema public to {role}; grant all on all sequences in schema public to {role}"
        ))
        .await
        .unwrap();
    client.batch_execute("begin; lock table api_keys").await.unwrap();
    let (first, ()) = tokio::join!(store.keys(&ADMIN, 1), async {
        unavailable(
            store.execution(&ADMIN, "none").await,
            "its server has no connection left",
        );
        client.batch_execute("rollback").await.unwrap();
    });
    first.unwrap();
    assert_eq!(
        store.execution(&ADMIN, "none").await.unwrap_err().id(),
        "not-found"
    );
    drop(store);
    client
        .batch_execute(&format!("drop owned by {role}; drop role {role}"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_pool_without_a_free_connection_is_waited_for_a_while() {
    let database = Database::seeded().await;
    let mut options = options();
    options.max_connections = 2;
    options.acquire_timeout = Duration::from_millis(200);
    let store = PostgresStore::connect(&database.url, &options).await.unwrap();
    let client = database.by_hand().await;
    client.batch_execute("begin; lock table api_keys").await.unwrap();
    let (one, two, ()) = tokio::join!(store.keys(&ADMIN, 1), store.keys(&ADMIN, 1), async {
        unavailable(
            store.keys(&ADMIN, 1).await,
            "all connections to it were in use for too long",
        );
        client.batch_execute("rollback").await.unwrap();
    });
    one.unwrap();
    two.unwrap();
}

#[tokio::test]
async fn a_read_only_server_answers_reads_and_is_written_to_once_it_may_be() {
    let database = Database::seeded().await;
    let client = database.by_hand().await;
    let name = database.name();
    client
        .batch_execute(&format!(
            "alter database {name} set default_transaction_read_only = on"
        ))
        .await
        .unwrap();
    let store = database.open().await;
    unavailable(
        store.add_key(&ADMIN, new_key("ann", "key_1")).await,
        "it is read-only",
    );
    assert!(store.keys(&ADMIN, 1).await.unwrap().is_empty());
    client
        .batch_execute(&format!(
            "set default_transaction_read_only = off; alter database {name} reset default_transaction_read_only"
        ))
        .await
        .unwrap();
    // The connection was given up: the next one has the new setting.
    while let Err(error) = store.add_key(&ADMIN, new_key("ann", "key_1")).await {
        assert!(error.to_string().ends_with("it is read-only"), "{error}");
    }
}
