//! The journal as an SQLite database with a write-ahead log: one flush a commit.
//!
//! `docs/formats.md` says what is in it, `docs/decisions/0009-journal.md` why SQLite.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use tracing::warn;

use super::{Accepted, Committed, EndedId, Held, HeldResult, Journal, JournalError, REMEMBERED, Record};

/// Marks the file as ours, in its header: "ajnl".
const APPLICATION_ID: i32 = 0x616a_6e6c;

/// Version of the tables below.
const VERSION: i32 = 1;

const TABLES: &str = "
    create table accepted (execution_id text primary key, executor text not null, accepted_ms integer not null) strict;
    create table results (place integer primary key, execution_id text not null unique, frame text not null) strict;
    create table ended (place integer primary key, id blob not null unique) strict;
    create table quarantine (place integer primary key, execution_id text not null, frame text not null,
        since_ms integer not null) strict;
    create table probe (id integer primary key, at_ms integer not null) strict;";

/// Settings of the one connection. `exclusive` keeps the index of the log in memory, so that no third file is needed and
/// no other process reads along. `full` flushes the log at each commit. The cache and the log are small: the agent is
/// idle most of its life.
const SETTINGS: &str = "
    pragma locking_mode = exclusive; pragma synchronous = full; pragma fullfsync = on; pragma trusted_schema = off;
    pragma cache_size = -128; pragma wal_autocheckpoint = 128; pragma journal_size_limit = 524288;";

/// Fewest bytes of a database: one page of the smallest size.
const LEAST_BYTES: u64 = 512;

/// Bytes of a page.
const PAGE: u64 = 4096;

/// Most bytes of the file: the outbox's 32 MiB, the quarantine's 8 MiB, one result beyond the bound of each running
/// execution, and the rest.
const MAX_BYTES: u64 = 96 * 1024 * 1024;

/// Most frames in quarantine; beyond it the oldest goes.
const MAX_QUARANTINED: i64 = 64;

/// Most bytes in quarantine; beyond it the oldest goes.
const MAX_QUARANTINED_BYTES: i64 = 8 * 1024 * 1024;

/// How long after a journal was moved aside a start counts as one that does not know what was held. No bridge sends a task
/// again that is as old as that.
const FORGETFUL_MS: u64 = 24 * 60 * 60 * 1000;

/// A journal in a file of its own. Whoever uses it holds the lock of the agent's home: a second process must not.
///
/// ```
/// use askalf_agent_core::journal::{EndedId, Held, Journal, JournalFile, Record};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("executions.db");
/// let journal = JournalFile::new(&path);
/// assert_eq!(journal.load(0)?, Held::default());
/// let frame = r#"{"type":"execution:complete","payload":{}}"#.into();
/// journal.commit(&[Record::Ended { execution_id: "e1".to_owned(), frame }], 0)?;
/// drop(journal);
///
/// let held = JournalFile::new(&path).load(0)?;
/// assert_eq!(held.results[0].execution_id, "e1");
/// assert_eq!(held.ended, [EndedId::of("e1")]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    /// Something failed since this process began.
    failed: bool,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    file: Option<FileIdentity>,
}

/// What went wrong, before it is known what follows from it.
enum Fault {
    Sqlite(rusqlite::Error),
    /// A plain operation on the file, and what it was.
    Io(ErrorKind, &'static str),
    /// It is no journal, or none that this version knows.
    NotOurs,
    Removed,
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl JournalFile {
    /// The journal at this path, which is not touched yet. Its folder must let only the agent's user in; one that is missing in a
    /// folder that is there is made so.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_bytes: MAX_BYTES,
            state: Mutex::default(),
        }
    }

    /// Does something with the open journal. After any failure it is opened anew: what a failed commit left behind is
    /// sorted out by the database itself.
    fn with<T>(
        &self,
        now_ms: u64,
        work: impl FnOnce(&mut Connection) -> Result<T, Fault>,
    ) -> Result<T, JournalError> {
        // Whoever panicked in it left a connection that rolls back what it had begun.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.opened(&mut state).and_then(work);
        done.map_err(|fault| {
            state.open = None;
            state.failed = true;
            self.judge(fault, now_ms)
        })
    }

