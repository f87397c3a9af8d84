//! A database for each test.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use askalf_store::{PostgresOptions, PostgresStore};
use tokio_postgres::{Client, NoTls};

use super::cluster::Cluster;
use crate::suite::{NOW, SEED};

/// The server that the tests of this binary share.
struct Server {
    /// Of the database from which others are made.
    admin_url: String,
    /// A database that is migrated and seeded: others are copies of it.
    template: String,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    // On a thread of its own: this one may be one of a runtime, which does not block on another.
    SERVER.get_or_init(|| std::thread::spawn(start).join().unwrap())
}

fn start() -> Server {
    let admin_url = match std::env::var("ASKALF_TEST_DATABASE_URL") {
        Ok(url) if !url.is_empty() => url,
        _ => {
            // It ends with this process: nothing ever drops it.
            static CLUSTER: OnceLock<Cluster> = OnceLock::new();
            CLUSTER.get_or_init(|| Cluster::start("")).url("postgres")
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let template = new_name();
        create(&admin_url, &template, "template0").await;
        let url = sibling(&admin_url, &template);
        let store = PostgresStore::connect(&url, &PostgresOptions::new(NOW))
            .await
            .unwrap();
        store.close().await;
        drop(store);
        let client = connect(&url).await;
        client.batch_execute(SEED).await.unwrap();
        drop(client);
        wait_until_unused(&admin_url, &template).await;
        Server { admin_url, template }
    })
}

/// A database that ends with this value.
pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
}

impl Database {
    /// A copy of the migrated and seeded one.
    pub(crate) async fn seeded() -> Self {
        Self::from(&blocking(|| server().template.clone()).await).await
    }

    /// One without any table.
    pub(crate) async fn empty() -> Self {
        Self::from("template0").await
    }

    async fn from(template: &str) -> Self {
        let admin_url = blocking(|| server().admin_url.clone()).await;
        let name = new_name();
        create(&admin_url, &name, template).await;
        Self {
            url: sibling(&admin_url, &name),
            name,
        }
    }

    /// Somebody else's connection, as of an operator with a shell.
    pub(crate) async fn by_hand(&self) -> Client {
        connect(&self.url).await
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn open(&self) -> PostgresStore {
        PostgresStore::connect(&self.url, &options()).await.unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (admin_url, name) = (server().admin_url.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let client = connect(&admin_url).await;
                let _ = client
                    .batch_execute(&format!("drop database {name} with (force)"))
                    .await;
            });
        });
        let _ = dropped.join();
    }
}

/// Few connections: many tests run at once.
pub(crate) fn options() -> PostgresOptions {
    let mut options = PostgresOptions::new(NOW);
    options.max_connections = 4;
    options
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) async fn column(client: &Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn create(admin_url: &str, name: &str, template: &str) {
    let client = connect(admin_url).await;
    client
        .batch_execute(&format!(
            "create database {name} template {template} encoding 'UTF8'"
        ))
        .await
        .unwrap();
}

/// A template can be copied only while nobody is connected to it.
async fn wait_until_unused(admin_url: &str, name: &str) {
    let client = connect(admin_url).await;
    let sql = "select 1 from pg_stat_activity where datname = $1";
    while !client.query(sql, &[&name]).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

/// The URL of another database of the same server.
fn sibling(url: &str, database: &str) -> String {
    let (front, query) = match url.split_once('?') {
        Some((front, query)) => (front, format!("?{query}")),
        None => (url, String::new()),
    };
    let scheme = front.find("://").map_or(0, |at| at + 3);
    let host_end = front[scheme..].find('/').map_or(front.len(), |at| scheme + at);
    format!("{}/{database}{query}", &front[..host_end])
}

fn new_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("askalf_test_{}_{number}", std::process::id())
}
