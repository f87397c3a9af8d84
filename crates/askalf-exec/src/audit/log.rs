//! Writing the log.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use askalf_agent_core::AuditHead;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::files::{AuditFiles, OLDER};
use super::key::{AuditKey, AuditKeyError, LineMac};
use super::line::{AuditRecord, Details, MAX_LINE, ReadLine, Torn, hex};
use crate::private_files::private_file;

/// How much of a file's end is looked at for its last line. Two lines and what a crash left of a third.
const TAIL: u64 = 3 * 128 * 1024;

/// Where a log lies and how large it gets.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// The agent's folder.
    pub folder: PathBuf,
    /// Size from which on a file is put aside and a new one begun. Five files are kept, so the log takes five times this much.
    pub file_bytes: u64,
    /// Version of the agent, for the first line.
    pub version: String,
}

impl AuditOptions {
    /// Options with the documented default: 10 MiB a file.
    pub fn new(folder: PathBuf, version: impl Into<String>) -> Self {
        Self {
            folder,
            file_bytes: 10 * 1024 * 1024,
            version: version.into(),
        }
    }
}

/// Why a line was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// There is no key to seal and chain it under.
    #[error(transparent)]
    Key(#[from] AuditKeyError),
    /// The file fails; the text says how.
    #[error("the audit log cannot be written: {0}")]
    Io(String),
    /// The record could not be made.
    #[error("the audit log's line cannot be made: {0}")]
    Record(&'static str),
}

impl AuditError {
    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Key(error) => error.id(),
            Self::Io(_) => "audit-io",
            Self::Record(_) => "audit-record",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Key(error) => error.hint(),
            Self::Io(_) => "make room on the disk, or check owner and mode of audit.log",
            Self::Record(_) => "see whether the system gives random numbers",
        }
    }
}

/// The log of a device, written by one process at a time: the one that holds the agent's lock.
///
/// Nothing is touched before the first line is recorded. Clones write to the same log.
#[derive(Debug, Clone)]
pub struct AuditLog {
    writer: Arc<Mutex<Writer>>,
    heads: watch::Receiver<Option<AuditHead>>,
}

impl AuditLog {
    /// A log that is opened with its first line.
    pub fn new(options: AuditOptions) -> Self {
        let (head, heads) = watch::channel(None);
        let writer = Writer {
            files: AuditFiles::in_folder(&options.folder),
            options,
            open: None,
            began: false,
            head,
        };
        Self {
            writer: Arc::new(Mutex::new(writer)),
            heads,
        }
    }

    /// The last line that was written; whoever keeps it elsewhere can prove later that nothing was cut off before it. `None` before the
    /// first line of this process.
    pub fn heads(&self) -> watch::Receiver<Option<AuditHead>> {
        self.heads.clone()
    }

    /// Records a line, on a thread that may block. Its number is given here.
    ///
    /// The line is with the system when this returns, so that it outlives the process; where `durable` is set it is on the disk, so that it
    /// outlives a power cut too.
    ///
    /// # Errors
    /// [`AuditError`]: then nothing of the line is kept, as far as the disk lets it be taken back, and the next try begins anew.
    pub async fn record(
        &self,
        record: AuditRecord,
        details: Option<Details>,
        durable: bool,
    ) -> Result<(), AuditError> {
        let log = self.clone();
        tokio::task::spawn_blocking(move || log.record_blocking(record, details.as_ref(), durable))
            .await
            .map_err(|_| AuditError::Io("the agent is stopping".to_owned()))?
    }

    /// The same, on this thread.
    ///
    /// # Errors
    /// As [`AuditLog::record`].
    pub fn record_blocking(
        &self,
        record: AuditRecord,
        details: Option<&Details>,
        durable: bool,
    ) -> Result<(), AuditError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = writer.record(record, details, durable);
        if outcome.is_err() {
            // What the file holds now is found out anew.
            writer.open = None;
        }
        outcome
    }
}

#[derive(Debug)]
struct Writer {
    options: AuditOptions,
    files: AuditFiles,
    open: Option<Open>,
    /// This process has written its first line.
    began: bool,
    head: watch::Sender<Option<AuditHead>>,
}

#[derive(Debug)]
struct Open {
    key: AuditKey,
    file: File,
    bytes: u64,
    seq: u64,
    mac: LineMac,
    torn: Option<Torn>,
    /// The file ends within a line.
    within_line: bool,
}

impl Writer {
    fn record(
        &mut self,
        record: AuditRecord,
        details: Option<&Details>,
        durable: bool,
    ) -> Result<(), AuditError> {
        if self.open.is_none() {
            self.open = Some(self.open()?);
        }
        if !self.began {
            let first = AuditRecord {
                time: record.time,
                version: Some(self.options.version.clone()),
                ..AuditRecord::default()
            };
            self.append(first, None, false)?;
            self.began = true;
        }
        self.append(record, details, durable)
    }

