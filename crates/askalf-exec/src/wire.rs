//! What passes between an agent and its runner: frames of one byte kind, four bytes length (big endian) and a body.
//!
//! The agent sends one [`kind::START`], then any number of [`kind::TERMINATE`]. The runner answers
//! [`kind::READY`], then output, then one [`kind::ENDED`].

use std::ffi::{OsStr, OsString};
use std::io;
#[cfg(unix)]
use std::os::unix::ffi::{OsStrExt, OsStringExt};
#[cfg(windows)]
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use askalf_agent_core::{CommandSpec, Ended, ExitStatus, PrivateFolder, RunnerEvent};
use askalf_proto::{MAX_FRAME_IN, OutputStream};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::task_limits::TaskLimits;

/// Version of this wire, told in [`kind::READY`]: a unit may start a runner of another release than the agent.
pub(crate) const VERSION: u8 = 2;

/// Longest body that a runner takes, in bytes: the largest input that a dispatch can carry, and 1 MiB for the rest.
pub(crate) const MAX_TO_RUNNER: usize = MAX_FRAME_IN + 1024 * 1024;

/// Longest body that an agent takes from a runner, in bytes: twice [`OUTPUT_CHUNK`].
pub(crate) const MAX_FROM_RUNNER: usize = 2 * OUTPUT_CHUNK;

/// Most bytes of output in one frame: half a pipe of Linux, so that one read takes what a busy writer left.
pub(crate) const OUTPUT_CHUNK: usize = 32 * 1024;

const HEADER: usize = 5;

/// First byte of a frame.
pub(crate) mod kind {
    /// To the runner: the command.
    pub(crate) const START: u8 = 1;
    /// To the runner: end the tree.
    pub(crate) const TERMINATE: u8 = 2;
    /// From the runner: its version and its user (see [`Ready`](super::Ready)). It owns whatever it starts from now on.
    pub(crate) const READY: u8 = 16;
    /// From the runner: standard output.
    pub(crate) const STDOUT: u8 = 17;
    /// From the runner: standard error.
    pub(crate) const STDERR: u8 = 18;
    /// From the runner: how it ended. The last frame.
    pub(crate) const ENDED: u8 = 19;
}

/// Why a frame cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a frame of {bytes} bytes where {max} are the most")]
    TooLarge { bytes: usize, max: usize },
    #[error("the connection ended inside a frame")]
    Cut,
    #[error("the connection was closed")]
    Closed,
    #[error("an unexpected frame of kind {0}")]
    Unexpected(u8),
    #[error(
        "the runner is of another release than this agent (its wire is {0}, ours {VERSION}): restart the agent"
    )]
    OtherVersion(u8),
    #[error("a frame that cannot be understood")]
    Malformed,
    #[error("{}", crate::plain_io::text(.0))]
    Io(#[from] io::Error),
}

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) body: Bytes,
}

/// Appends a frame to `to`.
pub(crate) fn put_frame(to: &mut BytesMut, kind: u8, body: &[u8]) {
    to.reserve(HEADER + body.len());
    to.put_u8(kind);
    // Bodies are bounded far below 4 GiB by both sides' limits.
    to.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    to.put_slice(body);
}

/// Reads frames and keeps what has come of the next one.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    max: usize,
}

impl FrameReader {
    /// A reader that refuses bodies longer than `max`.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            max,
        }
    }

    /// The next frame; `None` at the end of the stream.
    ///
    /// Cancel-safe: what was read stays in the reader.
    pub(crate) async fn next(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<Frame>, WireError> {
        loop {
            let missing = match self.take()? {
                Ok(frame) => return Ok(Some(frame)),
                Err(missing) => missing,
            };
            self.buffer.reserve(missing);
            let came = match from.read_buf(&mut self.buffer).await {
                // How a pipe of Windows ends where its other end is closed.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
                came => came?,
            };
            if came == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(WireError::Cut)
                };
            }
        }
    }

    /// A whole frame from the buffer, or how many bytes it lacks.
    fn take(&mut self) -> Result<Result<Frame, usize>, WireError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else {
            return Ok(Err(HEADER - self.buffer.len()));
        };
        let [kind, length @ ..] = *header;
        let length = u32::from_be_bytes(length) as usize;
        if length > self.max {
            return Err(WireError::TooLarge {
                bytes: length,
                max: self.max,
            });
        }
        let whole = HEADER + length;
        if self.buffer.len() < whole {
            return Ok(Err(whole - self.buffer.len()));
        }
        self.buffer.advance(HEADER);
        Ok(Ok(Frame {
            kind,
            body: self.buffer.split_to(length).freeze(),
        }))
    }
}

