//! Connecting.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use askalf_bridge_auth::UnixMillis;
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};

use super::{
    PostgresStore, claim::Claim, connect_error::ConnectError, malformed::MalformedKeys, migrate,
    session::Session, tls, url::Address,
};
use crate::Inspection;

/// How much longer than the server's own limit a statement may go without an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a database is connected to.
#[derive(Clone)]
pub struct PostgresOptions {
    /// Now: the time of rows that connecting makes.
    pub now: UnixMillis,
    /// The password, where the URL has none: what `PGPASSWORD` holds.
    pub password: Option<String>,
    /// A file of passwords in libpq's format, where neither has one: what `PGPASSFILE` names.
    pub passfile: Option<PathBuf>,
    /// The most connections. Default: 8; a request takes a fraction of a millisecond, and a server has 100 by default
    /// for all its users.
    pub max_connections: usize,
    /// How long making a connection may take, log-in included. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long a request waits for a connection to be free. Default: 5 s.
    pub acquire_timeout: Duration,
    /// How long a statement may run, waiting for rows included. Default: 10 s.
    pub statement_timeout: Duration,
    /// Whether this bridge wants the database for itself. Default: yes. A second bridge would take the first one's
    /// devices for gone and end their executions.
    pub exclusive: bool,
}

impl PostgresOptions {
    /// The defaults.
    #[must_use]
    pub fn new(now: UnixMillis) -> Self {
        Self {
            now,
            password: None,
            passfile: None,
            max_connections: 8,
            connect_timeout: Duration::from_secs(5),
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            exclusive: true,
        }
    }
}

/// Without the password.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PostgresOptions")
            .field("now", &self.now)
            .field("passfile", &self.passfile)
            .field("max_connections", &self.max_connections)
            .field("connect_timeout", &self.connect_timeout)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("exclusive", &self.exclusive)
            .finish_non_exhaustive()
    }
}

pub(super) async fn connect(url: &str, options: &PostgresOptions) -> Result<PostgresStore, ConnectError> {
    let First {
        address,
        place,
        pool,
        session,
    } = first(url, options).await?;
    let patience = patience(options);
    warn_of_plain_connection(&session, &address, &place).await?;
    migrate::check(&session, &place).await?;
    // Before anything is written: a schema is not changed under a bridge that works on it.
    let claim = match options.exclusive {
        true => Some(Claim::take(pool.clone(), patience, &place).await?),
        false => None,
    };
    migrate::bring_up_to_date(&session, options.now, &place).await?;
    drop(session);
    Ok(PostgresStore {
        pool,
        patience,
        malformed: Arc::new(MalformedKeys::default()),
        claim,
    })
}

pub(super) async fn inspect(url: &str, options: &PostgresOptions) -> Result<Inspection, ConnectError> {
    let First { place, session, .. } = first(url, options).await?;
    migrate::check(&session, &place).await
}

/// The first connection, before anything is asked or changed.
struct First {
    address: Address,
    place: String,
    pool: Pool,
    session: Session,
}

async fn first(url: &str, options: &PostgresOptions) -> Result<First, ConnectError> {
    let mut address = Address::parse(url)?;
    address.find_password(options.password.as_deref(), options.passfile.as_deref())?;
    let place = address.place();
    let pool = pool(&mut address, options)?;
    let client = pool.get().await;
    let client = client.map_err(|error| ConnectError::from_fault(&place, error.into()))?;
    let session = Session::new(client, patience(options));
    Ok(First {
        address,
        place,
        pool,
        session,
    })
}

/// How long a statement may go without an answer.
fn patience(options: &PostgresOptions) -> Duration {
    options.statement_timeout.saturating_add(PATIENCE)
}

fn pool(address: &mut Address, options: &PostgresOptions) -> Result<Pool, ConnectError> {
    let tls = tls::connector(address.encryption, address.root_certificate.as_deref())?;
    let config = &mut address.config;
    if config.get_application_name().is_none() {
        config.application_name("askalf-bridge");
    }
    config
        .connect_timeout(options.connect_timeout)
        .tcp_user_timeout(patience(options))
        .keepalives_idle(Duration::from_secs(30));
    let manager = Manager::from_config(
        config.clone(),
        tls,
        ManagerConfig {
            // No question to the server before each request: a connection that died shows by its socket, and a request
            // that finds one dead takes another.
            recycling_method: RecyclingMethod::Fast,
        },
    );
    let settings = session_settings(options);
    Pool::builder(manager)
        .max_size(options.max_connections.max(2))
        .timeouts(Timeouts {
            wait: Some(options.acquire_timeout),
            create: Some(options.connect_timeout),
            recycle: Some(options.connect_timeout),
        })
        .runtime(Runtime::Tokio1)
        .post_create(Hook::async_fn(move |client, _| {
            let settings = settings.clone();
            Box::pin(async move { client.batch_execute(&settings).await.map_err(HookError::Backend) })
        }))
        .build()
        .map_err(|_| ConnectError::Url {
            reason: "no connections can be made from it",
        })
}

/// What each connection starts with, whatever the role or the database has as defaults.
fn session_settings(options: &PostgresOptions) -> String {
    let limit = options.statement_timeout.as_millis().clamp(1, i32::MAX as u128);
    format!(
        "set statement_timeout = {limit};
         set idle_in_transaction_session_timeout = {limit};
         set default_transaction_isolation = 'read committed';
         set standard_conforming_strings = on;
         set tcp_keepalives_idle = 30;
         set tcp_keepalives_interval = 10;
         set tcp_keepalives_count = 3;
         {DURABLE}"
    )
}

/// A commit that was answered is on the server's disk. Where the database asks for more than that, it stays so.
const DURABLE: &str = "select set_config('synchronous_commit', 'on', false)
    where current_setting('synchronous_commit') = 'off'";

async fn warn_of_plain_connection(
    session: &Session,
    address: &Address,
    place: &str,
) -> Result<(), ConnectError> {
    if address.is_local() {
        return Ok(());
    }
    let row = session
        .row("select ssl from pg_stat_ssl where pid = pg_backend_pid()", &[])
        .await
        .map_err(|fault| ConnectError::from_fault(place, fault))?;
    let encrypted = row.is_some_and(|row| row.try_get(0).unwrap_or(false));
    if !encrypted {
        tracing::warn!(
            "the connection to the database {place} is not encrypted: who is in between reads the hashes of all keys; \
             add sslmode=verify-full to its address"
        );
    }
    Ok(())
}
