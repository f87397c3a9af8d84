//! The bridge's database, open.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::stores::Store;
use askalf_cli::{ExitCode, Failure};
use askalf_store::{OpenError, OpenOptions, SqliteStore};

/// The database that a bridge works on.
pub(crate) struct Database(Arc<SqliteStore>);

impl Database {
    /// Opens it, and makes it where there is none. The caller holds its lock.
    pub(crate) async fn open(path: PathBuf) -> Result<Self, Failure> {
        let store = blocking(move || SqliteStore::open(&path, &open_options())).await?;
        Ok(Self(Arc::new(store)))
    }

    /// As the bridge takes it.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.0) as Arc<dyn Store>
    }

    /// Does what is queued and moves everything into the one file.
    pub(crate) async fn close(&self) {
        self.0.close().await;
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
