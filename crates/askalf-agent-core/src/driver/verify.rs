//! The proof that a bridge takes a key, before the key replaces another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use askalf_bridge_auth::{Token, TokenError};
use askalf_proto::{AgentMessage, BridgeMessage, CloseCode, Features, Register, Registered, decode_bridge};
use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use super::connection::{close_message, closed, socket_fault};
use super::dial::{Dial, Socket, Target};
use super::net::NetDial;
use crate::machine::{COMES_BACK, Disposition, Fault, PAIR, Verdict};
use crate::{DeviceFacts, Endpoint, EndpointError, Route, Timings};

/// How long a bridge may take to say goodbye; the proof stands without.
pub(super) const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// What to prove.
#[derive(Debug, Clone)]
pub struct Verification {
    /// The bridge's URL, as a person gave it.
    pub url: String,
    /// Whether the key may cross a network in plain text.
    pub insecure: bool,
    /// The way to the bridge.
    pub route: Arc<Route>,
    /// The key.
    pub token: Token,
    /// What the device says about itself; the bridge keeps it.
    pub facts: DeviceFacts,
    /// Most tasks at once; the bridge keeps it.
    pub max_concurrent: u32,
    /// How long to wait for what.
    pub timings: Timings,
}

/// The bridge has registered the device under the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The device's id.
    pub device_id: String,
    /// The user that owns the key, where the bridge tells.
    pub user_id: Option<String>,
    /// Where the bridge was found.
    pub endpoint: Endpoint,
}

/// Why there is no proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyError {
    /// The URL cannot be dialled.
    Endpoint(EndpointError),
    /// No header can carry the key.
    Token(TokenError),
    /// The bridge was not reached, or did not register the device.
    Bridge(Verdict),
}

/// What kind of error it is, for an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyErrorKind {
    /// What was given is wrong: nothing was sent.
    Configuration,
    /// The bridge refused the key.
    KeyRefused,
    /// Nothing is known about the key: the bridge was not reached, or could not decide.
    Unavailable,
}

impl VerifyError {
    /// Stable name of the error: the one that the agent's state would show as its reason.
    pub fn id(&self) -> &str {
        match self {
            Self::Endpoint(error) => error.id(),
            Self::Token(error) => error.id(),
            Self::Bridge(verdict) => &verdict.reason.id,
        }
    }

    /// What to do next. The agent would try again by itself; a person has to do so.
    pub fn hint(&self) -> &str {
        match self {
            Self::Endpoint(error) => error.hint(),
            Self::Token(error) => error.hint(),
            Self::Bridge(verdict) if verdict.reason.hint == COMES_BACK => "try again in a moment",
            Self::Bridge(verdict) if verdict.reason.hint == PAIR => {
                "check that the whole key was copied and that it is a key of this bridge, or ask the operator for a \
                 new one"
            }
            Self::Bridge(verdict) => &verdict.reason.hint,
        }
    }

    /// What kind of error it is.
    pub fn kind(&self) -> VerifyErrorKind {
        match self {
            Self::Endpoint(_) | Self::Token(_) => VerifyErrorKind::Configuration,
            Self::Bridge(verdict) => match verdict.disposition {
                Disposition::RepairRequired { .. } | Disposition::SecondTry => VerifyErrorKind::KeyRefused,
                Disposition::Backoff { .. }
                | Disposition::SlowRetry
                | Disposition::Replaced
                | Disposition::ForgetDevice
                | Disposition::Quarantine
                | Disposition::Ignore => VerifyErrorKind::Unavailable,
            },
        }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(error) => error.fmt(formatter),
            Self::Token(error) => error.fmt(formatter),
            Self::Bridge(verdict) => formatter.write_str(&verdict.reason.text),
        }
    }
}

impl std::error::Error for VerifyError {}

impl From<Fault> for VerifyError {
    fn from(fault: Fault) -> Self {
        Self::Bridge(fault.verdict())
    }
}

/// Connects once, registers, and leaves with close code 1000. Exactly one `device:registered` is proof; nothing is
/// tried twice, save for a registration that a forge drops while it checks the key.
///
/// # Errors
/// [`VerifyError`].
pub async fn verify(verification: Verification) -> Result<Verified, VerifyError> {
    verify_on(&NetDial, verification).await
}

pub(crate) async fn verify_on(
    dialer: &dyn Dial,
    verification: Verification,
) -> Result<Verified, VerifyError> {
    let Verification {
        url,
        insecure,
        route,
        token,
        facts,
        max_concurrent,
        timings,
    } = verification;
    let endpoint = Endpoint::parse(&url, insecure).map_err(VerifyError::Endpoint)?;
    let target = Target::new(endpoint, route, &token, &facts).map_err(VerifyError::Token)?;
    let mut socket = target.open(dialer, &timings).await?;
    let registration = AgentMessage::Register(Register {
        // Whoever announces that it resumes, and names no execution, has lost what it ran. Here nobody runs any: the
        // agent of this device may, on a connection of its own.
        features: Features::none(),
        ..facts.registration(max_concurrent)
    });
    let outcome = register(&mut socket, &registration, &target, &timings).await;
    let _given_up = timeout(LEAVE_LIMIT, leave(&mut socket)).await;
    let registered = outcome?;
    Ok(Verified {
        device_id: registered.device_id,
        user_id: registered.user_id,
        endpoint: target.endpoint,
    })
}

async fn register(
    socket: &mut Socket,
    registration: &AgentMessage,
    target: &Target,
    timings: &Timings,
) -> Result<Registered, Fault> {
    let frame = registration.encode().map_err(|error| Fault::Lost {
        detail: error.to_string(),
    })?;
    let tries = timings.registration_tries.max(1);
    for _ in 0..tries {
        let overdue = Instant::now() + timings.registration;
        let answer = async {
            // Should the peer be gone already, its last words tell more than the failed write.
            let _last_words_follow = socket.send(Message::text(frame.as_str())).await;
            answer(socket, target, |message| match message {
                BridgeMessage::Registered(registered) => Some(registered),
                _ => None,
            })
            .await
        };
        if let Ok(outcome) = timeout_at(overdue, answer).await {
            return outcome;
        }
    }
    Err(Fault::NotRegistered { tries })
}

/// The first answer that decides: one that `wanted` takes, or a refusal.
pub(super) async fn answer<T>(
    socket: &mut Socket,
    target: &Target,
    wanted: impl Fn(BridgeMessage) -> Option<T>,
) -> Result<T, Fault> {
    loop {
        let text = match socket.next().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(frame))) => return Err(closed(frame, &target.cleaner)),
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Err(socket_fault(&error, &target.cleaner)),
            None => {
                return Err(Fault::Closed {
                    code: None,
                    text: String::new(),
                });
            }
        };
        match decode_bridge(&text).and_then(|message| target.cleaner.message(message)) {
            Ok(BridgeMessage::Error(error)) => {
                let fault = Fault::Refused(error);
                if fault.verdict().disposition != Disposition::Ignore {
                    return Err(fault);
                }
            }
            Ok(message) => {
                if let Some(wanted) = wanted(message) {
                    return Ok(wanted);
                }
            }
            // Nothing else matters to a device that is about to leave.
            Err(_) => {}
        }
    }
}

pub(super) async fn leave(socket: &mut Socket) {
    if socket
        .send(close_message(CloseCode::CLIENT_DISCONNECT))
        .await
        .is_ok()
    {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                return;
            }
        }
    }
}
