//! One line of the log, to and from its bytes.
//!
//! `{"seq":7,...,"mac":"HEX"}`: the hash is the last field, and it is made over the hash before it and every byte of the line up to
//! its own comma. So it binds the text itself and needs no canonical form.

use askalf_proto::Cause;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::key::{AuditKey, LineMac};
use crate::utf8::char_boundary;

/// Longest line that is written or read, in bytes.
pub(crate) const MAX_LINE: usize = 128 * 1024;

/// Most of a task's input, folder or error that a line keeps, in bytes each.
const MAX_DETAIL: usize = 16 * 1024;

/// What is in front of the hash, and behind it.
const MAC_HEAD: &str = ",\"mac\":\"";
const MAC_TAIL: &str = "\"}";
const MAC_DIGITS: usize = 64;

/// What is recorded, and what of it stands readable in the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditRecord {
    /// The line's number, from 1, without a gap.
    pub seq: u64,
    /// When, in milliseconds since the Unix epoch, by the device's clock.
    pub time: u64,
    /// What happened.
    pub event: Event,
    /// The execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    /// What runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<String>,
    /// The agent in whose name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Who approved or denied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Bytes of its input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_bytes: Option<u64>,
    /// Longest run that it was given, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Its exit status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// How long it ran, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Bytes of the output in its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// Version of the agent that began to write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The hash of the line before, where this line is the first of its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<String>,
    /// What stood between the line before and this one, cut off by a crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn: Option<Torn>,
    /// The details, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A daemon began to write. An execution that started before and has no end was cut off.
    #[default]
    Opened,
    /// The policy allows a task.
    Allowed,
    /// It refuses a task.
    Denied,
    /// It asks a person.
    Asked,
    /// That person let it run.
    ApprovalGiven,
    /// That person refused it.
    ApprovalDenied,
    /// Nobody answered in time.
    ApprovalExpired,
    /// The person could not be asked: too many tasks wait, or this one is too long to be shown.
    ApprovalNotAsked,
    /// It was cancelled while it waited.
    ApprovalCancelled,
    /// A task starts.
    Started,
    /// It has ended.
    Ended,
}

impl Event {
    /// Its word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Asked => "asked",
            Self::ApprovalGiven => "approval-given",
            Self::ApprovalDenied => "approval-denied",
            Self::ApprovalExpired => "approval-expired",
            Self::ApprovalNotAsked => "approval-not-asked",
            Self::ApprovalCancelled => "approval-cancelled",
            Self::Started => "started",
            Self::Ended => "ended",
        }
    }
}

/// What a crash left of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Torn {
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of it, in hex.
    pub sha256: String,
}

/// What of a task is sealed in its line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Details {
    /// What it would do; its beginning, where it is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// SHA-256 of the whole input, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_sha256: Option<String>,
    /// The folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Details {
    /// Those of a task.
    pub fn of_task(input: &str, cwd: Option<String>) -> Self {
        Self {
            input: Some(beginning(input)),
            input_sha256: Some(hex(&Sha256::digest(input.as_bytes()).into())),
            cwd: cwd.map(|cwd| beginning(&cwd)),
            error: None,
        }
    }

    /// Those of an end.
    pub fn of_error(error: &str) -> Self {
        Self {
            error: Some(beginning(error)),
            ..Self::default()
        }
    }
}

fn beginning(text: &str) -> String {
    let most = text.len().min(MAX_DETAIL);
    text[..char_boundary(text, most)].to_owned()
}

impl AuditRecord {
    /// A record of this execution.
    pub fn new(event: Event, execution: &str) -> Self {
        Self {
            event,
            execution: Some(execution.to_owned()),
            ..Self::default()
        }
    }

    /// The word for how a task ended.
    pub fn cause(mut self, cause: Option<Cause>) -> Self {
        self.cause = cause.map(|cause| cause.as_str().to_owned());
        self
    }

    /// Opens the details; `None` where there are none, or not under this key.
    pub fn open(&self, key: &AuditKey) -> Option<Details> {
        let plain = key.open(self.sealed.as_deref()?, &seal_context(self.seq))?;
        serde_json::from_slice(&plain).ok()
    }

    /// Seals the details into the record, whose number is set already.
    pub(crate) fn seal(&mut self, key: &AuditKey, details: &Details) -> Option<()> {
        let plain = serde_json::to_vec(details).ok()?;
        self.sealed = Some(key.seal(&plain, &seal_context(self.seq))?);
        Some(())
    }

    /// The line behind the one with `previous`, with its end, and its hash.
    pub(crate) fn encode(&self, key: &AuditKey, previous: &LineMac) -> Option<(Vec<u8>, LineMac)> {
        let mut line = serde_json::to_vec(self).ok()?;
        // The hash takes the place of the closing brace.
        line.pop();
        let mac = key.mac(previous, &line);
        line.extend_from_slice(MAC_HEAD.as_bytes());
        line.extend_from_slice(hex(&mac).as_bytes());
        line.extend_from_slice(MAC_TAIL.as_bytes());
        line.push(b'\n');
        (line.len() <= MAX_LINE).then_some((line, mac))
    }
}

/// A line that was read, not yet checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReadLine {
    pub(crate) record: AuditRecord,
    pub(crate) mac: LineMac,
    body: Vec<u8>,
}

impl ReadLine {
    /// `None` where it is no line of a log. `line` is without its end.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let text = line.strip_suffix(MAC_TAIL.as_bytes())?;
        let (text, digits) = text.split_at_checked(text.len().checked_sub(MAC_DIGITS)?)?;
        let body = text.strip_suffix(MAC_HEAD.as_bytes())?;
        let mac = unhex(digits)?;
        let mut whole = body.to_vec();
        whole.push(b'}');
        let record = serde_json::from_slice(&whole).ok()?;
        Some(Self {
            record,
            mac,
            body: body.to_vec(),
        })
    }

    /// Whether it stands behind the line with `previous`.
    pub(crate) fn follows(&self, key: &AuditKey, previous: &LineMac) -> bool {
        // Whoever can measure this has the key's file before them.
        key.mac(previous, &self.body) == self.mac
    }
}

fn seal_context(seq: u64) -> Vec<u8> {
    format!("askalf audit v1 seq={seq}").into_bytes()
}

pub(crate) fn hex(bytes: &[u8; 32]) -> String {
    use std::fmt::Write;

    bytes
        .iter()
        .fold(String::with_capacity(MAC_DIGITS), |mut text, byte| {
            // Writing to a text cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// 64 lower-case hex digits.
pub(crate) fn unhex(digits: &[u8]) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    if digits.len() != MAC_DIGITS {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
