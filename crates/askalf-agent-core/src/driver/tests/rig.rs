//! The bridge, the credential and the executor of the tests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use askalf_bridge_auth::Token;
use askalf_proto::{Cause, CloseCode, Executor as ExecutorKind, OutputStream};
use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::driver::dial::{Dial, Stream};
use crate::driver::{AgentOptions, DeviceIdError, DeviceIdStore, Parts, run_on};
use crate::journal::Held;
use crate::journal::memory::MemoryJournal;
use crate::machine::{Command, Fault, State};
use crate::{
    AgentStatus, AuditHead, CancelSignal, CredentialRotation, CredentialSource, DeviceFacts, DeviceProbe,
    Endpoint, Executor, LoadedCredential, NoCredential, NoCredentialKind, Pulse, Route, Task, TaskEnd,
    TaskOutput, Timings,
};

pub(super) const TOKEN: &str = "sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG";
const URL: &str = "http://localhost:3005";

/// Bytes that a stream holds before a writer waits.
const PIPE: usize = 64 * 1024;

/// Hands the other end of each dialled stream to the test.
pub(super) struct PipeDial(mpsc::UnboundedSender<DuplexStream>);

#[async_trait]
impl Dial for PipeDial {
    async fn dial(&self, _: &Endpoint, _: &Route, _: &Timings) -> Result<Box<dyn Stream>, Fault> {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let detail = "nobody listens".to_owned();
        self.0.send(theirs).map_err(|_| Fault::Unreachable { detail })?;
        Ok(Box::new(ours))
    }
}

pub(super) fn pipes() -> (PipeDial, mpsc::UnboundedReceiver<DuplexStream>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (PipeDial(sender), receiver)
}

pub(super) struct Credentials(Mutex<Result<LoadedCredential, NoCredential>>);

impl Credentials {
    pub(super) fn set(&self, token: &str, url: &str) {
        self.set_with(token, url, false);
    }

    pub(super) fn set_with(&self, token: &str, url: &str, insecure: bool) {
        let generation = self.generation() + 1;
        *self.0.lock().unwrap() = Ok(LoadedCredential {
            token: Token::parse(token).unwrap(),
            url: url.to_owned(),
            insecure,
            route: Arc::default(),
            generation,
        });
    }
}

impl CredentialSource for Credentials {
    fn load(&self) -> Result<LoadedCredential, NoCredential> {
        self.0.lock().unwrap().clone()
    }

    fn generation(&self) -> u64 {
        match &*self.0.lock().unwrap() {
            Ok(loaded) => loaded.generation,
            Err(missing) => missing.generation,
        }
    }

    fn rotation(&self) -> Option<&dyn CredentialRotation> {
        None
    }
}

#[derive(Default)]
pub(super) struct DeviceIds(pub(super) Mutex<Option<String>>);

impl DeviceIdStore for DeviceIds {
    fn load(&self) -> Result<Option<String>, DeviceIdError> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn save(&self, device_id: &str) -> Result<(), DeviceIdError> {
        *self.0.lock().unwrap() = Some(device_id.to_owned());
        Ok(())
    }

    fn forget(&self) -> Result<(), DeviceIdError> {
        *self.0.lock().unwrap() = None;
        Ok(())
    }
}

/// Does what its input says.
#[derive(Default)]
pub(super) struct Puppet {
    pub(super) written: AtomicUsize,
}

#[async_trait]
impl Executor for Puppet {
    fn kind(&self) -> ExecutorKind {
        ExecutorKind::Shell
    }

    async fn run(&self, task: Task, output: TaskOutput, mut cancel: CancelSignal) -> TaskEnd {
        let (verb, argument) = task.input.split_once(' ').unwrap_or((&task.input, ""));
        match verb {
            "say" => output.send(OutputStream::Stdout, argument.to_owned()).await,
            "flood" => {
                for number in 0..argument.parse().unwrap() {
                    let line = format!("{number:0>1023}\n");
                    output.send(OutputStream::Stdout, line).await;
                    self.written.fetch_add(1, Ordering::SeqCst);
                }
            }
            "wait" => {
                cancel.cancelled().await;
                return TaskEnd {
                    cause: Some(Cause::Cancelled),
                    ..TaskEnd::default()
                };
            }
            _ => panic!("the executor is broken"),
        }
        TaskEnd {
            cause: Some(Cause::Exit),
            exit_code: Some(0),
            output: argument.to_owned(),
            ..TaskEnd::default()
        }
    }
}

