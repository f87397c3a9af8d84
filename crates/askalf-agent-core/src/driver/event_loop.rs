//! The loop that waits for everything at once, tells the machine, and does what it wants done.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use askalf_proto::{AgentMessage, Feature, Pong, decode_bridge};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

use super::clock::{Clock, SystemJitter, unix_ms};
use super::connection::{Connection, News, Outgoing};
use super::device::Questions;
use super::device_id::DeviceIdWrites;
use super::dial::{Dial, Target};
use super::journal::JournalWriter;
use super::rotation::Rotating;
use super::tasks::{TaskNews, Tasks};
use super::{AgentOptions, DeviceIdStore, Parts, Pulse};
use crate::journal::{Committed, Held, JournalError, Record};
use crate::machine::{Action, Command, Event, Fault, Machine, MachineConfig, Moment, Oddity, SocketId};
use crate::{
    AgentStatus, AuditHead, CredentialSource, DeviceLoad, Endpoint, LoadedCredential, NoCredential,
    NoCredentialKind, Scan,
};

/// Messages that wait for the connection beyond which the bridge is not listened to: what it says mostly wants an
/// answer.
const ANSWERS_WAITING: usize = 64;

/// Messages that wait for the connection beyond which tasks are not listened to: their pipes fill instead.
const OUTPUT_WAITING: usize = 8;

/// How long the end of the agent may take once everything is decided: goodbyes, and what is still being written.
const FAREWELL: Duration = Duration::from_secs(5);

pub(super) struct EventLoop {
    pub(super) machine: Machine<SystemJitter>,
    pub(super) clock: Clock,
    pub(super) dialer: Arc<dyn Dial>,
    pub(super) options: AgentOptions,
    pub(super) credentials: Arc<dyn CredentialSource>,
    pub(super) device_ids: Arc<dyn DeviceIdStore>,
    commands: Option<mpsc::Receiver<Command>>,
    pub(super) status: watch::Sender<AgentStatus>,
    /// When the state was entered, on both clocks, so that a corrected wall clock does not move it.
    pub(super) since: (Moment, u64),
    pub(super) target: Option<Target>,
    pub(super) rotating: Rotating,
    pub(super) bridge: Option<String>,
    connection: Option<(SocketId, Connection)>,
    outgoing: VecDeque<Outgoing>,
    pub(super) tasks: Tasks,
    pub(super) writer: JournalWriter,
    /// Frames in quarantine.
    pub(super) quarantined: usize,
    /// Blocking calls under way.
    pub(super) answers: JoinSet<Answer>,
    pub(super) questions: Questions,
    pub(super) device_id_writes: DeviceIdWrites,
    /// Connections that are being closed.
    farewells: JoinSet<()>,
    finished: bool,
}

/// What a blocking call came to.
pub(super) enum Answer {
    Credential(Result<LoadedCredential, NoCredential>),
    /// A staged key is there, and goes first.
    StagedCredential(LoadedCredential),
    /// A step of a rotation was done, or failed.
    Rotation(Event),
    Generation(u64),
    Loaded {
        device_id: Option<String>,
        held: Result<Held, JournalError>,
    },
    Committed(Result<Committed, JournalError>),
    DeviceIdWritten,
    Scanned(Option<Box<Scan>>),
    Load(DeviceLoad),
    LoadIsLate(JoinHandle<DeviceLoad>),
}

enum Wake {
    Command(Option<Command>),
    Pulse,
    AuditHead(Option<AuditHead>),
    Answer(Answer),
    Timeout,
    JournalDue,
    Written(String),
    Sent,
    News(Option<News>),
    Task(TaskNews),
}

impl EventLoop {
    pub(super) fn new(dialer: Arc<dyn Dial>, parts: Parts) -> Self {
        let Parts {
            options,
            credentials,
            executors,
            journal,
            device_ids,
            commands,
            status,
        } = parts;
        let clock = Clock::start();
        let tasks = Tasks::new(executors);
        let mut config = MachineConfig::new(options.facts.clone(), tasks.kinds());
        config.max_concurrent = options.max_concurrent;
        config.default_timeout = options.default_timeout;
        config.timings = options.timings.clone();
        if options.audit_head.is_some() {
            config.features = config.features.with(Feature::AuditAnchor);
        }
        Self {
            machine: Machine::new(config, SystemJitter, clock.now()),
            clock,
            dialer,
            options,
            credentials,
            device_ids,
            commands: Some(commands),
            status,
            since: (clock.now(), unix_ms()),
            target: None,
            rotating: Rotating::default(),
            bridge: None,
            connection: None,
            outgoing: VecDeque::new(),
            tasks,
            writer: JournalWriter::new(journal),
            quarantined: 0,
            answers: JoinSet::new(),
            questions: Questions::default(),
            device_id_writes: DeviceIdWrites::default(),
            farewells: JoinSet::new(),
            finished: false,
        }
    }

