//! The threads that own the connections, so that nothing blocks the caller's runtime.
//!
//! One thread writes: SQLite lets one writer at a time in anyway, and a single queue spares everybody the wait for its
//! lock. Writes that queued up while a commit was on its way to the disk share the next one (group commit): each is
//! answered only after the commit that holds it, and each is undone alone where it fails. A few threads read, each on a
//! connection of its own, which the write-ahead log lets run beside the writer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use askalf_bridge_core::stores::StoreError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{fault::Fault, place::Place};

/// How many writes share one commit at most: enough to spread the cost of a flush, few enough that the first of them
/// does not wait noticeably for the last.
const MAX_GROUP: usize = 64;

/// How many requests may wait in each queue. Beyond that callers wait to get in, without memory of their own here.
const QUEUE: usize = 1024;

/// The running threads. Dropping it lets them finish what was queued and end.
pub(super) struct Threads {
    writes: mpsc::Sender<Message>,
    /// None where the database is in memory: only one connection can see it.
    reads: Option<mpsc::Sender<Message>>,
    readers: usize,
}

enum Message {
    Do(Box<dyn Job>),
    /// Refuse what comes, do what is queued, let go of the connection, then drop this.
    Close(oneshot::Sender<()>),
}

impl Threads {
    pub(super) fn start(place: Place, writer: Connection, readers: Vec<Connection>) -> std::io::Result<Self> {
        let (writes, queue) = mpsc::channel(QUEUE);
        spawn("askalf-store-w", move || write_loop(&place, writer, queue))?;
        let count = readers.len();
        if count == 0 {
            return Ok(Self {
                writes,
                reads: None,
                readers: 0,
            });
        }
        let (reads, queue) = mpsc::channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for reader in readers {
            let queue = Arc::clone(&queue);
            spawn("askalf-store-r", move || read_loop(reader, &queue))?;
        }
        Ok(Self {
            writes,
            reads: Some(reads),
            readers: count,
        })
    }

    /// Runs `work` in a transaction and answers after its commit. Work that was queued is done even when its caller has
    /// gone.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        ask(&self.writes, work, false).await
    }

    /// Runs `work` on a connection that sees everything that was answered before. Its statements are not one snapshot:
    /// what must be consistent is one statement. Work whose caller has gone is dropped.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        ask(self.reads.as_ref().unwrap_or(&self.writes), work, true).await
    }

    /// Ends the threads after what is queued, and returns when the connections are closed.
    pub(super) async fn close(&self) {
        let mut closed = Vec::new();
        // Readers first: the last connection to close moves the log into the database file.
        if let Some(reads) = &self.reads {
            for _ in 0..self.readers {
                let (done, closing) = oneshot::channel();
                if reads.send(Message::Close(done)).await.is_ok() {
                    closed.push(closing);
                }
            }
        }
        for closing in closed.drain(..) {
            let _ = closing.await;
        }
        let (done, closing) = oneshot::channel();
        if self.writes.send(Message::Close(done)).await.is_ok() {
            let _ = closing.await;
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    // Not joined: a drop must not block the runtime. `close` is there for those who want to wait.
    thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}

async fn ask<T, F>(queue: &mpsc::Sender<Message>, work: F, droppable: bool) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let job = Box::new(Asked {
        work: Some(work),
        result: None,
        answer,
        droppable,
    });
    queue.send(Message::Do(job)).await.map_err(|_| closed())?;
    answered.await.unwrap_or_else(|_| Err(closed()))
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}

/// A request that waits for its turn.
trait Job: Send {
    /// Whether nobody waits for it and nothing is lost by leaving it out.
    fn is_moot(&self) -> bool;

    /// Does the work. On an error, which the caller will hear too, nothing of it may stay.
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError>;

    /// Tells the caller: the result of the work, where it was `kept`.
    fn answer(self: Box<Self>, kept: Result<(), StoreError>);
}

struct Asked<T, F> {
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
    droppable: bool,
}

impl<T, F> Job for Asked<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, Fault> + Send,
{
    fn is_moot(&self) -> bool {
        self.droppable && self.answer.is_closed()
    }

