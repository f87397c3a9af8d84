//! The bridge's database, open.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::stores::Store;
use askalf_cli::{ExitCode, Failure};
use askalf_store::{
    ConnectError, Inspection, OpenError, OpenOptions, PostgresOptions, PostgresStore, SqliteStore,
};
use tokio::time::Instant;

use crate::home::Location;

/// How long a bridge that starts waits for another one to leave its database on a server: one that was killed is gone
/// there a moment later.
const CLAIM_WAIT: Duration = Duration::from_secs(5);

/// The database that a bridge works on.
pub(crate) enum Database {
    File(Arc<SqliteStore>),
    Server(Arc<PostgresStore>),
}

impl Database {
    /// Opens it, and makes its tables where there are none. The caller holds the lock of a file.
    pub(crate) async fn open(location: Location) -> Result<Self, Failure> {
        match location {
            Location::File(path) => {
                let store = blocking(move || SqliteStore::open(&path, &open_options())).await?;
                Ok(Self::File(Arc::new(store)))
            }
            Location::Server(url) => {
                warn_of_shown_password(&url);
                let deadline = Instant::now() + CLAIM_WAIT;
                loop {
                    match PostgresStore::connect(&url, &connect_options()).await {
                        Ok(store) => return Ok(Self::Server(Arc::new(store))),
                        Err(ConnectError::InUse { .. }) if Instant::now() < deadline => {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                        Err(error) => return Err(connect_failure(&error)),
                    }
                }
            }
        }
    }

    /// As the bridge takes it.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::File(store) => Arc::clone(store) as Arc<dyn Store>,
            Self::Server(store) => Arc::clone(store) as Arc<dyn Store>,
        }
    }

    /// Does what is queued, and gives the database free: a file has everything in it then.
    pub(crate) async fn close(&self) {
        match self {
            Self::File(store) => store.close().await,
            Self::Server(store) => store.close().await,
        }
    }
}

/// Looks at a database without changing it.
pub(crate) async fn inspect(location: Location) -> Result<Inspection, Failure> {
    match location {
        Location::File(path) => blocking(move || SqliteStore::inspect(&path, &open_options(), false)).await,
        Location::Server(url) => PostgresStore::inspect(&url, &connect_options())
            .await
            .map_err(|error| connect_failure(&error)),
    }
}

/// What messages call a database.
pub(crate) fn shown(location: &Location) -> Result<String, Failure> {
    match location {
        Location::File(path) => Ok(path.display().to_string()),
        Location::Server(url) => PostgresStore::place(url).map_err(|error| connect_failure(&error)),
    }
}

fn connect_failure(error: &ConnectError) -> Failure {
    let code = if error.is_transient() {
        ExitCode::TryAgain
    } else {
        ExitCode::Configuration
    };
    Failure::new(code, error).hint(error.hint())
}

fn connect_options() -> PostgresOptions {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut options = PostgresOptions::new(now());
    options.password = variable("PGPASSWORD");
    options.passfile = variable("PGPASSFILE")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".pgpass")));
    options
}

/// Whoever may list processes reads the arguments of all of them.
fn warn_of_shown_password(url: &str) {
    let user = url.split_once("://").map_or(url, |(_, rest)| rest);
    let user = user.split_once('@').map_or("", |(user, _)| user);
    let has_password = user.contains(':') || url.contains("password=");
    if has_password && std::env::args().any(|argument| argument.contains(url)) {
        tracing::warn!(
            "the password of the database stands in the arguments of this process, where others can read it; \
             use ASKALF_BRIDGE_DATABASE, PGPASSWORD or a password file instead"
        );
    }
}

/// Runs what may wait for a disk where that holds nobody up.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Failure::new(ExitCode::Failed, "work on the database did not end"))?
        .map_err(failure)
}

pub(crate) fn failure(error: OpenError) -> Failure {
    let code = match error {
        OpenError::Busy { .. } => ExitCode::TryAgain,
        _ => ExitCode::Configuration,
    };
    Failure::new(code, &error).hint(error.hint())
}

pub(crate) fn open_options() -> OpenOptions {
    OpenOptions::new(now())
}

pub(crate) fn now() -> UnixMillis {
    UnixMillis::from_system_time(SystemTime::now())
}
