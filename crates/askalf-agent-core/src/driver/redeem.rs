//! A pairing code exchanged for a key.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use askalf_bridge_auth::{PairCode, PairNonce, Token};
use bytes::Bytes;
use futures_util::FutureExt;
use http::response::Parts;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::clean::Cleaner;
use super::dial::{Dial, Stream, within};
use super::net::NetDial;
use crate::endpoint::retry_after;
use crate::machine::{COMES_BACK, Fault, Verdict, Wait};
use crate::{Endpoint, EndpointError, Route, Timings};

const PATH: &str = "/api/v1/pair";

/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Waits between the tries. The exchange is idempotent by its nonce, so that one whose answer was lost is repeated.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Longest wait that the bridge may ask for; a person sits before it.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A code on its way to a key.
#[derive(Debug, Clone)]
pub struct Redemption {
    /// The bridge's URL, as a person gave it.
    pub url: String,
    /// The way to the bridge.
    pub route: Arc<Route>,
    /// The code.
    pub code: PairCode,
    /// Drawn once per code and kept until the key is: whoever repeats an exchange with it gets the same key again.
    pub nonce: PairNonce,
    /// What the device calls itself: for the bridge's log.
    pub device_name: String,
    /// The id that the device has: for the bridge's log. Which device a code pairs again is said by the code.
    pub device_id: Option<String>,
    /// How long to wait for what.
    pub timings: Timings,
}

/// What a code was worth.
#[derive(Debug, Clone)]
pub struct Redeemed {
    /// The key. The bridge does not count it before it is used.
    pub key: Token,
    /// The name that the operator gave with the code.
    pub name: Option<String>,
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedeemError {
    /// The URL cannot be dialled.
    Endpoint(EndpointError),
    /// The code would cross a network in plain text.
    NotPrivate {
        /// The bridge's host.
        host: String,
    },
    /// The bridge does not know pairing codes.
    NoCodes,
    /// The bridge refused the code.
    Refused {
        /// Stable name of the refusal.
        id: String,
        /// What is wrong.
        message: String,
        /// What to do next.
        hint: String,
    },
    /// The bridge was not reached, or could not decide. The same code may work later.
    Bridge(Verdict),
}

impl RedeemError {
    /// Stable name of the error.
    pub fn id(&self) -> &str {
        match self {
            Self::Endpoint(error) => error.id(),
            Self::NotPrivate { .. } => "pair-code-plain-remote",
            Self::NoCodes => "no-pair-codes",
            Self::Refused { id, .. } => id,
            Self::Bridge(verdict) => &verdict.reason.id,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &str {
        match self {
            Self::Endpoint(error) => error.hint(),
            Self::NotPrivate { .. } => {
                "use an https:// URL, or a loopback address that leads to the bridge through a tunnel"
            }
            Self::NoCodes => "check the URL; with an older bridge pair by a key: 'askalf-agent pair -'",
            Self::Refused { hint, .. } => hint,
            Self::Bridge(verdict) if verdict.reason.hint == COMES_BACK => {
                "run the same command again: the code is not used up"
            }
            Self::Bridge(verdict) => &verdict.reason.hint,
        }
    }

    /// Whether the code may still be good for a key: nothing says that it is not.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Bridge(_) => true,
            Self::Endpoint(_) | Self::NotPrivate { .. } | Self::NoCodes | Self::Refused { .. } => false,
        }
    }
}

impl fmt::Display for RedeemError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(error) => error.fmt(formatter),
            Self::NotPrivate { host } => write!(
                formatter,
                "without TLS the pairing code would cross the network to {host} in plain text"
            ),
            Self::NoCodes => {
                formatter.write_str("what answers at the bridge's URL does not know pairing codes")
            }
            Self::Refused { message, .. } => formatter.write_str(message),
            Self::Bridge(verdict) => formatter.write_str(&verdict.reason.text),
        }
    }
}

impl std::error::Error for RedeemError {}

/// Exchanges a code at `POST {url}/api/v1/pair`, by TLS or on this machine, and by nothing else. A bridge that is not
/// reached or cannot decide is asked four times.
///
/// # Errors
/// [`RedeemError`].
pub async fn redeem(redemption: &Redemption) -> Result<Redeemed, RedeemError> {
    redeem_on(&NetDial, redemption).await
}

