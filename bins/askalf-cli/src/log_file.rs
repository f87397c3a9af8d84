//! Log lines in a file that turns over by its size.
//!
//! A thread of its own writes: whoever logs never waits for the disk. Where the disk does not keep up, or takes nothing, lines are
//! lost, and the next one that is written says how many.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::private_files::{private_file, private_folder};

/// Largest log file, in bytes; then it becomes `FILE.1`. A single line may go over it.
pub const LOG_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Most files of a log, the present one included.
pub const LOG_FILES: u32 = 4;

/// Lines that wait for the disk beyond which they are lost.
const WAITING: usize = 256;

/// How long the end of the program waits for the last lines.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// A log file and those that it turned over to.
#[derive(Debug)]
struct Rotating {
    path: PathBuf,
    /// `None` after a turn that found no place for the next one.
    file: Option<File>,
    size: u64,
    max_bytes: u64,
    files: u32,
}

impl Rotating {
    fn open(path: &Path, max_bytes: u64, files: u32) -> io::Result<Self> {
        let mut log = Self {
            path: path.to_owned(),
            file: None,
            size: 0,
            max_bytes,
            files,
        };
        log.reopen()?;
        Ok(log)
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = private_file().create(true).append(true).open(&self.path)?;
        let facts = file.metadata()?;
        if !facts.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        self.size = facts.len();
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let more = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.file.as_ref().is_none_or(|file| !is_at(file, &self.path)) {
            // Removed, or moved away by another program that turns logs over.
            self.reopen()?;
        }
        if self.size > 0 && self.size.saturating_add(more) > self.max_bytes {
            self.turn()?;
        }
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if let Err(error) = file.write_all(line) {
            // Half a line would be read as a whole one. Where not even that works, the next line begins in it.
            let _half_stays = file.set_len(self.size);
            return Err(error);
        }
        self.size += more;
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        for number in (1..self.files.saturating_sub(1)).rev() {
            // Each may be missing.
            let _missing = fs::rename(self.numbered(number), self.numbered(number + 1));
        }
        if self.files > 1 && fs::rename(&self.path, self.numbered(1)).is_ok() {
            self.file = None;
            return self.reopen();
        }
        // A folder in which nothing can be renamed: the bound counts for more than the lines.
        if let Some(file) = &self.file {
            file.set_len(0)?;
        }
        self.size = 0;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let identity = |facts: &fs::Metadata| (facts.dev(), facts.ino());
    matches!((file.metadata(), path.metadata()), (Ok(ours), Ok(there)) if identity(&ours) == identity(&there))
}

/// An open file can be neither removed nor moved away there.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Where log lines go in; clones lead to the same file.
#[derive(Clone)]
pub(crate) struct LogLines {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

/// Writes what is still on its way when it is dropped, for a bounded time.
#[must_use = "dropped, it waits for the last lines"]
pub struct LogFileGuard(LogLines);

impl std::fmt::Debug for LogFileGuard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LogFileGuard")
    }
}

impl Drop for LogFileGuard {
    fn drop(&mut self) {
        let (done, flushed) = sync_channel(1);
        if self.0.sender.try_send(Message::Flush(done)).is_ok() {
            let _given_up = flushed.recv_timeout(FLUSH_PATIENCE);
        }
    }
}

/// Begins to write to this file, in a folder that is made where it is missing.
pub(crate) fn start(path: &Path) -> io::Result<(LogLines, LogFileGuard)> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        private_folder().create(folder)?;
    }
    let log = Rotating::open(path, LOG_FILE_BYTES, LOG_FILES)?;
    let (sender, messages) = sync_channel(WAITING);
    let lost = Arc::new(AtomicU64::new(0));
    let lines = LogLines {
        sender,
        lost: Arc::clone(&lost),
    };
    std::thread::Builder::new()
        .name("log".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || write_all(log, &messages, &lost))?;
    Ok((lines.clone(), LogFileGuard(lines)))
}

fn write_all(mut log: Rotating, messages: &Receiver<Message>, lost: &AtomicU64) {
    let mut told = false;
    while let Ok(message) = messages.recv() {
        let line = match message {
            Message::Line(line) => line,
            Message::Flush(done) => {
                let _gone = done.send(());
                continue;
            }
        };
        let missing = lost.load(Ordering::Relaxed);
        let written = if missing > 0 {
            log.write(format!("{missing} lines of this log were lost\n").as_bytes())
                .inspect(|()| _ = lost.fetch_sub(missing, Ordering::Relaxed))
        } else {
            Ok(())
        };
        match written.and_then(|()| log.write(&line)) {
            Ok(()) => told = false,
            Err(error) => {
                lost.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut told, true) {
                    #[expect(clippy::print_stderr, reason = "there is no other place left")]
                    {
                        eprintln!("{} takes no lines: {}", log.path.display(), error.kind());
                    }
                }
            }
        }
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine(self)
    }
}

/// Takes one line, which comes in one piece.
pub(crate) struct LogLine<'a>(&'a LogLines);

impl Write for LogLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.sender.try_send(Message::Line(line.to_vec())).is_err() {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_log_is_bounded_by_size_and_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.log");
        let mut log = Rotating::open(&path, 10, 3).unwrap();
        for line in [
            "aaaa\n", "bbbb\n", "cccc\n", "dddd\n", "eeee\n", "ffff\n", "gggg\n",
        ] {
            log.write(line.as_bytes()).unwrap();
        }
        assert_eq!(read(&path), "gggg\n");
        assert_eq!(read(&log.numbered(1)), "eeee\nffff\n");
        assert_eq!(read(&log.numbered(2)), "cccc\ndddd\n");
        assert!(!log.numbered(3).exists());
        log.write(b"longer than the bound\n").unwrap();
        assert_eq!(read(&path), "longer than the bound\n");
        let again = Rotating::open(&path, 10, 3).unwrap();
        assert_eq!(again.size, 22, "a restart goes on in the file");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_was_removed_or_moved_away_is_begun_anew_and_private() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.log");
        let mut log = Rotating::open(&path, 1000, 3).unwrap();
        log.write(b"one\n").unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        log.write(b"two\n").unwrap();
        assert_eq!(read(&path), "two\n");
        fs::remove_file(&path).unwrap();
        log.write(b"three\n").unwrap();
        assert_eq!(read(&path), "three\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn lines_that_the_disk_did_not_take_are_counted_in_the_next_that_it_takes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs").join("agent.log");
        let (lines, guard) = start(&path).unwrap();
        let say = |text: &str| lines.make_writer().write_all(text.as_bytes()).unwrap();
        let flush = || {
            let (done, flushed) = sync_channel(1);
            lines.sender.send(Message::Flush(done)).unwrap();
            flushed.recv().unwrap();
        };
        say("one\n");
        flush();
        fs::remove_dir_all(folder.path().join("logs")).unwrap();
        say("two\n");
        say("three\n");
        flush();
        fs::create_dir(folder.path().join("logs")).unwrap();
        say("four\n");
        drop(guard);
        assert_eq!(read(&path), "2 lines of this log were lost\nfour\n");
    }
}