/// What a runner says of itself before it takes anything: a byte of [`VERSION`], and four of its user's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    /// The number of its user; 0 where the system has none.
    pub(crate) uid: u32,
}

impl Ready {
    pub(crate) fn encode(self) -> [u8; 5] {
        let [a, b, c, d] = self.uid.to_be_bytes();
        [VERSION, a, b, c, d]
    }

    /// Reads the first frame of a runner.
    pub(crate) fn decode(frame: &Frame) -> Result<Self, WireError> {
        if frame.kind != kind::READY {
            return Err(WireError::Unexpected(frame.kind));
        }
        match *frame.body {
            [VERSION, a, b, c, d] => Ok(Self {
                uid: u32::from_be_bytes([a, b, c, d]),
            }),
            [other, ..] if other != VERSION => Err(WireError::OtherVersion(other)),
            _ => Err(WireError::Malformed),
        }
    }
}

/// Body of a [`kind::START`]: four bytes length of a JSON header, the header, the secret of the private folder, where there is
/// one, and the standard input as it is.
pub(crate) fn encode_start(command: &CommandSpec, limits: &TaskLimits) -> Result<Bytes, WireError> {
    let secret = command
        .private_folder
        .as_ref()
        .map_or(&[][..], |folder| folder.content.as_ref());
    let header = StartHeader {
        program: Text::of(&command.program),
        arguments: command
            .arguments
            .iter()
            .map(|argument| Text::of(argument))
            .collect(),
        environment: command
            .environment
            .iter()
            .map(|(name, value)| (Text::of(name), Text::of(value)))
            .collect(),
        working_directory: Text::of(command.working_directory.as_os_str()),
        timeout_ms: millis(command.timeout),
        grace_ms: millis(command.grace),
        limits: *limits,
        private_folder: command.private_folder.as_ref().map(|folder| PrivateHeader {
            variable: folder.variable.clone(),
            file: folder.file.clone(),
            bytes: folder.content.len(),
            take_along: folder.take_along.as_ref().map(|path| Text::of(path.as_os_str())),
        }),
    };
    let header = serde_json::to_vec(&header).map_err(|_| WireError::Malformed)?;
    let bytes = 4 + header.len() + secret.len() + command.standard_input.len();
    if bytes > MAX_TO_RUNNER {
        return Err(WireError::TooLarge {
            bytes,
            max: MAX_TO_RUNNER,
        });
    }
    let mut body = BytesMut::with_capacity(bytes);
    body.put_u32(u32::try_from(header.len()).map_err(|_| WireError::Malformed)?);
    body.put_slice(&header);
    body.put_slice(secret);
    body.put_slice(&command.standard_input);
    Ok(body.freeze())
}

/// The command in the body of a [`kind::START`], and what it may use.
pub(crate) fn decode_start(mut body: Bytes) -> Result<(CommandSpec, TaskLimits), WireError> {
    let length = body.try_get_u32().map_err(|_| WireError::Malformed)? as usize;
    if length > body.len() {
        return Err(WireError::Malformed);
    }
    let header = body.split_to(length);
    let header: StartHeader = serde_json::from_slice(&header).map_err(|_| WireError::Malformed)?;
    let private_folder = header
        .private_folder
        .map(|folder| {
            if folder.bytes > body.len() {
                return Err(WireError::Malformed);
            }
            Ok(PrivateFolder {
                variable: folder.variable,
                file: folder.file,
                content: body.split_to(folder.bytes),
                take_along: folder.take_along.map(|path| PathBuf::from(path.into_os())),
            })
        })
        .transpose()?;
    let command = CommandSpec {
        program: header.program.into_os(),
        arguments: header.arguments.into_iter().map(Text::into_os).collect(),
        environment: header
            .environment
            .into_iter()
            .map(|(name, value)| (name.into_os(), value.into_os()))
            .collect(),
        working_directory: PathBuf::from(header.working_directory.into_os()),
        standard_input: body,
        timeout: Duration::from_millis(header.timeout_ms),
        grace: Duration::from_millis(header.grace_ms),
        private_folder,
    };
    Ok((command, header.limits))
}

/// Body of a [`kind::ENDED`].
pub(crate) fn encode_ended(ended: &Ended) -> Vec<u8> {
    // Integers, booleans and a string: nothing that could fail to become JSON.
    serde_json::to_vec(&WireEnded::from(ended)).unwrap_or_default()
}