pub(crate) async fn redeem_on(dialer: &dyn Dial, redemption: &Redemption) -> Result<Redeemed, RedeemError> {
    let endpoint = Endpoint::parse(&redemption.url, true).map_err(RedeemError::Endpoint)?;
    if !endpoint.is_tls() && !endpoint.is_loopback() {
        return Err(RedeemError::NotPrivate {
            host: askalf_proto::one_line(endpoint.host()),
        });
    }
    let cleaner = redemption.cleaner();
    let mut pauses = PAUSES.into_iter();
    loop {
        let fault = match redemption.ask(dialer, &endpoint, &cleaner).await {
            Ok(answer) => match judge(&answer, &cleaner) {
                Ok(outcome) => return outcome,
                Err(fault) => fault,
            },
            Err(fault) => fault,
        };
        let wait = match (&fault, pauses.next()) {
            (
                Fault::HttpStatus {
                    status: 408 | 429 | 500..=599,
                    retry_after,
                    ..
                },
                Some(pause),
            ) => retry_after.map_or(pause, |asked| asked.max(pause)),
            (
                Fault::NameLookup { .. }
                | Fault::Unreachable { .. }
                | Fault::NoAnswer { .. }
                | Fault::ProxyUnreachable { .. }
                | Fault::Lost { .. },
                Some(pause),
            ) => pause,
            _ => return Err(RedeemError::Bridge(fault.verdict())),
        };
        if wait > LONGEST_PAUSE {
            return Err(RedeemError::Bridge(fault.verdict()));
        }
        sleep(wait).await;
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    code: String,
    nonce: String,
    device_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a str>,
}

#[derive(Deserialize)]
struct Granted {
    key: String,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    id: String,
    message: String,
    hint: String,
}

impl Redemption {
    /// Keeps out of every text what is sent.
    fn cleaner(&self) -> Cleaner {
        let spellings = [
            self.nonce.to_string(),
            self.code.to_string(),
            self.code.to_string().replace('-', ""),
        ];
        let mut cleaner = Cleaner::default();
        for secret in spellings.into_iter().filter_map(|text| Token::parse(text).ok()) {
            cleaner = cleaner.and(secret);
        }
        match &self.route.gateway {
            Some(gateway) => cleaner.and(gateway.secret().clone()),
            None => cleaner,
        }
    }

    async fn ask(
        &self,
        dialer: &dyn Dial,
        endpoint: &Endpoint,
        cleaner: &Cleaner,
    ) -> Result<(Parts, Bytes), Fault> {
        let request = self.request(endpoint).map_err(|error| Fault::NotWebSocket {
            detail: cleaner.text(&error.to_string()),
        })?;
        let stream = dialer.dial(endpoint, &self.route, &self.timings).await?;
        let answer = exchange(stream, request);
        within(self.timings.handshake, Wait::Upgrade, answer.boxed())
            .await?
            .map_err(|error| Fault::Lost {
                detail: cleaner.text(&error),
            })
    }

    fn request(&self, endpoint: &Endpoint) -> Result<Request<Full<Bytes>>, http::Error> {
        let uri = endpoint.http_uri(PATH)?;
        let path = uri.path().to_owned();
        let question = Question {
            code: self.code.to_string(),
            nonce: self.nonce.to_string(),
            device_name: &self.device_name,
            device_id: self.device_id.as_deref(),
        };
        let body = serde_json::to_vec(&question).unwrap_or_default();
        let mut request = Request::post(path)
            .header(header::HOST, endpoint.authority())
            .header(header::CONNECTION, HeaderValue::from_static("close"))
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(Bytes::from(body)))?;
        if let Some(gateway) = &self.route.gateway {
            gateway.add_to(request.headers_mut());
        }
        Ok(request)
    }
}

/// One request and its whole answer.
async fn exchange(stream: Box<dyn Stream>, request: Request<Full<Bytes>>) -> Result<(Parts, Bytes), String> {
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let mut talk = pin!(async move {
        let (parts, body) = sender.send_request(request).await.map_err(text)?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        Ok((parts, body.map_err(|error| error.to_string())?.to_bytes()))
    });
    tokio::select! {
        biased;
        outcome = &mut talk => outcome,
        // Whatever it ended with, the talk says it too.
        _ended = connection => talk.await,
    }
}

/// What an answer decides; a fault where it decides nothing.
fn judge((parts, body): &(Parts, Bytes), cleaner: &Cleaner) -> Result<Result<Redeemed, RedeemError>, Fault> {
    let status = parts.status;
    if status.is_success() {
        let granted = serde_json::from_slice::<Granted>(body).ok();
        let key = granted
            .as_ref()
            .and_then(|granted| Token::parse(granted.key.as_str()).ok());
        return match (granted, key) {
            (Some(Granted { name, .. }), Some(key)) => Ok(Ok(Redeemed { key, name })),
            _ => Ok(Err(RedeemError::NoCodes)),
        };
    }
    let is_transient = status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT;
    let refusal = serde_json::from_slice::<Refusal>(body).ok();
    match refusal {
        // An older bridge demands an operator's key for every path below its API.
        Some(_) if status == StatusCode::UNAUTHORIZED => Ok(Err(RedeemError::NoCodes)),
        Some(Refusal { id, message, hint }) if !is_transient && id != "no-such-route" => {
            Ok(Err(RedeemError::Refused {
                id: cleaner.text(&id),
                message: cleaner.text(&message),
                hint: cleaner.text(&hint),
            }))
        }
        _ if status == StatusCode::NOT_FOUND || status == StatusCode::METHOD_NOT_ALLOWED => {
            Ok(Err(RedeemError::NoCodes))
        }
        _ => Err(Fault::HttpStatus {
            status: status.as_u16(),
            server: parts
                .headers
                .get(header::SERVER)
                .and_then(|server| server.to_str().ok())
                .map(|server| cleaner.text(server)),
            retry_after: retry_after(&parts.headers),
        }),
    }
}
