//! What a device says on its socket, up to executions: registration, heartbeats, capabilities.

use std::sync::Arc;

use askalf_bridge_auth::AuthenticatedKey;
use askalf_proto::{
    AgentMessage, AuditHead, BridgeMessage, CapabilitiesScan, CloseCode, DecodeError, ErrorCode, Feature,
    Features, Heartbeat, HeldExecution, HeldState, PROTOCOL, Reconnect, Register, Registered, TaskCancel,
    decode_agent,
};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::allowance::Allowance;
use super::bad_frames::BadFrames;
use super::refusal;
use crate::bridge::Core;
use crate::ids::new_id;
use crate::link::{Closing, Link};
use crate::orphans;
use crate::stores::{Device, DeviceFacts, HeadKept, Kind, Principal, StoreError};

/// Most tasks at once that a device may claim to take.
const MAX_CONCURRENT: u32 = 1024;

/// The bridge's side of one session.
pub(super) struct Conversation {
    pub(super) core: Arc<Core>,
    pub(super) link: Arc<Link>,
    pub(super) key: AuthenticatedKey,
    named: Option<String>,
    pub(super) device: Option<OwnDevice>,
    /// When the session ends for want of a registration, and later of a heartbeat.
    deadline: Instant,
    bad_frames: BadFrames,
    allowance: Allowance,
}

/// The device of a session that has registered.
pub(super) struct OwnDevice {
    pub(super) id: String,
    pub(super) who: Principal,
    /// What both sides announced.
    pub(super) features: Features,
    heartbeats: u32,
}

impl Conversation {
    pub(super) fn new(
        core: Arc<Core>,
        link: Arc<Link>,
        key: AuthenticatedKey,
        named: Option<String>,
        allowance: Allowance,
    ) -> Self {
        let deadline = Instant::now() + core.options.register_timeout;
        let bad_frames = BadFrames::new(core.options.bad_frames_per_minute);
        Self {
            core,
            link,
            key,
            named,
            device: None,
            deadline,
            bad_frames,
            allowance,
        }
    }

    /// Whether it sent more than a client may that has not registered.
    pub(super) fn sent_too_much(&self) -> bool {
        self.allowance.is_used_up()
    }

    /// When the session ends unless something is heard before.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Notes that the peer is alive. Before it has registered that alone keeps no socket open.
    pub(super) fn heard(&mut self) {
        if self.device.is_some() {
            self.deadline = Instant::now() + self.core.options.heartbeat_timeout;
        }
    }

    /// Takes a text frame.
    pub(super) async fn text(&mut self, frame: &str) {
        match decode_agent(frame) {
            Ok(message) => self.message(message).await,
            Err(error) => self.undecodable(&error),
        }
    }

    /// Takes a binary frame: there are none on this wire.
    pub(super) fn binary(&mut self) {
        self.nonsense(
            ErrorCode::InvalidJson,
            "a binary frame is no message; send JSON in a text frame",
        );
    }

    /// The socket is gone, or about to be closed.
    pub(super) async fn ended(mut self) {
        self.leave().await;
    }

    async fn message(&mut self, message: AgentMessage) {
        match message {
            AgentMessage::Register(register) => self.register(register).await,
            AgentMessage::Reconnect(reconnect) => self.reconnect(reconnect).await,
            AgentMessage::Heartbeat(heartbeat) => self.heartbeat(heartbeat).await,
            AgentMessage::Pong(_) => {}
            AgentMessage::AuditHead(head) => {
                if self.is_registered("audit:head") {
                    self.audit_head(head).await;
                }
            }
            AgentMessage::Capabilities(result) => {
                if self.is_registered("capabilities:result") {
                    self.touch(Some(&result.capabilities)).await;
                }
            }
            AgentMessage::CredentialProve(proof) => self.prove(&proof.rotation_id).await,
            AgentMessage::CredentialStaged(_)
            | AgentMessage::CredentialFailed(_)
            | AgentMessage::CredentialPromoted(_) => {
                if self.is_registered(message.kind()) {
                    self.rotation(message).await;
                }
            }
            about_executions => {
                if self.is_registered(about_executions.kind()) {
                    self.execution(about_executions).await;
                }
            }
        }
    }

