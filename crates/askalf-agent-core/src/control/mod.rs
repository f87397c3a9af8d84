//! The control socket of a running agent: one line of JSON asks, one line answers.
//!
//! The socket lies in the agent's home (`agent.sock`). Who may speak is decided by the peer's user id, not by what it
//! says: the daemon's own user, or root. On Windows a named pipe whose name is made of that path takes the socket's place,
//! with the same requests and answers; there its access list decides: its owner, the system and administrators, on this
//! machine.

mod client;
mod decider;
mod message;
mod server;
mod transport;

pub use client::{ControlError, approval, approvals, decide, reload, request, status, stop};
pub use message::{Answer, Refusal, Request};
pub use server::{ControlOptions, serve};
#[cfg(windows)]
pub use transport::{PipeListener, pipe_name};

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// Longest line in either direction, in bytes (64 KiB). A status has less than 2 KiB.
pub const MAX_LINE: usize = 64 * 1024;

/// Why a line was not read.
#[derive(Debug)]
enum LineError {
    /// The peer left without one.
    Missing,
    /// It is longer than [`MAX_LINE`].
    TooLong,
    Io(io::Error),
}

/// Reads one line, never more than [`MAX_LINE`] bytes of it.
async fn read_line(stream: impl AsyncRead + Unpin) -> Result<Vec<u8>, LineError> {
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    let mut reader = BufReader::with_capacity(1024, stream.take(limit));
    reader.read_until(b'\n', &mut line).await.map_err(LineError::Io)?;
    if line.pop_if(|last| *last == b'\n').is_some() {
        Ok(line)
    } else if line.len() >= MAX_LINE {
        Err(LineError::TooLong)
    } else {
        Err(LineError::Missing)
    }
}

async fn write_line(mut stream: impl AsyncWrite + Unpin, mut line: Vec<u8>) -> io::Result<()> {
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.flush().await
}