/// A running agent and what is around it.
pub(super) struct Agent {
    pub(super) dials: mpsc::UnboundedReceiver<DuplexStream>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) status: watch::Receiver<AgentStatus>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) device_ids: Arc<DeviceIds>,
    pub(super) journal: Arc<MemoryJournal>,
    pub(super) puppet: Arc<Puppet>,
    pub(super) task: JoinHandle<()>,
}

impl Agent {
    pub(super) fn start() -> Self {
        Self::start_with(Ok((TOKEN, URL)))
    }

    pub(super) fn start_unpaired() -> Self {
        Self::start_with(Err(NoCredential {
            kind: NoCredentialKind::Absent,
            id: "absent".to_owned(),
            problem: "this device is not paired".to_owned(),
            hint: "run 'askalf-agent pair'".to_owned(),
            generation: 0,
        }))
    }

    /// With a log of which these are the heads.
    pub(super) fn start_auditing(heads: watch::Receiver<Option<AuditHead>>) -> Self {
        let options = AgentOptions {
            audit_head: Some(heads),
            ..AgentOptions::new(facts())
        };
        Self::start_on(options, Ok((TOKEN, URL)), MemoryJournal::default())
    }

    /// With a watchdog that feels this pulse.
    pub(super) fn start_watched(pulse: Pulse) -> Self {
        let options = AgentOptions {
            pulse: Some(pulse),
            ..AgentOptions::new(facts())
        };
        Self::start_on(options, Ok((TOKEN, URL)), MemoryJournal::default())
    }

    pub(super) fn start_probed(probe: Arc<dyn DeviceProbe>) -> Self {
        let options = AgentOptions {
            probe: Some(probe),
            ..AgentOptions::new(facts())
        };
        Self::start_on(options, Ok((TOKEN, URL)), MemoryJournal::default())
    }

    pub(super) fn start_with(credential: Result<(&str, &str), NoCredential>) -> Self {
        let options = AgentOptions::new(facts());
        Self::start_on(options, credential, MemoryJournal::default())
    }

    /// One whose earlier process has left this.
    pub(super) fn start_after(held: Held) -> Self {
        let options = AgentOptions::new(facts());
        Self::start_on(options, Ok((TOKEN, URL)), MemoryJournal::holding(held))
    }

    fn start_on(
        options: AgentOptions,
        credential: Result<(&str, &str), NoCredential>,
        journal: MemoryJournal,
    ) -> Self {
        let journal = Arc::new(journal);
        let (dialer, dials) = pipes();
        let credential = credential.map(|(token, url)| LoadedCredential {
            token: Token::parse(token).unwrap(),
            url: url.to_owned(),
            insecure: false,
            route: Arc::default(),
            generation: 1,
        });
        let credentials = Arc::new(Credentials(Mutex::new(credential)));
        let device_ids = Arc::new(DeviceIds::default());
        let puppet = Arc::new(Puppet::default());
        let (commands, command_receiver) = mpsc::channel(4);
        let (status_sender, status) = watch::channel(AgentStatus::starting("1.0.0", 0));
        let parts = Parts {
            options,
            credentials: credentials.clone(),
            executors: vec![puppet.clone()],
            journal: journal.clone(),
            device_ids: device_ids.clone(),
            commands: command_receiver,
            status: status_sender,
        };
        let task = tokio::spawn(run_on(Arc::new(dialer), parts));
        Self {
            dials,
            commands,
            status,
            credentials,
            device_ids,
            journal,
            puppet,
            task,
        }
    }