    async fn register(&mut self, register: Register) {
        let facts = DeviceFacts {
            new_id: String::new(),
            name: register.device_name.unwrap_or_default(),
            hostname: register.hostname,
            os: register.os,
            capabilities: register.capabilities,
            device_type: register.device_type,
            max_concurrent: register.max_concurrent.unwrap_or(1).clamp(1, MAX_CONCURRENT),
        };
        tracing::debug!(
            session = self.link.number(),
            version = register.version.as_deref().unwrap_or("unknown"),
            protocol = register.protocol,
            "a device registers"
        );
        self.register_facts(facts, &register.features, &register.executions)
            .await;
    }

    async fn register_facts(&mut self, mut facts: DeviceFacts, features: &Features, held: &[HeldExecution]) {
        if self.already_registered() {
            return;
        }
        if facts.name.is_empty() {
            let name = self.named.clone().or_else(|| facts.hostname.clone());
            facts.name = name.unwrap_or_else(|| self.key.name().to_owned());
        }
        match new_id("dev_", self.core.now()) {
            Ok(id) => facts.new_id = id,
            Err(error) => {
                tracing::error!(error = %error, "a device cannot be registered");
                return self.unavailable();
            }
        }
        let core = Arc::clone(&self.core);
        let turn = core.turns.of(self.key.key_id()).await;
        let who = Principal::device(&self.key);
        let device = core.store.register_device(&who, facts, core.now()).await;
        let admitted = self.admit(device, features);
        drop(turn);
        if admitted {
            self.settle(held).await;
            self.take_up_rotation().await;
        }
    }

    async fn reconnect(&mut self, reconnect: Reconnect) {
        if self.already_registered() {
            return;
        }
        let Some(id) = reconnect.device_id else {
            return self.nonsense(ErrorCode::MissingDeviceId, "device:reconnect names no deviceId");
        };
        let core = Arc::clone(&self.core);
        let turn = core.turns.of(self.key.key_id()).await;
        let who = Principal::device(&self.key);
        let device = core.store.reconnect_device(&who, &id, core.now()).await;
        let admitted = self.admit(device, &reconnect.features);
        drop(turn);
        if admitted {
            self.settle(&reconnect.executions).await;
            self.take_up_rotation().await;
        }
    }

    fn already_registered(&mut self) -> bool {
        if self.device.is_some() {
            self.nonsense(ErrorCode::AlreadyRegistered, "this socket has registered already");
        }
        self.device.is_some()
    }

    /// Puts the device online. No await in here: the answer is the first frame that the device gets, and whoever finds
    /// the device in the hub finds it behind that answer.
    fn admit(&mut self, device: Result<Device, StoreError>, features: &Features) -> bool {
        let device = match device {
            Ok(device) => device,
            Err(StoreError::NotFound(Kind::Device)) => {
                self.nonsense(
                    ErrorCode::DeviceNotFound,
                    "there is no such device of this key; register",
                );
                return false;
            }
            Err(StoreError::NotFound(Kind::Key)) => {
                // Its next check says why.
                tracing::warn!(
                    session = self.link.number(),
                    "the key of a session was revoked before its device registered"
                );
                self.unavailable();
                return false;
            }
            Err(error @ StoreError::Unavailable(_)) => {
                tracing::error!(session = self.link.number(), error = %error, "a device cannot be registered");
                self.unavailable();
                return false;
            }
            Err(error) => {
                self.nonsense(ErrorCode::InvalidJson, error.to_string());
                return false;
            }
        };
        let interval = self.core.options.heartbeat_interval.as_millis();
        let registered = Registered {
            device_id: device.id.clone(),
            user_id: Some(device.user_id),
            protocol: PROTOCOL,
            features: Features::all(),
            heartbeat_interval_ms: u64::try_from(interval).ok(),
        };
        self.tell(BridgeMessage::Registered(registered));
        self.scan(&device.id);
        let features = Features::all().shared_with(features);
        self.link.registered(features.clone());
        self.device = Some(OwnDevice {
            who: Principal::device(&self.key).registered_as(&device.id),
            features,
            heartbeats: 0,
            id: device.id.clone(),
        });
        self.heard();
        self.allowance.lift();
        tracing::info!(
            session = self.link.number(),
            device = device.id,
            name = device.name,
            "a device registered"
        );
        if let Some(replaced) = self.core.hub.attach(&device.id, &self.link) {
            tracing::info!(
                session = replaced.number(),
                device = device.id,
                "a session was replaced"
            );
            replaced.close(Closing::WithCode(CloseCode::REPLACED));
            // This one comes too late: what it holds is not what the device holds now.
            return replaced.number() != self.link.number();
        }
        true
    }

