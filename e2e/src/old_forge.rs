//! A forge of the old generation, after `docs/protocol.md` alone: answers 101 first and authenticates after, drops what
//! arrives meanwhile, gives no reason with `AUTH_FAILED`, knows no extension and answers `UNKNOWN_TYPE` to what it does
//! not know.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::wait::PATIENCE;
use crate::websocket::{self, Incoming, Reader, Writer};

/// How long the forge authenticates where nothing arrives that it could drop. The real one takes 25 ms a key.
const AUTHENTICATION: Duration = Duration::from_millis(300);

/// The one device of this forge.
pub const DEVICE: &str = "dev_01JD2Q8Z7M3N5P6R8S9T0V1W2Y";

/// How a forge behaves before it has a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// It drops what arrives while it authenticates, as the real one does.
    Drops,
    /// It is done authenticating before anything arrives.
    Prompt,
    /// It accepts every connection and closes it with 1011 as soon as it is open.
    ClosesAtOnce,
}

/// What the forge saw.
#[derive(Debug, Clone, PartialEq)]
pub enum ForgeEvent {
    /// A connection was upgraded.
    Connected,
    /// A frame was dropped while the forge authenticated.
    Dropped(Value),
    /// A token was refused.
    Refused,
    /// A frame was read.
    Received(Value),
    /// A connection ended.
    Ended,
}

/// A running forge on a free loopback port. Dropping it ends it.
#[derive(Debug)]
pub struct OldForge {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    token: String,
    habit: Habit,
    stopped: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<(Instant, ForgeEvent)>,
    unread: VecDeque<ForgeEvent>,
    forgot_device: bool,
    device: Option<Writer>,
    sockets: Vec<Writer>,
}

