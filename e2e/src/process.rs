//! A process whose output is kept, line by line, and can be waited for.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use crate::pids::Watched;
use crate::wait::PATIENCE;

/// Lines of a process that an error shows.
const SHOWN_LINES: usize = 60;

/// A line that a process wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whether it went to standard error.
    pub is_error: bool,
    /// When it was read.
    pub at: Instant,
    /// The text, without the end of line; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    started: Instant,
    watched: Watched,
    log: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LogState {
    lines: Vec<Line>,
    open_streams: usize,
}

impl Process {
    /// Starts a command; `input` is what its standard input yields before end of file.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(name: impl Into<String>, command: &mut Command, input: &[u8]) -> Result<Self> {
        let name = name.into();
        let started = Instant::now();
        let mut child = command
            .stdin(if input.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        let watched = Watched::child(&child)?;
        let log = Arc::new(Log::default());
        log.lock().open_streams = 2;
        let readers = vec![
            read_lines(child.stdout.take(), false, Arc::clone(&log)),
            read_lines(child.stderr.take(), true, Arc::clone(&log)),
        ];
        if let Some(mut stdin) = child.stdin.take() {
            // A process that ends without reading its input is judged by how it ends.
            let _unread = stdin.write_all(input);
        }
        Ok(Self {
            name,
            child,
            started,
            watched,
            log,
            readers,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The lines so far, of both streams in the order they were read.
    pub fn lines(&self) -> Vec<Line> {
        self.log.lock().lines.clone()
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.stream(false)
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.stream(true)
    }

    fn stream(&self, is_error: bool) -> String {
        let mut text = String::new();
        for line in self
            .log
            .lock()
            .lines
            .iter()
            .filter(|line| line.is_error == is_error)
        {
            text.push_str(&line.text);
            text.push('\n');
        }
        text
    }

    /// Waits for the first line in which `find` finds something.
    ///
    /// # Errors
    /// It closed both streams, or [`PATIENCE`] went by; the error shows what it wrote.
    pub fn wait_line<T>(&self, what: &str, find: impl FnMut(&Line) -> Option<T>) -> Result<T> {
        self.wait_line_after(0, what, find)
    }

    /// [`Process::wait_line`], leaving out the first `skip` lines.
    ///
    /// # Errors
    /// As there.
    pub fn wait_line_after<T>(
        &self,
        skip: usize,
        what: &str,
        mut find: impl FnMut(&Line) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut next = skip;
        let mut state = self.log.lock();
        loop {
            if let Some(found) = state.lines.iter().skip(next).find_map(&mut find) {
                return Ok(found);
            }
            next = next.max(state.lines.len());
            let left = deadline.saturating_duration_since(Instant::now());
            if state.open_streams == 0 || left.is_zero() {
                let why = if state.open_streams == 0 {
                    "it ended"
                } else {
                    "the time is up"
                };
                drop(state);
                bail!("{}: no {what}: {why}\n{}", self.name, self.shown());
            }
            state = self
                .log
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Whether a line like this comes within a time.
    pub fn shows_within(&self, time: Duration, find: impl Fn(&str) -> bool) -> bool {
        let deadline = Instant::now() + time;
        let mut state = self.log.lock();
        loop {
            if state.lines.iter().any(|line| find(&line.text)) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.open_streams == 0 {
                return false;
            }
            state = self
                .log
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal)
            .with_context(|| format!("{} cannot be signalled", self.name))
    }

    /// Sends SIGKILL and waits for the end.
    ///
    /// # Errors
    /// It was gone before, or does not end.
    pub fn kill(mut self) -> Result<Vec<Line>> {
        self.signal(Signal::KILL)?;
        self.end()?;
        Ok(self.lines())
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// It was gone before, or does not end.
    pub fn terminate(mut self) -> Result<(ExitStatus, Vec<Line>)> {
        self.signal(Signal::TERM)?;
        let status = self.end()?;
        Ok((status, self.lines()))
    }

    /// Waits for the end of the process and of its output.
    ///
    /// # Errors
    /// It does not end within [`PATIENCE`]; it is killed then.
    pub fn end(&mut self) -> Result<ExitStatus> {
        self.end_within(PATIENCE)
    }

    /// [`Process::end`] with a deadline of its own.
    ///
    /// # Errors
    /// As there.
    pub fn end_within(&mut self, time: Duration) -> Result<ExitStatus> {
        if !self.watched.ended_within(time)? {
            let shown = self.shown();
            self.child.kill()?;
            self.child.wait()?;
            bail!("{} did not end within {} s\n{shown}", self.name, time.as_secs());
        }
        let status = self.child.wait()?;
        // A process that it left behind may hold the streams: what has come by then is what it wrote.
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut state = self.log.lock();
        while state.open_streams > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self
                .log
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        drop(state);
        Ok(status)
    }

    /// What it wrote last, for an error.
    pub fn shown(&self) -> String {
        let lines = self.lines();
        let mut text = format!("--- what {} wrote", self.name);
        let skipped = lines.len().saturating_sub(SHOWN_LINES);
        if skipped > 0 {
            // Writing to a String cannot fail.
            let _infallible = write!(text, " ({skipped} lines before left out)");
        }
        for line in &lines[skipped..] {
            let _infallible = write!(
                text,
                "\n{} {}",
                if line.is_error { "err|" } else { "out|" },
                line.text
            );
        }
        text.push_str("\n---");
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is what is wanted.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        for reader in self.readers.drain(..).filter(JoinHandle::is_finished) {
            let _ended = reader.join();
        }
    }
}

/// The code as a shell shows it: 128 and the number of a signal.
pub(crate) fn shell_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_lines(stream: Option<impl Read + Send + 'static>, is_error: bool, log: Arc<Log>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        if let Some(stream) = stream {
            let mut stream = BufReader::new(stream);
            let mut bytes = Vec::new();
            while stream.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&bytes)
                    .trim_end_matches(['\r', '\n'])
                    .to_owned();
                log.lock().lines.push(Line {
                    is_error,
                    at: Instant::now(),
                    text,
                });
                log.changed.notify_all();
                bytes.clear();
            }
        }
        log.lock().open_streams -= 1;
        log.changed.notify_all();
    })
}