    fn opened<'a>(&self, state: &'a mut State) -> Result<&'a mut Connection, Fault> {
        let found = FileIdentity::of(&self.path);
        let open = match state.open.take() {
            Some(open) if open.file == found => open,
            Some(_) => return Err(Fault::Removed),
            None => Open {
                connection: self.connect(state.failed)?,
                file: FileIdentity::of(&self.path),
            },
        };
        Ok(&mut state.open.insert(open).connection)
    }

    fn connect(&self, failed_before: bool) -> Result<Connection, Fault> {
        self.make_file()?;
        // No URI flag: a path is a path, whatever characters it has. No mutex: there is one around it.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags)?;
        connection.execute_batch(SETTINGS)?;
        let mode: String = connection.query_row("pragma journal_mode = wal", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(Fault::Io(
                ErrorKind::Unsupported,
                "switching to a write-ahead log",
            ));
        }
        let pages = i64::try_from(self.max_bytes / PAGE).unwrap_or(i64::MAX);
        connection.pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))?;
        match number(&connection, "pragma user_version")? {
            VERSION if number(&connection, "pragma application_id")? == APPLICATION_ID => {}
            0 => make_tables(&mut connection)?,
            _ => return Err(Fault::NotOurs),
        }
        if failed_before {
            // A flush that failed may have left the log unwritten without saying so a second time: nothing is built on it.
            connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))?;
        }
        Ok(connection)
    }

    /// The database makes its other files as private as this one.
    fn make_file(&self) -> Result<(), Fault> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut opened = options.open(&self.path);
        if matches!(&opened, Err(error) if error.kind() == ErrorKind::NotFound) {
            // Somebody removed its folder. One level alone: without the agent's home there is nothing to go on with.
            if let Some(folder) = self.path.parent() {
                #[allow(unused_mut, reason = "changed on Unix alone")]
                let mut builder = fs::DirBuilder::new();
                #[cfg(unix)]
                std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
                builder
                    .create(folder)
                    .map_err(|error| Fault::Io(error.kind(), "making its folder"))?;
                opened = options.open(&self.path);
            }
        }
        match opened {
            Ok(_) => sync_folder(&self.path).map_err(|error| Fault::Io(error.kind(), "flushing its folder")),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                match fs::symlink_metadata(&self.path) {
                    // Opening a pipe would wait for its other end.
                    Ok(facts) if !facts.is_file() => Err(Fault::NotOurs),
                    // The database takes a few bytes of something else for nothing.
                    Ok(facts) if (1..LEAST_BYTES).contains(&facts.len()) => Err(Fault::NotOurs),
                    Ok(_) => Ok(()),
                    Err(error) => Err(Fault::Io(error.kind(), "looking for it")),
                }
            }
            Err(error) => Err(Fault::Io(error.kind(), "making it")),
        }
    }

    /// What a fault means; a journal that is not one is moved aside.
    fn judge(&self, fault: Fault, now_ms: u64) -> JournalError {
        let looked = || {
            self.connect(true)
                .and_then(|mut connection| check(&mut connection))
        };
        match self.error_of(fault) {
            Some(error) => error,
            // The database takes some failures of the disk for damage: only what is damaged at a second look is moved.
            None => match looked() {
                Ok(()) => JournalError::Io {
                    path: self.path.clone(),
                    detail: "something else was read than was written".to_owned(),
                },
                Err(fault) => self.error_of(fault).unwrap_or_else(|| self.move_aside(now_ms)),
            },
        }
    }

    /// The error that a fault is; `None` where the contents are not what was written.
    fn error_of(&self, fault: Fault) -> Option<JournalError> {
        let path = self.path.clone();
        match fault {
            Fault::Removed => Some(JournalError::Removed { path }),
            Fault::NotOurs => None,
            Fault::Io(kind, what) => Some(of_kind(path, kind, what)),
            Fault::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => Some(JournalError::Full { path }),
                Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                    Some(JournalError::NotWritable { path })
                }
                Some(
                    ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::FileLockingProtocolFailed,
                ) => Some(JournalError::Busy { path }),
                Some(ErrorCode::OutOfMemory | ErrorCode::OperationInterrupted) => Some(JournalError::Failed),
                Some(ErrorCode::SystemIoFailure) => {
                    let detail = error.to_string();
                    Some(JournalError::Io { path, detail })
                }
                // Damaged pages, a missing table, a value of another type.
                Some(_) | None => None,
            },
        }
    }

    /// Keeps a journal that cannot be read under another name, its log beside it.
    fn move_aside(&self, now_ms: u64) -> JournalError {
        let kept = self.free_name(now_ms);
        if let Err(error) = fs::rename(&self.path, &kept) {
            return of_kind(self.path.clone(), error.kind(), "moving the damaged file aside");
        }
        let log = with_suffix(&self.path, "-wal");
        match fs::rename(&log, with_suffix(&kept, "-wal")) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                warn!("the log of {} was not kept: {}", kept.display(), error.kind());
            }
            _ => {}
        }
        JournalError::Damaged { kept }
    }

    /// The newest journal that was moved aside within the day.
    fn moved_lately(&self, now_ms: u64) -> Option<PathBuf> {
        let prefix = with_suffix(&self.path, ".unreadable-");
        let prefix = prefix.file_name()?.to_str()?;
        let newest = fs::read_dir(self.path.parent()?)
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with(prefix) && !name.ends_with("-wal"))
            .max()?;
        // Dates sort as text does. One that is ahead was written before the clock was set back.
        let since = date(now_ms.saturating_sub(FORGETFUL_MS));
        (newest[prefix.len()..] > *since).then(|| self.path.with_file_name(newest))
    }

    /// `executions.db.unreadable-20260131T235959Z`, with a number behind it where there is one already.
    fn free_name(&self, now_ms: u64) -> PathBuf {
        let dated = with_suffix(&self.path, &format!(".unreadable-{}", date(now_ms)));
        let numbered = (1..100).map(|number| with_suffix(&dated, &format!("-{number}")));
        std::iter::once(dated.clone())
            .chain(numbered)
            .find(|name| fs::symlink_metadata(name).is_err())
            .unwrap_or(dated)
    }
}