    pub(super) async fn run(mut self) {
        if let Some(heads) = &mut self.options.audit_head {
            heads.mark_changed();
        }
        self.first_scan().await;
        self.load();
        while !self.finished {
            let wake = self.wait().await;
            self.take(wake);
            self.perform();
            self.use_journal();
            self.publish();
        }
        let mut farewells = std::mem::take(&mut self.farewells);
        let _given_up = timeout(FAREWELL, async {
            tokio::join!(
                async { while farewells.join_next().await.is_some() {} },
                self.finish_writing()
            )
        })
        .await;
    }

    async fn wait(&mut self) -> Wake {
        let timer = self
            .machine
            .next_timer()
            .map(|timer| self.clock.instant(timer.at));
        let (news, written, outgoing) = match &mut self.connection {
            Some((_, it)) => (Some(&mut it.news), Some(&mut it.written), Some(&it.outgoing)),
            None => (None, None, None),
        };
        tokio::select! {
            biased;
            command = next(self.commands.as_mut()) => Wake::Command(command),
            () = asked(self.options.pulse.as_ref()) => Wake::Pulse,
            head = newest(self.options.audit_head.as_mut()) => Wake::AuditHead(head),
            Some(Ok(answer)) = self.answers.join_next() => Wake::Answer(answer),
            Some(event) = self.rotating.proved() => Wake::Answer(Answer::Rotation(event)),
            Some(_) = self.farewells.join_next() => Wake::Sent,
            () = at(timer) => Wake::Timeout,
            () = at(self.writer.retry_at()) => Wake::JournalDue,
            // Closed as soon as the connection's task is over, while its last news may still wait.
            Some(execution_id) = next(written) => Wake::Written(execution_id),
            () = send_one(outgoing, &mut self.outgoing), if !self.outgoing.is_empty() => Wake::Sent,
            news = next(news), if self.outgoing.len() < ANSWERS_WAITING => Wake::News(news),
            news = self.tasks.next(), if self.outgoing.len() < OUTPUT_WAITING => Wake::Task(news),
        }
    }

