//! One bridge per database.
//!
//! A connection of its own holds an advisory lock of the server for as long as the bridge runs. The server frees it when
//! that connection ends, however the bridge ended. When the connection is lost while the bridge lives, requests are
//! refused until the lock is held again: in between, another bridge may have begun to work on the database.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askalf_bridge_core::stores::StoreError;
use deadpool_postgres::{ClientWrapper, Object, Pool};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{connect_error::ConnectError, fault::Fault};

/// How often the connection is tried, so that one to a server that fell silent is noticed; and how long an answer at the end
/// is waited for.
const PROBE: Duration = Duration::from_secs(5);

/// How soon a lost lock is asked for again.
const RETRY: Duration = Duration::from_millis(200);

/// The lock of the schema that the tables stand in. The number only has to be the same in all versions.
const TAKE: &str =
    "select pg_try_advisory_lock(hashtextextended('askalf-bridge of ' || current_schema(), 0))";

/// This bridge's hold on the database.
pub(super) struct Claim {
    held: Arc<Held>,
    keeper: JoinHandle<()>,
}

struct Held {
    state: Mutex<State>,
    /// Somebody has found the connection lost.
    lost: Notify,
}

enum State {
    /// As long as this connection lives.
    By(Arc<ClientWrapper>),
    Lost,
    /// Another bridge has it.
    Taken,
    Released,
}

impl Claim {
    /// Takes the lock, and keeps it.
    pub(super) async fn take(pool: Pool, patience: Duration, place: &str) -> Result<Self, ConnectError> {
        let client = lock(&pool, patience)
            .await
            .map_err(|fault| ConnectError::from_fault(place, fault))?
            .ok_or_else(|| ConnectError::InUse {
                place: place.to_owned(),
            })?;
        let held = Arc::new(Held {
            state: Mutex::new(State::By(Arc::new(client))),
            lost: Notify::new(),
        });
        let keeper = tokio::spawn(keep(Arc::clone(&held), pool, patience, place.to_owned()));
        Ok(Self { held, keeper })
    }

    /// Whether the lock is held at this moment.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let trouble = match &*self.held.state() {
            State::By(client) if !client.is_closed() => return Ok(()),
            State::By(_) | State::Lost => "the connection to it was lost",
            State::Taken => "another bridge has taken it over",
            State::Released => "it was closed",
        };
        self.held.lost.notify_one();
        Err(StoreError::Unavailable(trouble.to_owned()).into())
    }

    /// Gives the lock free and returns when it is.
    pub(super) async fn release(&self) {
        self.keeper.abort();
        let state = std::mem::replace(&mut *self.held.state(), State::Released);
        if let State::By(client) = state {
            // A server that has gone has freed it; one that says nothing frees it with the connection.
            let freed = client.batch_execute("select pg_advisory_unlock_all()");
            let _ = tokio::time::timeout(PROBE, freed).await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Held {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> Option<Arc<ClientWrapper>> {
        match &*self.state() {
            State::By(client) => Some(Arc::clone(client)),
            _ => None,
        }
    }
}

/// Probes the connection, and takes the lock again where it was lost.
async fn keep(held: Arc<Held>, pool: Pool, patience: Duration, place: String) {
    loop {
        let _ = tokio::time::timeout(PROBE, held.lost.notified()).await;
        let alive = match held.connection() {
            Some(client) => {
                let probe = tokio::time::timeout(patience, client.batch_execute("select 1"));
                matches!(probe.await, Ok(Ok(())))
            }
            None => false,
        };
        if alive {
            continue;
        }
        *held.state() = State::Lost;
        tracing::warn!("the connection to the database {place} was lost");
        loop {
            match lock(&pool, patience).await {
                Ok(Some(client)) => {
                    *held.state() = State::By(Arc::new(client));
                    tracing::info!("the connection to the database {place} is back");
                    break;
                }
                Ok(None) => {
                    let before = std::mem::replace(&mut *held.state(), State::Taken);
                    if !matches!(before, State::Taken) {
                        tracing::error!(
                            "another bridge has taken the database {place} over: stop one of the two"
                        );
                    }
                }
                Err(fault) => tracing::debug!("still no connection: {}", StoreError::from(fault)),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// A connection that holds the lock; `None` where another one does.
async fn lock(pool: &Pool, patience: Duration) -> Result<Option<ClientWrapper>, Fault> {
    // Out of the pool for good: it is given to nobody, and closed when it is dropped.
    let client = Object::take(pool.get().await?);
    let taken = tokio::time::timeout(patience, client.query_one(TAKE, &[]));
    let taken: bool = taken.await.map_err(|_| Fault::Silence)??.try_get(0)?;
    Ok(taken.then_some(client))
}