    fn run(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let work = self.work.take().ok_or_else(closed)?;
        // A panic is the fault of one request; the connection is sound, since its statements reset as they unwind and
        // the savepoint is rolled back.
        let result = match catch_unwind(AssertUnwindSafe(|| work(connection))) {
            Ok(result) => result.map_err(StoreError::from),
            Err(_) => Err(StoreError::Unavailable(
                "the request failed in this program".to_owned(),
            )),
        };
        let outcome = result.as_ref().map(drop).map_err(StoreError::clone);
        self.result = Some(result);
        outcome
    }

    fn answer(self: Box<Self>, kept: Result<(), StoreError>) {
        let result = match kept {
            Ok(()) => self.result.unwrap_or_else(|| Err(closed())),
            Err(error) => Err(error),
        };
        // A caller that has gone needs no answer.
        let _ = self.answer.send(result);
    }
}

fn write_loop(place: &Place, connection: Connection, mut queue: mpsc::Receiver<Message>) {
    let mut closing = Vec::new();
    let mut group: Vec<Box<dyn Job>> = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Do(job) if job.is_moot() => {}
                Message::Do(job) => group.push(job),
                Message::Close(done) => {
                    queue.close();
                    closing.push(done);
                }
            }
            next = if group.len() < MAX_GROUP {
                queue.try_recv().ok()
            } else {
                None
            };
        }
        write_group(place, &connection, &mut group);
    }
    drop(connection);
    drop(closing);
}

/// Does a group of writes in one transaction, each in a savepoint of its own, and answers after the commit. Where the
/// transaction fails every caller hears so, those included whose answer would have been an error or "recorded before":
/// what they saw may have been undone with it.
fn write_group(place: &Place, connection: &Connection, group: &mut Vec<Box<dyn Job>>) {
    if group.is_empty() {
        return;
    }
    let kept = in_transaction(place, connection, group).map_err(StoreError::from);
    if kept.is_err() && !connection.is_autocommit() {
        // Nothing else can be done where even this fails; the next transaction will say so.
        let _ = connection.execute_batch("rollback");
    }
    for job in group.drain(..) {
        job.answer(kept.clone());
    }
}

fn in_transaction(place: &Place, connection: &Connection, group: &mut [Box<dyn Job>]) -> Result<(), Fault> {
    place.check()?;
    // Immediate: taking the write lock later, after a read, could fail without waiting.
    connection.execute_batch("begin immediate")?;
    for job in group {
        connection.execute_batch("savepoint job")?;
        let outcome = job.run(connection);
        if connection.is_autocommit() {
            // A full disk or an I/O error ended the whole transaction.
            return Err(outcome.err().unwrap_or_else(closed).into());
        }
        connection.execute_batch(if outcome.is_ok() {
            "release job"
        } else {
            "rollback to job; release job"
        })?;
    }
    connection.execute_batch("commit")?;
    // Again: into a file that went away meanwhile nothing was written that lasts.
    place.check()?;
    Ok(())
}