impl OldForge {
    /// Starts a forge that knows one token.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(token: &str, habit: Habit) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            token: token.to_owned(),
            habit,
            stopped: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.stopped.load(Ordering::SeqCst) {
                    break;
                }
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || {
                    // A connection that breaks ends itself and nothing else; the test sees `Ended`.
                    let _broken = shared.serve(stream);
                    shared.note(ForgeEvent::Ended);
                });
            }
        });
        Ok(Self { address, shared })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL as an agent takes it.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Passes over everything that happened so far.
    pub fn pass_over(&self) {
        self.shared.lock().unread.clear();
    }

    /// Waits for the next event that `find` finds something in; those before it are passed over.
    ///
    /// # Errors
    /// None comes within [`PATIENCE`]; the error shows all events.
    pub fn wait<T>(&self, what: &str, mut find: impl FnMut(&ForgeEvent) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        loop {
            while let Some(event) = state.unread.pop_front() {
                if let Some(found) = find(&event) {
                    return Ok(found);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("the old forge saw no {what}, but {:?}", state.events);
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for a message of this type; its payload.
    ///
    /// # Errors
    /// None comes.
    pub fn wait_message(&self, kind: &str) -> Result<Value> {
        self.wait(kind, |event| match event {
            ForgeEvent::Received(message) if message["type"] == kind => Some(message["payload"].clone()),
            _ => None,
        })
    }

    /// All that happened so far, with its time.
    pub fn events(&self) -> Vec<(Instant, ForgeEvent)> {
        self.shared.lock().events.clone()
    }

    /// Counts the connections that come within a time from now.
    pub fn connections_within(&self, time: Duration) -> usize {
        let from = Instant::now();
        let mut state = self.shared.lock();
        loop {
            let left = (from + time).saturating_duration_since(Instant::now());
            if left.is_zero() {
                let counts =
                    |(at, event): &&(Instant, ForgeEvent)| *at >= from && *event == ForgeEvent::Connected;
                return state.events.iter().filter(counts).count();
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Sends a message to the device, once one is registered.
    ///
    /// # Errors
    /// None registers.
    pub fn send(&self, kind: &str, payload: Value) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        let device = loop {
            if let Some(device) = &state.device {
                break device.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no device registers at the old forge: {:?}", state.events);
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        };
        drop(state);
        device.text(&json!({"type": kind, "payload": payload}).to_string())
    }

    /// Sends a shell task.
    ///
    /// # Errors
    /// No device is registered.
    pub fn dispatch(&self, execution: &str, input: &str) -> Result<()> {
        self.send(
            "task:dispatch",
            json!({
                "executionId": execution, "agentId": "agent_1", "agentName": "Old forge", "input": input,
                "maxTurns": null, "maxBudget": null, "mode": "shell",
            }),
        )
    }

    /// Forgets the device, until it registers anew.
    pub fn forget_device(&self) {
        self.shared.lock().forgot_device = true;
    }

    /// Closes the device's socket.
    ///
    /// # Errors
    /// None is registered.
    pub fn close_device(&self, code: u16, text: &str) -> Result<()> {
        let Some(device) = self.shared.lock().device.take() else {
            bail!("no device is registered")
        };
        device.close(code, text)
    }
}

impl Drop for OldForge {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for socket in &self.shared.lock().sockets {
            socket.cut();
        }
        // Wakes the thread that waits for a connection.
        let _woken = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, event: ForgeEvent) {
        let mut state = self.lock();
        state.events.push((Instant::now(), event.clone()));
        state.unread.push_back(event);
        self.changed.notify_all();
    }

    fn knows(&self, device: &Value) -> bool {
        device == DEVICE && !self.lock().forgot_device
    }

    fn take_device(&self, writer: &Writer) {
        let mut state = self.lock();
        state.forgot_device = false;
        state.device = Some(writer.clone());
        self.changed.notify_all();
    }

    fn serve(&self, stream: TcpStream) -> Result<()> {
        let (request, mut reader, writer) = websocket::accept(stream)?;
        self.lock().sockets.push(writer.clone());
        self.note(ForgeEvent::Connected);
        if self.habit == Habit::ClosesAtOnce {
            return writer.close(1011, "Internal error");
        }
        if self.habit == Habit::Drops {
            self.drop_what_arrives(&mut reader)?;
        }
        let authorization = request
            .headers()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        if authorization != Some(&format!("Bearer {}", self.token)) {
            self.note(ForgeEvent::Refused);
            error(&writer, "AUTH_FAILED", "Invalid token")?;
            return writer.close(4001, "Invalid token");
        }
        self.session(&mut reader, &writer)
    }

    /// Authenticates: whatever arrives until the token is checked has no reader, and is lost.
    fn drop_what_arrives(&self, reader: &mut Reader) -> Result<()> {
        match reader.receive_within(AUTHENTICATION)? {
            Incoming::Text(text) => self.note(ForgeEvent::Dropped(serde_json::from_str(&text)?)),
            Incoming::Nothing => {}
            other => bail!("{other:?} during authentication"),
        }
        Ok(())
    }

    fn session(&self, reader: &mut Reader, writer: &Writer) -> Result<()> {
        loop {
            let text = match reader.receive_within(PATIENCE * 4)? {
                Incoming::Text(text) => text,
                Incoming::Close(..) | Incoming::End | Incoming::Nothing => return Ok(()),
            };
            let message: Value = serde_json::from_str(&text)?;
            // Before the answer: whoever has the answer finds the event.
            self.note(ForgeEvent::Received(message.clone()));
            match message["type"].as_str().unwrap_or_default() {
                "device:register" => {
                    let send = |kind: &str, payload: Value| {
                        writer.text(&json!({"type": kind, "payload": payload}).to_string())
                    };
                    self.take_device(writer);
                    send(
                        "device:registered",
                        json!({"deviceId": DEVICE, "userId": "user_1"}),
                    )?;
                    send("capabilities:scan", json!({"deviceId": DEVICE}))?;
                }
                "device:reconnect" if self.knows(&message["payload"]["deviceId"]) => {
                    self.take_device(writer);
                    writer.text(
                        &json!({"type": "device:registered", "payload": {"deviceId": DEVICE, "userId": "user_1"}})
                            .to_string(),
                    )?;
                }
                "device:reconnect" => error(writer, "DEVICE_NOT_FOUND", "Device not found")?,
                "device:heartbeat"
                | "capabilities:result"
                | "execution:accepted"
                | "execution:progress"
                | "execution:complete"
                | "execution:failed" => {}
                // `device:pong` and `execution:queued` among them.
                _ => error(writer, "UNKNOWN_TYPE", "Unknown message type")?,
            }
        }
    }
}

fn error(writer: &Writer, code: &str, message: &str) -> Result<()> {
    writer.text(&json!({"type": "device:error", "payload": {"code": code, "message": message}}).to_string())
}
