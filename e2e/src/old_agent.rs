//! An agent of the 2.x generation, after `docs/protocol.md` alone: registers on open, knows no extension, counts tokens
//! as `tokensIn` and sends progress as `bytes` and `chunk`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::websocket::{self, Incoming, Reader, Writer};

/// A connected agent of the old generation.
#[derive(Debug)]
pub struct OldAgent {
    reader: Reader,
    writer: Writer,
}

impl OldAgent {
    /// Connects with a token; sends nothing yet.
    ///
    /// # Errors
    /// The connection or the handshake fails.
    pub fn connect(address: SocketAddr, token: &str) -> Result<Self> {
        let authorization = format!("Bearer {token}");
        let (reader, writer) = websocket::client(
            address,
            &[
                ("Authorization", authorization.as_str()),
                ("X-Agent-Version", "2.4.1"),
                ("X-Device-Name", "old-agent"),
            ],
        )?;
        Ok(Self { reader, writer })
    }

    /// Connects and registers; the device id.
    ///
    /// # Errors
    /// The bridge refuses.
    pub fn registered(address: SocketAddr, token: &str, name: &str) -> Result<(Self, String)> {
        let mut agent = Self::connect(address, token)?;
        agent.send_register(name)?;
        let registered = agent.message("device:registered")?;
        let device = registered["deviceId"].as_str().context("no deviceId")?.to_owned();
        Ok((agent, device))
    }

    /// Sends `device:register` as 2.4 did.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send_register(&self, name: &str) -> Result<()> {
        self.send(
            "device:register",
            json!({
                "deviceName": name, "hostname": name, "os": "linux",
                "capabilities": {"shell": true, "claude": false, "node": "v20.11.0"},
                "deviceType": "cli",
                "systemInfo": {"arch": "x64", "cpuCores": 4, "totalMemoryMB": 7812, "nodeVersion": "v20.11.0"},
                "maxConcurrent": 2, "version": "2.4.1",
            }),
        )
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&self, kind: &str, payload: Value) -> Result<()> {
        self.writer
            .text(&json!({"type": kind, "payload": payload}).to_string())
    }

    /// The sending half, for frames that are no messages.
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// What comes next.
    ///
    /// # Errors
    /// The bridge broke the protocol.
    pub fn receive(&mut self) -> Result<Incoming> {
        self.reader.receive()
    }

    /// What comes next within a time.
    ///
    /// # Errors
    /// The bridge broke the protocol.
    pub fn receive_within(&mut self, time: Duration) -> Result<Incoming> {
        self.reader.receive_within(time)
    }

    /// Waits for a message of this type and answers with its payload. Others are passed over, but for
    /// `capabilities:scan` and `device:ping`, which are answered.
    ///
    /// # Errors
    /// The connection ends first, or nothing more comes.
    pub fn message(&mut self, kind: &str) -> Result<Value> {
        let mut passed = Vec::new();
        loop {
            let text = match self.reader.receive()? {
                Incoming::Text(text) => text,
                other => bail!("{other:?} where {kind} was due, after {passed:?}"),
            };
            let mut message: Value = serde_json::from_str(&text)?;
            if message["type"] == kind {
                return Ok(message["payload"].take());
            }
            match message["type"].as_str() {
                Some("capabilities:scan") => self.send(
                    "capabilities:result",
                    json!({"capabilities": {"shell": true}, "hostname": "old", "os": "linux", "deviceName": "old"}),
                )?,
                Some("device:ping") => self.send("device:pong", json!({"ts": 1}))?,
                _ => {}
            }
            passed.push(text);
        }
    }

    /// Waits for the close of the connection: its code and text. Messages before it are answered with.
    ///
    /// # Errors
    /// It does not close.
    pub fn closed(&mut self) -> Result<(Vec<Value>, u16, String)> {
        let mut messages = Vec::new();
        loop {
            match self.reader.receive()? {
                Incoming::Text(text) => messages.push(serde_json::from_str(&text)?),
                Incoming::Close(code, text) => return Ok((messages, code, text)),
                other => bail!("{other:?} where a close was due, after {messages:?}"),
            }
        }
    }

    /// Sends the heartbeat of the oldest agents.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn heartbeat(&self) -> Result<()> {
        self.send("device:heartbeat", json!({"activeExecutions": 0, "load": 0}))
    }

    /// Waits for a task and runs it as 2.x would, with this output; the dispatch's payload.
    ///
    /// # Errors
    /// None comes.
    pub fn run_task(&mut self, output: &str) -> Result<Value> {
        let dispatch = self.message("task:dispatch")?;
        let id = &dispatch["executionId"];
        self.send(
            "execution:accepted",
            json!({"executionId": id, "executor": "claude"}),
        )?;
        self.send(
            "execution:progress",
            json!({"executionId": id, "bytes": output.len(), "chunk": output}),
        )?;
        self.send(
            "execution:complete",
            json!({
                "executionId": id, "output": output, "cost": 0.25, "turns": 3, "tokensIn": 1200, "tokensOut": 340,
                "executor": "claude", "durationMs": 15,
            }),
        )?;
        Ok(dispatch)
    }
}
