//! The stores on SQLite.

mod audit_head;
mod backup;
mod device;
mod execution;
mod fault;
mod key;
mod key_lookup;
mod migrate;
mod open;
mod pair_code;
mod place;
mod reach;
mod rotation;
mod threads;
mod timestamp;
mod trail;
mod user;

use std::path::Path;

use askalf_bridge_core::stores::StoreError;
use rusqlite::Connection;

pub use backup::Inspection;
pub use key_lookup::MAX_KEYS_PER_PREFIX;
pub use open::{OpenError, OpenOptions};

use fault::Fault;
use place::Place;
use threads::Threads;

/// Everything a bridge keeps, in one SQLite file, on threads of its own.
///
/// It implements all of [`Store`](askalf_bridge_core::stores::Store). Several of them, in one process or in several, may have
/// the same file open: what one has answered the next request of any sees.
///
/// Dropping it does not wait: what was queued is done, then its threads end. [`SqliteStore::close`] waits for that.
pub struct SqliteStore {
    threads: Threads,
}

impl SqliteStore {
    /// Opens the database at `path` and brings its schema up to date; makes it, readable by its owner alone, where there
    /// is none. An empty database gets a tenant and a user named `default`.
    ///
    /// Blocks: call it before the runtime serves anybody, or on a thread that may block.
    ///
    /// # Errors
    /// [`OpenError`]. A file that is not ours, or that a newer program wrote, is not changed.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let writer = open::open_writer(path, options)?;
        let place = Place::of(path);
        let readers = (0..options.readers.max(1))
            .map(|_| open::open_reader(path, options))
            .collect::<Result<_, _>>()?;
        Self::start(path, place, writer, readers)
    }

    /// A database in memory, for tests: it lasts as long as this value, and one thread both writes and reads. `seed` is
    /// SQL that runs on it first.
    ///
    /// # Errors
    /// [`OpenError::Failed`] where `seed` fails, [`OpenError::Thread`].
    pub fn open_in_memory(options: &OpenOptions, seed: &str) -> Result<Self, OpenError> {
        let path = Path::new(":memory:");
        let open = || {
            let writer = open::open_memory(options)?;
            writer.execute_batch(seed)?;
            Ok(writer)
        };
        let writer = open().map_err(|error| OpenError::from_sqlite(path, &error))?;
        Self::start(path, Place::nowhere(), writer, Vec::new())
    }

    fn start(
        path: &Path,
        place: Place,
        writer: Connection,
        readers: Vec<Connection>,
    ) -> Result<Self, OpenError> {
        let threads = Threads::start(place, writer, readers).map_err(|source| OpenError::Thread {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self { threads })
    }

    /// Does what is queued, refuses what comes later with [`StoreError::Unavailable`], and returns when the file is
    /// closed. Again is harmless.
    pub async fn close(&self) {
        self.threads.close().await;
    }

    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        self.threads.write(work).await
    }

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        self.threads.read(work).await
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}
