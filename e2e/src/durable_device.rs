//! A device after `docs/protocol.md` alone that remembers what it took, as one does that announces `redelivery`: whatever
//! becomes of its connections and its bridge, it runs each task once and tells each result until it is acknowledged.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::wait::until;
use crate::websocket::{self, Incoming, Reader, Writer};

/// A device on a thread of its own, which comes back whenever its connection ends.
#[derive(Debug)]
pub struct DurableDevice {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    token: String,
    name: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    id: Option<String>,
    registrations: usize,
    /// Tasks that are taken but not run before [`DurableDevice::release`].
    held_back: bool,
    tasks: HashMap<String, Task>,
    /// Dispatches of a task that was taken before.
    repeated: Vec<String>,
    sessions_refused: Vec<String>,
}

#[derive(Debug, Clone)]
struct Task {
    input: String,
    acknowledged: bool,
}

impl DurableDevice {
    /// Starts a device that answers a task with its own input.
    ///
    /// # Errors
    /// The thread does not start, or the device is not registered in time.
    pub fn start(address: SocketAddr, token: &str, name: &str) -> Result<Self> {
        let shared = Arc::new(Shared {
            address,
            token: token.to_owned(),
            name: name.to_owned(),
            state: Mutex::default(),
        });
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.come_again_and_again()
        })?;
        let device = Self {
            shared,
            thread: Some(thread),
        };
        device.id()?;
        Ok(device)
    }

    /// The id that the bridge gave it.
    ///
    /// # Errors
    /// It is not registered in time.
    pub fn id(&self) -> Result<String> {
        until("the registration of the device", || {
            Ok(self.shared.state().id.clone())
        })
    }

    /// How often it was registered.
    pub fn registrations(&self) -> usize {
        self.shared.state().registrations
    }

    /// From now on takes tasks and keeps them to itself.
    pub fn hold_back(&self) {
        self.shared.state().held_back = true;
    }

    /// Tells what it kept to itself.
    pub fn release(&self) {
        self.shared.state().held_back = false;
    }

    /// Whether it took this task.
    pub fn took(&self, execution: &str) -> bool {
        self.shared.state().tasks.contains_key(execution)
    }

    /// Tasks that were sent to it although it had taken, and not denied, them.
    pub fn repeated(&self) -> Vec<String> {
        self.shared.state().repeated.clone()
    }

    /// The codes of errors that ended its sessions.
    pub fn refused(&self) -> Vec<String> {
        self.shared.state().sessions_refused.clone()
    }
}

impl Drop for DurableDevice {
    fn drop(&mut self) {
        self.shared.state().stopped = true;
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// Pause between two dials: short, for the tests kill bridges by the dozen.
const REDIAL: Duration = Duration::from_millis(20);

/// How long nothing may come before the device looks whether it is to tell or to stop.
const GLANCE: Duration = Duration::from_millis(50);

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn come_again_and_again(&self) {
        while !self.state().stopped {
            // Its bridge may be dead, or die at any moment: that is what the tests are about.
            let _lost = self.session();
            let next = Instant::now() + REDIAL;
            while Instant::now() < next {
                std::thread::park_timeout(REDIAL);
            }
        }
    }

    fn session(&self) -> Result<()> {
        let authorization = format!("Bearer {}", self.token);
        let (mut reader, writer) =
            websocket::client(self.address, &[("Authorization", authorization.as_str())])?;
        let held: Vec<Value> = self
            .unacknowledged()
            .iter()
            .map(|(id, _)| json!({"executionId": id, "state": "ended"}))
            .collect();
        let registration = json!({
            "deviceName": self.name, "hostname": self.name, "os": "linux", "capabilities": {"shell": true},
            "maxConcurrent": 8, "version": "0", "protocol": 1,
            "features": ["execution-ack", "resume", "redelivery"], "executions": held,
        });
        send(&writer, "device:register", &registration)?;
        self.registered(&mut reader)?;
        let mut told = false;
        loop {
            if self.state().stopped {
                return writer.close(1000, "Client disconnect");
            }
            let held_back = self.state().held_back;
            if !told && !held_back {
                for (id, task) in self.unacknowledged() {
                    tell(&writer, &id, &task.input)?;
                }
            }
            told = !held_back;
            match reader.receive_within(GLANCE)? {
                Incoming::Text(text) => self.heard(&writer, &text)?,
                Incoming::Nothing => {}
                Incoming::Close(..) | Incoming::End => return Ok(()),
            }
        }
    }

    fn registered(&self, reader: &mut Reader) -> Result<()> {
        let Incoming::Text(text) = reader.receive()? else {
            bail!("the bridge did not answer the registration");
        };
        let answer: Value = serde_json::from_str(&text)?;
        if answer["type"] != "device:registered" {
            self.note_error(&answer);
            bail!("not registered: {text}");
        }
        let mut state = self.state();
        state.id = answer["payload"]["deviceId"].as_str().map(str::to_owned);
        state.registrations += 1;
        Ok(())
    }

    fn heard(&self, writer: &Writer, text: &str) -> Result<()> {
        let message: Value = serde_json::from_str(text)?;
        let id = message["payload"]["executionId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        match message["type"].as_str().unwrap_or_default() {
            "task:dispatch" => {
                let input = message["payload"]["input"]
                    .as_str()
                    .context("no input")?
                    .to_owned();
                let task = Task {
                    input: input.clone(),
                    acknowledged: false,
                };
                let mut state = self.state();
                if state.tasks.contains_key(&id) {
                    state.repeated.push(id);
                    return Ok(());
                }
                state.tasks.insert(id.clone(), task);
                let tells = !state.held_back;
                drop(state);
                if tells {
                    tell(writer, &id, &input)?;
                }
            }
            "execution:ack" => {
                if let Some(task) = self.state().tasks.get_mut(&id) {
                    task.acknowledged = true;
                }
            }
            "device:error" => self.note_error(&message),
            _ => {}
        }
        Ok(())
    }

    fn note_error(&self, message: &Value) {
        let code = message["payload"]["code"]
            .as_str()
            .unwrap_or("no code")
            .to_owned();
        self.state().sessions_refused.push(code);
    }

    fn unacknowledged(&self) -> Vec<(String, Task)> {
        let state = self.state();
        let open = state.tasks.iter().filter(|(_, task)| !task.acknowledged);
        open.map(|(id, task)| (id.clone(), task.clone())).collect()
    }
}

fn tell(writer: &Writer, id: &str, output: &str) -> Result<()> {
    send(
        writer,
        "execution:accepted",
        &json!({"executionId": id, "executor": "shell"}),
    )?;
    let result = json!({"executionId": id, "output": output, "executor": "shell", "durationMs": 1});
    send(writer, "execution:complete", &result)
}

fn send(writer: &Writer, kind: &str, payload: &Value) -> Result<()> {
    writer.text(&json!({"type": kind, "payload": payload}).to_string())
}