fn read_loop(connection: Connection, queue: &Mutex<mpsc::Receiver<Message>>) {
    loop {
        // One idle reader waits in the queue, the others for this lock.
        let message = queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocking_recv();
        match message {
            Some(Message::Do(job)) if job.is_moot() => {}
            Some(Message::Do(mut job)) => {
                let kept = job.run(&connection);
                job.answer(kept);
            }
            Some(Message::Close(done)) => {
                drop(connection);
                return drop(done);
            }
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as blocking;

    use super::*;

    const SCHEMA: &str = "pragma foreign_keys = on;
        create table words (word text not null primary key) strict;
        create table uses (word text not null references words (word) deferrable initially deferred) strict;";

    fn threads() -> Threads {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        Threads::start(Place::nowhere(), connection, Vec::new()).unwrap()
    }

    async fn add(threads: &Threads, table: &'static str, word: &'static str) -> Result<(), StoreError> {
        threads
            .write(move |connection| {
                connection.execute(&format!("insert into {table} values (?)"), [word])?;
                Ok(())
            })
            .await
    }

    async fn words(threads: &Threads) -> Vec<String> {
        threads
            .read(|connection| {
                let mut statement = connection.prepare("select word from words order by word")?;
                let words = statement
                    .query_map([], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                Ok(words)
            })
            .await
            .unwrap()
    }

    /// Holds the writer until the answer is dropped, so that what is asked meanwhile becomes one group.
    async fn hold(threads: &Arc<Threads>) -> blocking::Sender<()> {
        let (release, released) = blocking::channel();
        let (started, starting) = oneshot::channel();
        let threads = Arc::clone(threads);
        tokio::spawn(async move {
            let work = move |_: &Connection| {
                let _ = started.send(());
                let _ = released.recv();
                Ok(())
            };
            threads.write(work).await
        });
        starting.await.unwrap();
        release
    }

    #[tokio::test]
    async fn a_write_that_fails_is_undone_alone() {
        let threads = Arc::new(threads());
        let held = hold(&threads).await;
        let half_done = threads.write(|connection| {
            connection.execute("insert into words values ('half')", [])?;
            Err::<(), _>(StoreError::Conflict("it".to_owned()).into())
        });
        let (one, two, three, ()) = tokio::join!(
            add(&threads, "words", "one"),
            half_done,
            add(&threads, "words", "three"),
            async { drop(held) }
        );
        assert_eq!((one, three), (Ok(()), Ok(())));
        assert_eq!(two, Err(StoreError::Conflict("it".to_owned())));
        assert_eq!(words(&threads).await, ["one", "three"]);
    }

    #[tokio::test]
    async fn nobody_is_answered_before_the_commit_that_fails() {
        let threads = Arc::new(threads());
        let held = hold(&threads).await;
        // A deferred reference breaks at the commit, as a full disk may.
        let (one, two, conflict, ()) = tokio::join!(
            add(&threads, "words", "one"),
            add(&threads, "uses", "nowhere"),
            threads.write(|_| Err::<(), _>(StoreError::Conflict("it".to_owned()).into())),
            async { drop(held) }
        );
        let text = "the database is not available: a value breaks a rule of its table";
        for result in [one, two, conflict] {
            assert_eq!(result.unwrap_err().to_string(), text);
        }
        assert!(words(&threads).await.is_empty());
        assert_eq!(add(&threads, "words", "one").await, Ok(()));
    }

    #[tokio::test]
    async fn a_full_disk_is_told_and_forgotten_once_there_is_room() {
        let threads = threads();
        let limit = |pages: u32| {
            threads.read(move |connection| {
                connection
                    .pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, u32>(0))?;
                Ok(())
            })
        };
        limit(1).await.unwrap();
        let big = || {
            threads.write(|connection| {
                connection.execute("insert into words values (hex(zeroblob(100000)))", [])?;
                Ok(())
            })
        };
        assert_eq!(
            big().await.unwrap_err().to_string(),
            "the database is not available: the disk is full"
        );
        limit(1000).await.unwrap();
        assert_eq!(big().await, Ok(()));
    }

    #[tokio::test]
    async fn a_panic_ends_one_request_and_undoes_it() {
        let threads = threads();
        let result: Result<(), _> = threads
            .write(|connection| {
                connection.execute("insert into words values ('half')", [])?;
                panic!("on purpose")
            })
            .await;
        assert_eq!(
            result.unwrap_err().to_string(),
            "the database is not available: the request failed in this program"
        );
        assert_eq!(add(&threads, "words", "one").await, Ok(()));
        assert_eq!(words(&threads).await, ["one"]);
    }

    #[tokio::test]
    async fn a_write_whose_caller_has_gone_is_done_and_a_read_is_not() {
        let threads = Arc::new(threads());
        let held = hold(&threads).await;
        let (reads, read) = blocking::channel::<()>();
        {
            let mut write = std::pin::pin!(add(&threads, "words", "one"));
            let mut moot = std::pin::pin!(threads.read(move |_| {
                let _ = reads.send(());
                Ok(())
            }));
            // Polled once: queued, then dropped.
            tokio::select! {
                biased;
                _ = &mut write => unreachable!("the writer is held"),
                _ = &mut moot => unreachable!("the writer is held"),
                () = std::future::ready(()) => {}
            }
        }
        drop(held);
        assert_eq!(words(&threads).await, ["one"]);
        assert!(read.recv().is_err());
    }

    #[tokio::test]
    async fn closing_does_what_is_queued_and_refuses_the_rest() {
        let threads = Arc::new(threads());
        let held = hold(&threads).await;
        let (one, (), ()) = tokio::join!(add(&threads, "words", "one"), threads.close(), async {
            drop(held)
        });
        assert_eq!(one, Ok(()));
        assert_eq!(
            add(&threads, "words", "two").await.unwrap_err().to_string(),
            "the database is not available: it is closed"
        );
        threads.close().await;
    }
}
