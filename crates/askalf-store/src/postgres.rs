//! The stores on PostgreSQL.

mod audit_head;
mod claim;
mod connect;
mod connect_error;
mod device;
mod execution;
mod fault;
mod json;
mod key;
mod key_lookup;
mod malformed;
mod migrate;
mod pair_code;
mod rotation;
mod session;
mod timestamp;
mod tls;
mod trail;
mod url;
mod user;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio_postgres::Row;

pub use connect::PostgresOptions;
pub use connect_error::ConnectError;

use crate::Inspection;
use claim::Claim;
use fault::Fault;
use malformed::MalformedKeys;
use session::{Session, Values};

/// Keys, devices and executions in a PostgreSQL database: the forge's own, or one of the bridge's.
///
/// It implements [`Store`](askalf_bridge_core::stores::Store). A connection that was lost is replaced; what fails
/// meanwhile is [`StoreError::Unavailable`](askalf_bridge_core::stores::StoreError::Unavailable).
pub struct PostgresStore {
    pool: Pool,
    /// How long a statement may go without an answer. Above the server's own limit, which tells why.
    patience: Duration,
    malformed: Arc<MalformedKeys>,
    claim: Option<Claim>,
}

impl PostgresStore {
    /// Connects, and brings the schema up to date.
    ///
    /// On an empty database the forge's tables are made, with a tenant and a user named `default`. On a forge's
    /// database nothing of these tables is changed: what the bridge needs stands in tables of its own beside them.
    ///
    /// `url` is `postgres://user@host/database`, or `postgresql://`, with libpq's parameters; see
    /// [`PostgresOptions`] for what has no place in it.
    ///
    /// # Errors
    /// [`ConnectError`]. A database that is not ours, or that a newer program migrated, is not changed.
    pub async fn connect(url: &str, options: &PostgresOptions) -> Result<Self, ConnectError> {
        connect::connect(url, options).await
    }

    /// Looks at a database without changing it.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`], but for a database that another bridge uses: that one is looked at all the same.
    pub async fn inspect(url: &str, options: &PostgresOptions) -> Result<Inspection, ConnectError> {
        connect::inspect(url, options).await
    }

    /// What messages call the database of a URL: its name and its server, never a password.
    ///
    /// # Errors
    /// [`ConnectError::Url`].
    pub fn place(url: &str) -> Result<String, ConnectError> {
        Ok(url::Address::parse(url)?.place())
    }

    /// Lets requests under way end, refuses later ones as unavailable, and gives the database free for
    /// another bridge. Again is harmless.
    pub async fn close(&self) {
        if let Some(claim) = &self.claim {
            claim.release().await;
        }
        self.pool.close();
    }

    /// A connection, and whether the database is still this bridge's.
    async fn session(&self) -> Result<Session, Fault> {
        if let Some(claim) = &self.claim {
            claim.check()?;
        }
        Ok(Session::new(self.pool.get().await?, self.patience))
    }

    /// A connection in a transaction.
    async fn begin(&self) -> Result<Session, Fault> {
        let session = self.session().await?;
        match session.begin().await {
            // It had died in the pool: nothing was begun.
            Err(fault) if fault.is_lost_connection() => {
                drop(session);
                let session = self.session().await?;
                session.begin().await?;
                Ok(session)
            }
            Err(fault) => Err(fault),
            Ok(()) => Ok(session),
        }
    }

    /// The rows of one statement that only reads, which may therefore be asked again on another connection.
    async fn rows(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, Fault> {
        match self.session().await?.rows(sql, values).await {
            Err(fault) if fault.is_lost_connection() => self.session().await?.rows(sql, values).await,
            result => result,
        }
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}