    fn open(&self) -> Result<Open, AuditError> {
        let key = AuditKey::load_or_make(&self.options.folder)?;
        let mut file = open_current(self.files.current()).map_err(|error| io_error(&error))?;
        let mut tail = Tail::of(&mut file).map_err(|error| io_error(&error))?;
        let mut last = tail.last.take();
        // A file without a line: the chain goes on from the one that was put aside last.
        let mut number = 1;
        while last.is_none() && number <= OLDER {
            last = File::open(self.files.part(number))
                .and_then(|mut older| Tail::of(&mut older))
                .ok()
                .and_then(|tail| tail.last);
            number += 1;
        }
        let (seq, mac) = last.unwrap_or((0, [0; 32]));
        Ok(Open {
            key,
            file,
            bytes: tail.bytes,
            seq,
            mac,
            torn: tail.torn,
            within_line: tail.within_line,
        })
    }

    fn append(
        &mut self,
        mut record: AuditRecord,
        details: Option<&Details>,
        durable: bool,
    ) -> Result<(), AuditError> {
        self.rotate_when_full()?;
        let open = self
            .open
            .as_mut()
            .ok_or(AuditError::Record("the log is not open"))?;
        record.seq = open.seq.saturating_add(1);
        record.prev = (open.bytes == 0 && open.seq > 0).then(|| hex(&open.mac));
        record.torn = open.torn.take();
        if let Some(details) = details {
            record
                .seal(&open.key, details)
                .ok_or(AuditError::Record("it cannot be sealed"))?;
        }
        let (mut line, mac) = record
            .encode(&open.key, &open.mac)
            .ok_or(AuditError::Record("it is too long"))?;
        if std::mem::take(&mut open.within_line) {
            line.insert(0, b'\n');
        }
        write_whole(&mut open.file, open.bytes, &line, durable).map_err(|error| io_error(&error))?;
        open.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
        open.seq = record.seq;
        open.mac = mac;
        self.head.send_replace(Some(AuditHead {
            seq: record.seq,
            head: hex(&mac),
        }));
        Ok(())
    }

    /// Puts a full file aside. Each rename replaces the older one at once, so that whatever step is the last one, the newest lines are
    /// there and in order.
    fn rotate_when_full(&mut self) -> Result<(), AuditError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if open.bytes < self.options.file_bytes {
            return Ok(());
        }
        let outcome = (|| {
            open.file.sync_data()?;
            for number in (0..OLDER).rev() {
                match fs::rename(self.files.part(number), self.files.part(number + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            open_current(self.files.current())
        })();
        open.file = outcome.map_err(|error| io_error(&error))?;
        open.bytes = 0;
        open.within_line = false;
        Ok(())
    }
}

/// Writes it all, or takes back what was written: on a full disk half a line would be left.
fn write_whole(file: &mut File, at: u64, line: &[u8], durable: bool) -> io::Result<()> {
    let written = file
        .write_all(line)
        .and_then(|()| if durable { file.sync_data() } else { Ok(()) });
    if written.is_err() {
        let _torn_if_it_fails = file.set_len(at);
    }
    written
}

/// The end of a file.
#[derive(Debug)]
struct Tail {
    bytes: u64,
    /// Number and hash of its last line.
    last: Option<(u64, LineMac)>,
    /// What stands behind that.
    torn: Option<Torn>,
    within_line: bool,
}

impl Tail {
    fn of(file: &mut File) -> io::Result<Self> {
        let bytes = file.seek(SeekFrom::End(0))?;
        let from = bytes.saturating_sub(TAIL);
        file.seek(SeekFrom::Start(from))?;
        let mut text = Vec::new();
        Read::by_ref(file).take(TAIL).read_to_end(&mut text)?;
        file.seek(SeekFrom::End(0))?;

        let mut end = text.len();
        let mut last = None;
        // From the back: the first that is a whole line. Of the very last one a crash may have cut off its end alone.
        loop {
            let start = text[..end]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            if let Some(line) = ReadLine::parse(&text[start..end]) {
                last = Some((line.record.seq, line.mac, end));
                break;
            }
            if start == 0 {
                break;
            }
            end = start - 1;
        }
        // Behind the line and its end. What lies before a tail without a line is not hashed: it is no line of ours, and a check says so.
        let behind = last.map_or(0, |(_, _, end)| text.len().min(end + 1));
        let torn = &text[behind..];
        Ok(Self {
            bytes,
            last: last.map(|(seq, mac, _)| (seq, mac)),
            torn: (!torn.is_empty()).then(|| Torn {
                bytes: u64::try_from(torn.len()).unwrap_or(u64::MAX),
                sha256: hex(&Sha256::digest(torn).into()),
            }),
            within_line: text.last().is_some_and(|byte| *byte != b'\n'),
        })
    }
}

fn open_current(path: &Path) -> io::Result<File> {
    let mut options = private_file();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW)
            .bits()
            .cast_signed();
        options.custom_flags(flags);
    }
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("audit.log is not a file"));
    }
    Ok(file)
}

fn io_error(error: &io::Error) -> AuditError {
    AuditError::Io(crate::plain_io::text(error))
}

const _: () = assert!(TAIL as usize >= 2 * MAX_LINE);