    fn take(&mut self, wake: Wake) {
        match wake {
            Wake::Command(Some(command)) => self.tell(Event::Command(command)),
            Wake::Command(None) => {
                self.commands = None;
                self.tell(Event::Command(Command::Stop));
            }
            Wake::Pulse => {
                if let Some(pulse) = &self.options.pulse {
                    pulse.beat();
                }
            }
            Wake::AuditHead(Some(head)) => self.tell(Event::AuditHead(head)),
            Wake::AuditHead(None) => {}
            Wake::Answer(answer) => self.answered(answer),
            Wake::Timeout => self.machine.handle_timeout(self.clock.now()),
            Wake::Written(execution_id) => {
                if let Some(socket) = self.socket() {
                    self.tell(Event::Written(socket, execution_id));
                }
            }
            Wake::Sent | Wake::JournalDue => {}
            Wake::News(news) => self.heard(news),
            Wake::Task(TaskNews::Output(chunk)) => self.tell(Event::Output(chunk)),
            Wake::Task(TaskNews::Ended { execution_id, end }) => {
                self.tell(Event::TaskEnded { execution_id, end });
            }
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.machine.handle(event, self.clock.now());
    }

    fn socket(&self) -> Option<SocketId> {
        self.connection.as_ref().map(|(socket, _)| *socket)
    }

    fn heard(&mut self, news: Option<News>) {
        let Some((socket, connection)) = &mut self.connection else {
            return;
        };
        let socket = *socket;
        let event = match news {
            Some(News::Opened) => {
                connection.opened = true;
                Event::Opened(socket)
            }
            Some(News::Text(text)) => self.decode(socket, &text),
            Some(News::Binary(bytes)) => Event::Odd(socket, Oddity::Binary { bytes }),
            Some(News::Ping) => Event::Heard(socket),
            Some(News::Pong(payload)) => match payload.as_ref().try_into() {
                Ok(number) => Event::Ponged(socket, u64::from_be_bytes(number)),
                Err(_) => Event::Heard(socket),
            },
            Some(News::Ended(fault)) => self.connection_ended(socket, fault),
            None => {
                let detail = "its handling failed".to_owned();
                self.connection_ended(socket, Fault::Lost { detail })
            }
        };
        self.tell(event);
    }

    fn connection_ended(&mut self, socket: SocketId, fault: Fault) -> Event {
        self.outgoing.clear();
        if let Some((_, connection)) = self.connection.take() {
            // It still answers the peer's close; that is nobody's concern any more, but bounded.
            self.farewells.spawn(connection.finish());
        }
        Event::Ended(socket, fault)
    }

    fn decode(&self, socket: SocketId, text: &str) -> Event {
        let Some(target) = &self.target else {
            return Event::Heard(socket);
        };
        let clean = match decode_bridge(text) {
            Ok(message) => target.cleaner.message(message),
            Err(error) => Err(target.cleaner.decode_error(error)),
        };
        match clean {
            Ok(message) => Event::Received(socket, Box::new(message)),
            Err(error) => Event::Odd(socket, Oddity::Undecodable(error)),
        }
    }

    fn perform(&mut self) {
        while let Some(action) = self.machine.next_action() {
            match action {
                Action::LoadCredential => {
                    let credentials = Arc::clone(&self.credentials);
                    self.ask(credential_failed(), move || {
                        match credentials.rotation().and_then(|rotation| rotation.staged()) {
                            Some(staged) => Answer::StagedCredential(staged),
                            None => Answer::Credential(credentials.load()),
                        }
                    });
                }
                Action::PollCredential => {
                    let credentials = Arc::clone(&self.credentials);
                    self.ask(credential_failed(), move || {
                        Answer::Generation(credentials.generation())
                    });
                }
                Action::Connect(socket) => self.connect(socket),
                Action::Send(socket, message) => match *message {
                    AgentMessage::Heartbeat(heartbeat) => self.beat(socket, heartbeat),
                    message => self.send(socket, &message),
                },
                Action::Scan => self.scan(),
                Action::SendResult {
                    socket,
                    execution_id,
                    frame,
                } => self.queue(socket, Outgoing::Result { execution_id, frame }),
                Action::SendPong(socket) => {
                    #[allow(clippy::cast_precision_loss, reason = "exact until the year 287396")]
                    let ts = unix_ms() as f64;
                    self.send(socket, &AgentMessage::Pong(Pong { ts }));
                }
                Action::Ping(socket, number) => self.queue(socket, Outgoing::Ping(number)),
                Action::Close(socket, code) => {
                    if let Some((_, connection)) = self.connection.take_if(|(it, _)| *it == socket) {
                        self.outgoing.clear();
                        self.farewells.spawn(connection.close(code));
                    }
                }
                Action::Abort(socket) => {
                    if self.connection.take_if(|(it, _)| *it == socket).is_some() {
                        self.outgoing.clear();
                    }
                }
                Action::Journal {
                    execution_id,
                    executor,
                } => self.writer.put(Record::Accepted {
                    execution_id,
                    executor: executor.as_str().to_owned(),
                }),
                Action::Persist { execution_id, frame } => {
                    self.writer.put(Record::Ended { execution_id, frame });
                }
                Action::Quarantine {
                    execution_id,
                    replacement,
                } => self.writer.put(Record::Quarantined {
                    execution_id,
                    replacement,
                }),
                Action::Forget(execution_id) => self.writer.put(Record::Delivered { execution_id }),
                Action::Start(job) => self.tasks.start(*job),
                Action::Cancel(execution_id) => self.tasks.cancel(&execution_id),
                Action::SaveDeviceId(device_id) => self.write_device_id(Some(device_id)),
                Action::ForgetDeviceId => self.write_device_id(None),
                Action::StageCredential(offer) => self.stage_credential(*offer),
                Action::ProveCredential(rotation_id) => self.prove_credential(rotation_id),
                Action::PromoteCredential => self.promote_credential(),
                Action::DropStagedCredential { keep_file } => self.drop_staged_credential(keep_file),
                Action::Finish => self.finished = true,
            }
        }
    }

    fn connect(&mut self, socket: SocketId) {
        self.outgoing.clear();
        match self.target.clone() {
            Some(target) => {
                let dialer = Arc::clone(&self.dialer);
                let connection = Connection::start(dialer, target, self.options.timings.clone());
                self.connection = Some((socket, connection));
            }
            None => {
                let detail = "no credential was read".to_owned();
                self.tell(Event::Ended(socket, Fault::Unreachable { detail }));
            }
        }
    }

    pub(super) fn send(&mut self, socket: SocketId, message: &AgentMessage) {
        match message.encode() {
            Ok(text) => self.queue(socket, Outgoing::Text(text)),
            Err(error) => warn!("not sent: {error}"),
        }
    }

    fn queue(&mut self, socket: SocketId, outgoing: Outgoing) {
        if self.socket() == Some(socket) {
            self.outgoing.push_back(outgoing);
        }
    }

    /// Calls something that may block; should it panic, `failed` is its answer.
    pub(super) fn ask(&mut self, failed: Answer, call: impl FnOnce() -> Answer + Send + 'static) {
        self.answers
            .spawn(async move { spawn_blocking(call).await.unwrap_or(failed) });
    }

    pub(super) fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Credential(Ok(credential)) => {
                let event = self.fit(credential);
                self.tell(event);
            }
            Answer::StagedCredential(credential) => {
                self.rotating.found(&credential.token);
                let event = match self.fit(credential) {
                    Event::CredentialReady { generation } => Event::StagedCredentialReady { generation },
                    fault => fault,
                };
                self.tell(event);
            }
            Answer::Rotation(event) => self.tell(event),
            Answer::Credential(Err(missing)) => self.tell(Event::CredentialMissing(missing)),
            Answer::Generation(generation) => self.tell(Event::CredentialGeneration(generation)),
            Answer::Loaded { device_id, held } => self.loaded(device_id, held),
            Answer::Committed(result) => self.committed(result),
            Answer::DeviceIdWritten => self.device_id_written(),
            Answer::Scanned(scan) => self.scanned(scan),
            Answer::Load(load) => self.load_read(load),
            Answer::LoadIsLate(reading) => self.load_is_late(reading),
        }
    }

    /// A credential that cannot be presented, or has nowhere to go, is a fault of the device.
    fn fit(&mut self, credential: LoadedCredential) -> Event {
        let LoadedCredential {
            token,
            url,
            insecure,
            route,
            generation,
        } = credential;
        let fault = |id: &'static str, problem: String, hint: &'static str| {
            Event::CredentialMissing(NoCredential {
                kind: NoCredentialKind::LocalFault,
                id: id.to_owned(),
                problem,
                hint: hint.to_owned(),
                generation,
            })
        };
        let endpoint = match Endpoint::parse(&url, insecure) {
            Ok(endpoint) => endpoint,
            Err(error) => return fault(error.id(), error.to_string(), error.hint()),
        };
        self.bridge = Some(endpoint.to_string());
        match Target::new(endpoint, route, &token, &self.options.facts) {
            Ok(target) => {
                self.target = Some(target);
                Event::CredentialReady { generation }
            }
            Err(error) => fault(error.id(), error.to_string(), error.hint()),
        }
    }
}