    /// The next connection, upgraded.
    pub(super) async fn accept(&mut self) -> Peer {
        Peer::accept(self.dials.recv().await.unwrap()).await
    }

    /// The next connection, registered at a bridge with these features.
    pub(super) async fn accept_and_register(&mut self, features: &[&str]) -> Peer {
        let mut peer = self.accept().await;
        let kind = peer.next().await.0;
        assert!(
            matches!(kind.as_str(), "device:register" | "device:reconnect"),
            "{kind}"
        );
        peer.register(features).await;
        self.reach(State::Online).await;
        peer
    }

    /// Waits for a state.
    pub(super) async fn reach(&mut self, state: State) -> AgentStatus {
        self.status
            .wait_for(|status| status.state == state)
            .await
            .unwrap()
            .clone()
    }

    pub(super) async fn stop(self) {
        // The agent may be stopping already.
        let _stopping = self.commands.send(Command::Stop).await;
        self.task.await.unwrap();
    }
}

pub(super) fn facts() -> DeviceFacts {
    DeviceFacts {
        name: Some("desk".to_owned()),
        version: "1.0.0".to_owned(),
        ..DeviceFacts::default()
    }
}

/// The bridge's end of a connection.
pub(super) struct Peer {
    pub(super) socket: WebSocketStream<DuplexStream>,
    pub(super) request: Request,
}

impl Peer {
    pub(super) async fn accept(stream: DuplexStream) -> Self {
        let mut request = None;
        #[allow(clippy::result_large_err, reason = "the library fixes the type of its callback")]
        let keep = |asked: &Request, answer: Response| {
            request = Some(asked.clone());
            Ok(answer)
        };
        let socket = accept_hdr_async(stream, keep).await.unwrap();
        Self {
            socket,
            request: request.unwrap(),
        }
    }

    pub(super) async fn send(&mut self, kind: &str, payload: Value) {
        self.text(&json!({"type": kind, "payload": payload}).to_string())
            .await;
    }

    pub(super) async fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(super) async fn register(&mut self, features: &[&str]) {
        let payload = json!({"deviceId": "dev_1", "protocol": 1, "features": features});
        self.send("device:registered", payload).await;
    }

    pub(super) async fn dispatch(&mut self, id: &str, input: &str) {
        let task = json!({"executionId": id, "input": input, "executor": "shell"});
        self.send("task:dispatch", task).await;
    }

    /// The next message other than a heartbeat.
    pub(super) async fn next(&mut self) -> (String, Value) {
        loop {
            let message = self.next_of_all().await;
            if message.0 != "device:heartbeat" {
                return message;
            }
        }
    }

    /// The next message.
    pub(super) async fn next_of_all(&mut self) -> (String, Value) {
        loop {
            let text = match self.socket.next().await.unwrap().unwrap() {
                Message::Text(text) => text,
                Message::Ping(_) | Message::Pong(_) => continue,
                other => panic!("{other:?}"),
            };
            let mut message: Value = serde_json::from_str(&text).unwrap();
            let kind = message["type"].as_str().unwrap().to_owned();
            return (kind, message["payload"].take());
        }
    }

    /// The payload of the next message, which must be of this kind.
    pub(super) async fn expect(&mut self, kind: &str) -> Value {
        let (got, payload) = self.next().await;
        assert_eq!(got, kind, "{payload}");
        payload
    }

    /// The agent's close frame.
    pub(super) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.socket.next().await.unwrap().unwrap() {
                Message::Close(Some(frame)) => {
                    // Answers it, and is then closed as a server is.
                    while let Some(Ok(_)) = self.socket.next().await {}
                    return (frame.code.into(), frame.reason.to_string());
                }
                Message::Close(None) => panic!("a close without a code"),
                _ => {}
            }
        }
    }

    pub(super) async fn close(mut self, code: u16) {
        let code = CloseCode { code, text: "" };
        self.socket
            .send(crate::driver::connection::close_message(code))
            .await
            .unwrap();
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}

pub(super) async fn within<T>(span: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(span, work).await.ok()
}
