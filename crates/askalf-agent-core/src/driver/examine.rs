//! A look at the way to a bridge, layer by layer, without being anybody there.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use askalf_bridge_auth::{Token, TokenError};
use askalf_proto::{AgentMessage, BridgeMessage, ErrorCode, Reconnect};
use futures_util::SinkExt;
use http::{HeaderMap, header};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::dial::{Dial, Socket, Target};
use super::net::{Met, NotingDial};
use super::verify::{LEAVE_LIMIT, answer, leave};
use crate::machine::{Fault, Verdict, Wait};
use crate::{DeviceFacts, Endpoint, Route, Timings, TlsPin};

/// What to look at.
#[derive(Debug, Clone)]
pub struct Examination {
    /// The bridge.
    pub endpoint: Endpoint,
    /// The way to it.
    pub route: Arc<Route>,
    /// The key; `None`: only the way is looked at.
    pub token: Option<Token>,
    /// What the device says about itself: version and name go into headers, nothing else is told.
    pub facts: DeviceFacts,
    /// How long to wait for what: `connect`, `handshake`, `registration` and `registration_tries` count.
    pub timings: Timings,
    /// Longest time for the whole.
    pub limit: Duration,
}

/// The layers of a connection, from the outside in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The bridge's name is looked up.
    Name,
    /// The bridge takes a TCP connection.
    Connection,
    /// The proxy leads to the bridge.
    Proxy,
    /// The bridge shows the certificate that is wanted.
    Tls,
    /// The bridge takes the upgrade to a WebSocket.
    Upgrade,
    /// The bridge takes the key.
    Key,
}

/// What was met on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Where it ended, and why; `None`: everything that was asked for is in order.
    pub fault: Option<(Layer, Verdict)>,
    /// The fingerprint of the key that the bridge showed.
    pub tls_key: Option<TlsPin>,
    /// The bridge's clock, as whatever answered the upgrade request told it in `Date`.
    pub date: Option<String>,
    /// This device's clock at that moment.
    pub answered_at: Option<SystemTime>,
}

impl Examined {
    /// Whether this layer was reached and is in order.
    pub fn is_good(&self, layer: Layer) -> bool {
        self.fault.as_ref().is_none_or(|(at, _)| *at > layer)
    }

    /// What is wrong with this layer, where the way ended there.
    pub fn fault_at(&self, layer: Layer) -> Option<&Verdict> {
        let (at, verdict) = self.fault.as_ref()?;
        (*at == layer).then_some(verdict)
    }
}

/// Dials once, upgrades, and asks the bridge something that it answers only to whom it let in: a `device:reconnect` that names no
/// device. Nothing registers, so no device's session is replaced, and the bridge keeps nothing of it but the use of the key.
///
/// Never longer than [`Examination::limit`], give or take the time of a goodbye.
///
/// # Errors
/// [`TokenError`]: no header can carry the key.
pub async fn examine(examination: &Examination) -> Result<Examined, TokenError> {
    let Examination {
        endpoint,
        route,
        token,
        facts,
        ..
    } = examination;
    let target = match token {
        Some(token) => Target::new(endpoint.clone(), Arc::clone(route), token, facts)?,
        None => Target::anonymous(endpoint.clone(), Arc::clone(route), facts),
    };
    let dialer = NotingDial::default();
    let mut upgraded = Upgraded::default();
    let looking = look(examination, &target, &dialer, &mut upgraded);
    let fault = match timeout(examination.limit, looking).await {
        Ok(outcome) => outcome.err(),
        Err(_) => Some(Fault::NoAnswer {
            waited_for: Wait::Upgrade,
            waited: examination.limit,
        }),
    };
    let (met, proxied) = (dialer.met(), route.proxies.to(endpoint).is_some());
    let date = upgraded
        .headers
        .get(header::DATE)
        .and_then(|date| date.to_str().ok());
    Ok(Examined {
        fault: fault.map(|fault| (layer_of(&fault, &met, upgraded.done, proxied), fault.verdict())),
        tls_key: met.key,
        date: date.map(|date| target.cleaner.text(date)),
        answered_at: upgraded.at,
    })
}

/// What is known of the upgrade.
#[derive(Default)]
struct Upgraded {
    headers: HeaderMap,
    at: Option<SystemTime>,
    done: bool,
}

async fn look(
    examination: &Examination,
    target: &Target,
    dialer: &dyn Dial,
    upgraded: &mut Upgraded,
) -> Result<(), Fault> {
    let timings = &examination.timings;
    let opened = target.open_noting(dialer, timings, &mut upgraded.headers).await;
    if !upgraded.headers.is_empty() {
        upgraded.at = Some(SystemTime::now());
    }
    let mut socket = opened?;
    upgraded.done = true;
    let outcome = match examination.token {
        Some(_) => ask(&mut socket, target, timings).await,
        None => Ok(()),
    };
    let _given_up = timeout(LEAVE_LIMIT, leave(&mut socket)).await;
    outcome
}

async fn ask(socket: &mut Socket, target: &Target, timings: &Timings) -> Result<(), Fault> {
    let question = AgentMessage::Reconnect(Reconnect::default());
    let frame = question.encode().map_err(|error| Fault::Lost {
        detail: error.to_string(),
    })?;
    let tries = timings.registration_tries.max(1);
    // Older forges drop what arrives while they check the key.
    for _ in 0..tries {
        let answered = async {
            // Should the peer be gone already, its last words tell more than the failed write.
            let _last_words_follow = socket.send(Message::text(frame.as_str())).await;
            answer(socket, target, |message| {
                matches!(message, BridgeMessage::Registered(_)).then_some(())
            })
            .await
        };
        if let Ok(outcome) = timeout(timings.registration, answered).await {
            return match outcome {
                Err(Fault::Refused(error)) if is_let_in(&error.code) => Ok(()),
                outcome => outcome,
            };
        }
    }
    Err(Fault::NotRegistered { tries })
}

/// Answers that only somebody gets whose key was taken.
fn is_let_in(code: &ErrorCode) -> bool {
    matches!(code, ErrorCode::MissingDeviceId | ErrorCode::DeviceNotFound)
}

fn layer_of(fault: &Fault, met: &Met, upgraded: bool, proxied: bool) -> Layer {
    if upgraded {
        return Layer::Key;
    }
    if met.secured {
        return Layer::Upgrade;
    }
    if met.connected {
        return Layer::Tls;
    }
    match fault {
        _ if proxied => Layer::Proxy,
        Fault::NameLookup { .. } => Layer::Name,
        _ => Layer::Connection,
    }
}