fn credential_failed() -> Answer {
    Answer::Credential(Err(NoCredential {
        kind: NoCredentialKind::LocalFault,
        id: "credential-source-failed".to_owned(),
        problem: "reading the credential failed within the agent".to_owned(),
        hint: "see the agent's log; 'askalf-agent recovery' says what can be done".to_owned(),
        generation: 0,
    }))
}

/// The next message, or never where there is nobody to send one. Cancel-safe.
async fn next<T>(receiver: Option<&mut mpsc::Receiver<T>>) -> Option<T> {
    match receiver {
        Some(receiver) => receiver.recv().await,
        None => pending().await,
    }
}

/// A watchdog's next question; for ever where there is no watchdog.
async fn asked(pulse: Option<&Pulse>) {
    match pulse {
        Some(pulse) => pulse.asked().await,
        None => pending().await,
    }
}

/// The head of the audit log once it is another one, or never where there is no log. Cancel-safe.
async fn newest(heads: Option<&mut watch::Receiver<Option<AuditHead>>>) -> Option<AuditHead> {
    match heads {
        // A log that ended has no news.
        Some(heads) => match heads.changed().await {
            Ok(()) => heads.borrow_and_update().clone(),
            Err(_) => pending().await,
        },
        None => pending().await,
    }
}

/// Hands one message to the connection once it has room. Cancel-safe.
async fn send_one(sender: Option<&mpsc::Sender<Outgoing>>, queue: &mut VecDeque<Outgoing>) {
    let Some(sender) = sender else {
        return pending().await;
    };
    match sender.reserve().await {
        Ok(permit) => {
            if let Some(outgoing) = queue.pop_front() {
                permit.send(outgoing);
            }
        }
        // The connection is about to say that it has ended.
        Err(_) => queue.clear(),
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