impl Journal for JournalFile {
    fn load(&self, now_ms: u64) -> Result<Held, JournalError> {
        let mut held = Held::default();
        if !fs::symlink_metadata(&self.path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            held = match self.with(now_ms, read) {
                Err(JournalError::Damaged { kept }) => {
                    return Ok(Held {
                        moved_aside: Some(kept),
                        ..held
                    });
                }
                read => read?,
            };
        }
        // The process that moved it may have died before the bridge heard of it.
        held.moved_aside = self.moved_lately(now_ms);
        Ok(held)
    }

    fn commit(&self, records: &[Record], now_ms: u64) -> Result<Committed, JournalError> {
        self.with(now_ms, |connection| write(connection, records, now_ms))
    }
}

fn read(connection: &mut Connection) -> Result<Held, Fault> {
    let accepted = connection
        .prepare("select execution_id, executor from accepted order by accepted_ms, rowid")?
        .query_map([], |row| {
            Ok(Accepted {
                execution_id: row.get(0)?,
                executor: row.get(1)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    let results = connection
        .prepare("select execution_id, frame from results order by place")?
        .query_map([], |row| {
            let frame: String = row.get(1)?;
            Ok(HeldResult {
                execution_id: row.get(0)?,
                frame: Arc::from(frame),
            })
        })?
        .collect::<Result<_, _>>()?;
    let ended = connection
        .prepare("select id from ended order by place")?
        .query_map([], |row| row.get(0).map(EndedId::from_bytes))?
        .collect::<Result<_, _>>()?;
    Ok(Held {
        accepted,
        results,
        ended,
        quarantined: quarantine(connection)?.0,
        moved_aside: None,
    })
}

/// Looks at all of it.
fn check(connection: &mut Connection) -> Result<(), Fault> {
    let verdict: String = connection.query_row("pragma quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(Fault::NotOurs);
    }
    read(connection).map(drop)
}

fn write(connection: &mut Connection, records: &[Record], now_ms: u64) -> Result<Committed, Fault> {
    let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for record in records {
        put(&transaction, record, now_ms)?;
    }
    if records.is_empty() {
        transaction.execute("insert or replace into probe values (1, ?1)", [now_ms])?;
    }
    transaction
        .prepare_cached("delete from ended where place <= (select max(place) from ended) - ?1")?
        .execute([i64::try_from(REMEMBERED).unwrap_or(i64::MAX)])?;
    let quarantined = trim_quarantine(&transaction)?;
    transaction.commit()?;
    Ok(Committed { quarantined })
}

fn put(transaction: &Transaction<'_>, record: &Record, now_ms: i64) -> rusqlite::Result<()> {
    let run =
        |sql: &str, parameters: &[&dyn rusqlite::ToSql]| transaction.prepare_cached(sql)?.execute(parameters);
    let remember = |ended: EndedId| {
        run(
            "insert or ignore into ended (id) values (?1)",
            &[ended.as_bytes()],
        )
    };
    let end = |execution_id: &String| {
        run("delete from accepted where execution_id = ?1", &[execution_id])?;
        remember(EndedId::of(execution_id))
    };
    const KEEP: &str = "insert into results (execution_id, frame) values (?1, ?2) \
                        on conflict (execution_id) do update set frame = excluded.frame";
    match record {
        Record::Accepted {
            execution_id,
            executor,
        } => {
            let sql = "insert or replace into accepted values (?1, ?2, ?3)";
            run(sql, &[execution_id, executor, &now_ms])?;
        }
        Record::Ended { execution_id, frame } => {
            end(execution_id)?;
            run(KEEP, &[execution_id, &&**frame])?;
        }
        Record::Quarantined {
            execution_id,
            replacement,
        } => {
            // Handed over again, the frame on record is the replacement already.
            let sql = "insert into quarantine (execution_id, frame, since_ms) select execution_id, frame, ?3 \
                       from results where execution_id = ?1 and frame is not ?2";
            let new = replacement.as_deref();
            run(sql, &[execution_id, &new, &now_ms])?;
            match new {
                Some(frame) => run(KEEP, &[execution_id, &frame])?,
                None => run("delete from results where execution_id = ?1", &[execution_id])?,
            };
        }
        Record::Delivered { execution_id } => {
            end(execution_id)?;
            run("delete from results where execution_id = ?1", &[execution_id])?;
        }
        Record::Remembered(ended) => _ = remember(*ended)?,
    }
    Ok(())
}

/// Keeps the quarantine within its bounds; yields how many frames are in it.
fn trim_quarantine(transaction: &Transaction<'_>) -> rusqlite::Result<usize> {
    let (mut count, mut bytes) = quarantine(transaction)?;
    while count > 0 && (count as i64 > MAX_QUARANTINED || bytes > MAX_QUARANTINED_BYTES) {
        let sql =
            "delete from quarantine where place = (select min(place) from quarantine) returning execution_id";
        let dropped: String = transaction.query_row(sql, [], |row| row.get(0))?;
        warn!(
            "the quarantine is full: the refused result of execution {} is no longer kept",
            askalf_proto::one_line(&dropped)
        );
        (count, bytes) = quarantine(transaction)?;
    }
    Ok(count)
}

/// Frames in quarantine, and their bytes.
fn quarantine(connection: &Connection) -> rusqlite::Result<(usize, i64)> {
    let sql = "select count(*), coalesce(sum(octet_length(frame)), 0) from quarantine";
    connection
        .prepare_cached(sql)?
        .query_row([], |row| Ok((row.get::<_, u32>(0)? as usize, row.get(1)?)))
}

fn make_tables(connection: &mut Connection) -> Result<(), Fault> {
    if number(connection, "select count(*) from sqlite_schema")? != 0 {
        return Err(Fault::NotOurs);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    Ok(transaction.commit()?)
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<i32> {
    connection.query_row(sql, [], |row| row.get(0))
}

fn of_kind(path: PathBuf, kind: ErrorKind, what: &str) -> JournalError {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => JournalError::Full { path },
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotFound
        | ErrorKind::NotADirectory => JournalError::NotWritable { path },
        kind => JournalError::Io {
            path,
            detail: format!("{what}: {kind}"),
        },
    }
}

/// The time in UTC, as the names of files that were moved aside have it. The database knows the calendar.
fn date(now_ms: u64) -> String {
    let seconds = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    Connection::open_in_memory()
        .and_then(|calendar| {
            let sql = "select strftime('%Y%m%dT%H%M%SZ', ?1, 'unixepoch')";
            calendar.query_row(sql, [seconds], |row| row.get(0))
        })
        .unwrap_or_else(|_| seconds.to_string())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes a new name last. Windows has no call for that: its file system keeps the order.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        fs::File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Which file a path leads to. On Windows always the same: a file that is open cannot be removed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileIdentity {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
}

impl FileIdentity {
    fn of(path: &Path) -> Option<Self> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let facts = fs::symlink_metadata(path).ok()?;
            Some(Self {
                device_and_inode: (facts.dev(), facts.ino()),
            })
        }
        #[cfg(not(unix))]
        {
            let _ = path;
            Some(Self {})
        }
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