    /// Brings the open executions of the device in line with what it holds. A device that does not say what it holds
    /// gets the time that one gets that is gone: what it still works on, it speaks of.
    async fn settle(&mut self, held: &[HeldExecution]) {
        let Some(device) = &self.device else { return };
        let core = Arc::clone(&self.core);
        if !device.features.contains(Feature::Resume) {
            return orphans::arm(&core, &device.id);
        }
        core.grace.disarm(&device.id);
        for held in held {
            self.link.hold_if_room(&held.execution_id);
        }
        let why = "interrupted: its device came back without it";
        let patience = core.options.write_timeout;
        match orphans::settle_unheld(&core, &device.id, None, why, patience).await {
            Ok(unheld) => {
                if unheld.ended > 0 {
                    tracing::warn!(
                        device = device.id,
                        ended = unheld.ended,
                        "executions were interrupted"
                    );
                }
                if unheld.left > 0 {
                    orphans::arm(&core, &device.id);
                }
            }
            Err(error) => {
                tracing::error!(device = device.id, error = %error, "open executions could not be settled");
                orphans::arm(&core, &device.id);
            }
        }
        let (id, who) = (device.id.clone(), device.who.clone());
        for held in held.iter().filter(|held| held.state != HeldState::Ended) {
            self.take_up(&id, &who, held).await;
        }
    }

    /// Takes up an execution that the device holds, or ends it there where it has ended here.
    async fn take_up(&self, device_id: &str, who: &Principal, held: &HeldExecution) {
        let id = &held.execution_id;
        let store = &self.core.store;
        let taken_up = async {
            if held.state == HeldState::Running && !store.execution_running(who, id, self.core.now()).await? {
                return Err(StoreError::NotFound(Kind::Execution));
            }
            store.execution(who, id).await
        };
        match taken_up.await {
            Ok(execution) if execution.status.is_open() => {
                tracing::info!(
                    device = device_id,
                    execution = id,
                    "an execution was taken up again"
                );
                if execution.cancel_requested {
                    self.tell(BridgeMessage::Cancel(TaskCancel {
                        execution_id: id.to_owned(),
                    }));
                }
            }
            Ok(_) | Err(StoreError::NotFound(_)) => self.cancel_on_device(id),
            Err(error) => tracing::warn!(execution = id, error = %error, "an execution was not looked up"),
        }
    }

    /// Tells the device to end what nobody waits for any more.
    pub(super) fn cancel_on_device(&self, execution_id: &str) {
        self.link.release(execution_id);
        self.tell(BridgeMessage::Cancel(TaskCancel {
            execution_id: execution_id.to_owned(),
        }));
    }

    async fn heartbeat(&mut self, heartbeat: Heartbeat) {
        let per_scan = self.core.options.heartbeats_per_scan;
        let Some(device) = &mut self.device else {
            return self.register_from(heartbeat).await;
        };
        device.heartbeats = device.heartbeats.wrapping_add(1);
        if per_scan > 0 && device.heartbeats.is_multiple_of(per_scan) {
            let id = device.id.clone();
            self.scan(&id);
        }
        self.touch(heartbeat.capabilities.as_ref()).await;
    }

    /// Agents of generation 3 beat without having registered, and bring the facts along.
    async fn register_from(&mut self, heartbeat: Heartbeat) {
        let has_facts = heartbeat.hostname.is_some()
            || heartbeat.os.is_some()
            || heartbeat.device_name.is_some()
            || heartbeat.capabilities.is_some();
        if !has_facts {
            self.is_registered("device:heartbeat");
            return;
        }
        let facts = DeviceFacts {
            name: heartbeat.device_name.unwrap_or_default(),
            hostname: heartbeat.hostname,
            os: heartbeat.os,
            capabilities: heartbeat.capabilities.unwrap_or_default(),
            max_concurrent: 1,
            ..DeviceFacts::default()
        };
        self.register_facts(facts, &Features::none(), &[]).await;
    }