/// The event that a frame from a runner tells.
pub(crate) fn decode_event(frame: Frame) -> Result<RunnerEvent, WireError> {
    match frame.kind {
        kind::STDOUT => Ok(RunnerEvent::Output(OutputStream::Stdout, frame.body)),
        kind::STDERR => Ok(RunnerEvent::Output(OutputStream::Stderr, frame.body)),
        kind::ENDED => {
            let ended: WireEnded = serde_json::from_slice(&frame.body).map_err(|_| WireError::Malformed)?;
            Ok(RunnerEvent::Ended(ended.into()))
        }
        other => Err(WireError::Unexpected(other)),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartHeader {
    program: Text,
    arguments: Vec<Text>,
    environment: Vec<(Text, Text)>,
    working_directory: Text,
    timeout_ms: u64,
    grace_ms: u64,
    limits: TaskLimits,
    private_folder: Option<PrivateHeader>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PrivateHeader {
    variable: String,
    file: String,
    bytes: usize,
    take_along: Option<Text>,
}

/// A string of the system, which need not be Unicode: then it crosses in the system's own units.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Units(Vec<Unit>),
}

/// A byte.
#[cfg(unix)]
type Unit = u8;
/// A unit of UTF-16.
#[cfg(windows)]
type Unit = u16;

#[cfg(unix)]
fn units(text: &OsStr) -> Vec<Unit> {
    text.as_bytes().to_owned()
}

#[cfg(windows)]
fn units(text: &OsStr) -> Vec<Unit> {
    text.encode_wide().collect()
}

#[cfg(unix)]
fn of_units(units: Vec<Unit>) -> OsString {
    OsString::from_vec(units)
}

#[cfg(windows)]
fn of_units(units: Vec<Unit>) -> OsString {
    OsString::from_wide(&units)
}

impl Text {
    fn of(text: &OsStr) -> Self {
        match text.to_str() {
            Some(text) => Self::Utf8(text.to_owned()),
            None => Self::Units(units(text)),
        }
    }

    fn into_os(self) -> OsString {
        match self {
            Self::Utf8(text) => text.into(),
            Self::Units(units) => of_units(units),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum WireEnded {
    Code {
        status: i32,
        timed_out: bool,
        terminated: bool,
    },
    Signal {
        status: i32,
        timed_out: bool,
        terminated: bool,
    },
    NotStarted {
        why: String,
    },
    Lost,
}

impl From<&Ended> for WireEnded {
    fn from(ended: &Ended) -> Self {
        match *ended {
            Ended::Exited {
                status: ExitStatus::Code(status),
                timed_out,
                terminated,
            } => Self::Code {
                status,
                timed_out,
                terminated,
            },
            Ended::Exited {
                status: ExitStatus::Signal(status),
                timed_out,
                terminated,
            } => Self::Signal {
                status,
                timed_out,
                terminated,
            },
            Ended::NotStarted(ref why) => Self::NotStarted {
                why: askalf_proto::one_line(why),
            },
            Ended::RunnerLost => Self::Lost,
        }
    }
}

impl From<WireEnded> for Ended {
    fn from(ended: WireEnded) -> Self {
        match ended {
            WireEnded::Code {
                status,
                timed_out,
                terminated,
            } => Self::Exited {
                status: ExitStatus::Code(status),
                timed_out,
                terminated,
            },
            WireEnded::Signal {
                status,
                timed_out,
                terminated,
            } => Self::Exited {
                status: ExitStatus::Signal(status),
                timed_out,
                terminated,
            },
            WireEnded::NotStarted { why } => Self::NotStarted(why),
            WireEnded::Lost => Self::RunnerLost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An `a`, and half a character: no text, but an argument.
    fn not_unicode() -> OsString {
        #[cfg(unix)]
        return OsString::from_vec(vec![b'a', 0xff]);
        #[cfg(windows)]
        return OsString::from_wide(&[u16::from(b'a'), 0xd800]);
    }

    fn command() -> CommandSpec {
        CommandSpec {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), not_unicode()],
            environment: vec![("PATH".into(), "/bin".into())],
            working_directory: "/tmp".into(),
            standard_input: Bytes::from_static(b"\0\xff in"),
            timeout: Duration::from_millis(1500),
            grace: Duration::MAX,
            private_folder: Some(PrivateFolder {
                variable: "CONFIG".into(),
                file: "login.json".into(),
                content: Bytes::from_static(b"secret"),
                take_along: Some("/home/settings".into()),
            }),
        }
    }

    const LIMITS: TaskLimits = TaskLimits {
        open_files: Some(64),
        processes: None,
        memory_mb: None,
        cpu_seconds: None,
    };

    #[test]
    fn a_command_crosses_with_every_byte() {
        let sent = command();
        let came = decode_start(encode_start(&sent, &LIMITS).unwrap()).unwrap();
        let grace = Duration::from_millis(u64::MAX);
        assert_eq!(came, (CommandSpec { grace, ..sent }, LIMITS));
    }

    #[test]
    fn a_command_that_is_too_large_is_refused_before_it_is_sent() {
        let large = CommandSpec {
            standard_input: vec![0; MAX_TO_RUNNER].into(),
            ..command()
        };
        assert!(matches!(
            encode_start(&large, &LIMITS),
            Err(WireError::TooLarge { .. })
        ));
    }

    #[test]
    fn a_damaged_command_is_an_error() {
        let body = encode_start(&command(), &LIMITS).unwrap();
        // The last one ends inside the secret.
        let end = body.len() - command().standard_input.len();
        for length in [0, 3, 4, 20, end - 1] {
            assert!(
                matches!(decode_start(body.slice(..length)), Err(WireError::Malformed)),
                "{length}"
            );
        }
    }

    #[test]
    fn a_greeting_tells_the_user_and_one_of_another_release_what_to_do() {
        let greeting = |body: &[u8]| {
            Ready::decode(&Frame {
                kind: kind::READY,
                body: Bytes::copy_from_slice(body),
            })
        };
        let ready = Ready { uid: 0x0102_0304 };
        assert_eq!(greeting(&ready.encode()).unwrap(), ready);
        assert_eq!(
            greeting(&[1]).unwrap_err().to_string(),
            "the runner is of another release than this agent (its wire is 1, ours 2): restart the agent"
        );
        for cut in [&[][..], &[VERSION, 0, 0]] {
            assert!(matches!(greeting(cut), Err(WireError::Malformed)));
        }
    }

    #[test]
    fn every_end_crosses() {
        for ended in [
            Ended::Exited {
                status: ExitStatus::Code(3),
                timed_out: false,
                terminated: true,
            },
            Ended::Exited {
                status: ExitStatus::Signal(9),
                timed_out: true,
                terminated: false,
            },
            Ended::NotStarted("no such shell".into()),
            Ended::RunnerLost,
        ] {
            let body = encode_ended(&ended).into();
            assert_eq!(
                decode_event(Frame {
                    kind: kind::ENDED,
                    body
                })
                .unwrap(),
                RunnerEvent::Ended(ended)
            );
        }
    }

    #[test]
    fn a_frame_of_another_kind_is_not_news() {
        let frame = Frame {
            kind: kind::START,
            body: Bytes::new(),
        };
        assert!(matches!(
            decode_event(frame),
            Err(WireError::Unexpected(kind::START))
        ));
    }

    #[tokio::test]
    async fn a_frame_survives_a_reader_that_is_dropped_between_any_two_bytes() {
        let mut sent = BytesMut::new();
        put_frame(&mut sent, kind::STDOUT, b"first");
        put_frame(&mut sent, kind::STDERR, b"");
        let (mut near, mut far) = tokio::io::duplex(64);
        let mut frames = FrameReader::new(16);
        let mut came = Vec::new();
        for byte in sent {
            tokio::io::AsyncWriteExt::write_all(&mut far, &[byte])
                .await
                .unwrap();
            tokio::select! {
                biased;
                frame = frames.next(&mut near) => came.push(frame.unwrap().unwrap()),
                () = std::future::ready(()) => {}
            }
        }
        let first = Frame {
            kind: kind::STDOUT,
            body: Bytes::from_static(b"first"),
        };
        let second = Frame {
            kind: kind::STDERR,
            body: Bytes::new(),
        };
        assert_eq!(came, [first, second]);
        drop(far);
        assert!(frames.next(&mut near).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_length_beyond_the_limit_is_refused_from_the_header_alone() {
        let mut frames = FrameReader::new(16);
        let mut header: &[u8] = &[kind::STDOUT, 0, 0, 0, 17];
        let error = frames.next(&mut header).await.unwrap_err();
        assert_eq!(error.to_string(), "a frame of 17 bytes where 16 are the most");
    }

    #[tokio::test]
    async fn a_stream_that_ends_inside_a_frame_is_told_from_one_that_ends_after_it() {
        let mut frames = FrameReader::new(16);
        let mut part: &[u8] = &[kind::STDOUT, 0, 0, 0, 2, b'x'];
        assert!(matches!(frames.next(&mut part).await, Err(WireError::Cut)));
    }
}
