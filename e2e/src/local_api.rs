//! The bridge's own socket, asked without its command line: for what has to be asked often.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Posts JSON to the bridge of this folder as its local admin: the status of the answer and its JSON.
///
/// # Errors
/// The bridge is not there, went away before it answered, or answered no JSON.
pub fn post(home: &Path, path: &str, body: &Value) -> Result<(u16, Value)> {
    let mut socket = ask(home, path, body)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).context("no whole answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no whole answer")?;
    let status = head.split(' ').nth(1).context("no status in the answer")?;
    Ok((status.parse()?, serde_json::from_str(body)?))
}

/// Dispatches a task and hands each event of its stream to `each`, until the last.
///
/// # Errors
/// The bridge is not there or goes away, or `each` fails.
pub fn follow(home: &Path, task: &Value, mut each: impl FnMut(Value) -> Result<()>) -> Result<()> {
    let answer = BufReader::new(ask(home, "/api/v1/executions", task)?);
    for line in answer.lines() {
        let line = line?;
        // The sizes of chunks and the headers are lines of their own, and no JSON objects.
        if line.starts_with('{') {
            each(serde_json::from_str(&line)?)?;
        }
    }
    Ok(())
}

fn ask(home: &Path, path: &str, body: &Value) -> Result<UnixStream> {
    let body = serde_json::to_vec(body)?;
    let mut socket = UnixStream::connect(home.join("bridge.sock")).context("the bridge is not there")?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes())?;
    socket.write_all(&body)?;
    Ok(socket)
}