    async fn touch(&mut self, capabilities: Option<&Map<String, Value>>) {
        let Some(device) = &self.device else { return };
        let capabilities = capabilities.filter(|capabilities| !capabilities.is_empty());
        match self
            .core
            .store
            .touch_device(&device.who, &device.id, capabilities, self.core.now())
            .await
        {
            Ok(()) => {}
            Err(StoreError::NotFound(_)) => {
                self.leave().await;
                self.deadline = Instant::now() + self.core.options.register_timeout;
                self.nonsense(ErrorCode::DeviceNotFound, "this device was removed; register");
            }
            Err(error) => tracing::warn!(device = device.id, error = %error, "a heartbeat was not recorded"),
        }
    }

    async fn audit_head(&mut self, head: AuditHead) {
        let Some(device) = &self.device else { return };
        if !device.features.contains(Feature::AuditAnchor) {
            return self.nonsense(
                ErrorCode::UnknownType,
                "audit:head was not announced among the features",
            );
        }
        let seq = head.seq;
        match self
            .core
            .store
            .keep_audit_head(&device.who, head, self.core.now())
            .await
        {
            Ok(HeadKept::Kept | HeadKept::Unchanged) => {}
            Ok(HeadKept::Conflict) => tracing::warn!(
                device = device.id,
                seq,
                "the audit log of a device contradicts the head that is kept of it: it was cut, written anew or restored; \
                 see 'askalf-bridge devices show'"
            ),
            Err(error @ StoreError::Invalid(_)) => self.nonsense(ErrorCode::InvalidJson, error.to_string()),
            // The device tells the next head in a minute.
            Err(error) => {
                tracing::warn!(device = device.id, error = %error, "the head of an audit log was not kept")
            }
        }
    }

    /// Takes the device off this session. Only the session that is the device's own marks it as gone.
    async fn leave(&mut self) {
        let Some(device) = self.device.take() else { return };
        let _turn = self.core.turns.of(self.key.key_id()).await;
        let _device_turn = self.core.device_turns.of(&device.id).await;
        let was_its_own = self.core.hub.detach(&device.id, &self.link);
        if !was_its_own && self.core.hub.of_device(&device.id).is_some() {
            return;
        }
        orphans::arm(&self.core, &device.id);
        match self
            .core
            .store
            .device_offline(&device.who, &device.id, self.core.now())
            .await
        {
            Ok(()) => tracing::info!(device = device.id, "a device is gone"),
            Err(error) => {
                tracing::error!(device = device.id, error = %error, "a device was not marked as gone")
            }
        }
    }

    fn scan(&self, device_id: &str) {
        self.tell(BridgeMessage::CapabilitiesScan(CapabilitiesScan {
            device_id: Some(device_id.to_owned()),
        }));
    }

    /// Whether the device has registered; if not, it is told.
    fn is_registered(&mut self, kind: &str) -> bool {
        if self.device.is_none() {
            self.nonsense(ErrorCode::NotRegistered, format!("{kind} before device:register"));
        }
        self.device.is_some()
    }

    fn undecodable(&mut self, error: &DecodeError) {
        self.nonsense(error.error_code(), format!("{error}; {}", error.hint()));
    }

    /// Answers a frame that has no place here. Too many of them end the session.
    fn nonsense(&mut self, code: ErrorCode, message: impl Into<String>) {
        self.tell(refusal::error(code, message));
        if self.bad_frames.one_more_is_too_many() {
            tracing::warn!(session = self.link.number(), "too many frames without sense");
            self.link.close(Closing::WithCode(CloseCode::PROTOCOL_ERROR));
        }
    }

    /// The store fails: the device is told to come back, for only so does it say again what was not recorded.
    pub(super) fn unavailable(&self) {
        self.tell(refusal::unavailable(self.core.options.unavailable_retry_after));
        self.link.close(Closing::WithCode(CloseCode::TRY_AGAIN));
    }

    /// A session that ends takes no more; the reader sees that by itself.
    pub(super) fn tell(&self, message: BridgeMessage) {
        let _ = self.link.send(&message);
    }
}
