//! From an endpoint to an upgraded socket.

use std::sync::Arc;
use std::time::Duration;

// The WebSocket library logs whole requests, key included, at trace level, and peers' texts at debug level. The
// `max_level_info` feature of this crate compiles both away, whatever logger a program installs.
use log as _;

use askalf_bridge_auth::{Token, TokenError};
use askalf_proto::MAX_FRAME_IN;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, error::ProtocolError};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::clean::{Cleaner, io_text};
use crate::endpoint::{Endpoint, retry_after};
use crate::machine::{Fault, Wait};
use crate::{DeviceFacts, Route, Timings};

/// Eagerly allocated by the library for the life of a socket. Its default of 128 KiB is more than half of an idle
/// agent's other memory; messages are small, and larger ones only take more reads.
const READ_BUFFER: usize = 16 * 1024;

/// Written at once from here on.
const WRITE_BUFFER: usize = 16 * 1024;

/// One frame of the largest size, what may wait before it, and answers to pings.
const MAX_WRITE_BUFFER: usize = 4 * 1024 * 1024;

/// Bytes in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(crate) type Socket = WebSocketStream<Box<dyn Stream>>;

/// Makes the stream to a bridge, TLS and proxies included, and bounds what that takes.
#[async_trait]
pub(crate) trait Dial: Send + Sync {
    async fn dial(
        &self,
        endpoint: &Endpoint,
        route: &Route,
        timings: &Timings,
    ) -> Result<Box<dyn Stream>, Fault>;
}

/// Whom to dial and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    route: Arc<Route>,
    /// Absent where nobody is to be let in.
    authorization: Option<HeaderValue>,
    version: Option<HeaderValue>,
    name: Option<HeaderValue>,
    pub(crate) cleaner: Cleaner,
}

impl Target {
    /// # Errors
    /// [`TokenError::NotHeaderSafe`].
    pub(crate) fn new(
        endpoint: Endpoint,
        route: Arc<Route>,
        token: &Token,
        facts: &DeviceFacts,
    ) -> Result<Self, TokenError> {
        let bearer = format!("Bearer {}", token.header_value()?);
        let mut authorization = HeaderValue::try_from(bearer).map_err(|_| TokenError::NotHeaderSafe)?;
        authorization.set_sensitive(true);
        let mut target = Self::anonymous(endpoint, route, facts);
        target.authorization = Some(authorization);
        target.cleaner = target.cleaner.and(token.clone());
        Ok(target)
    }

    /// The same without a key: for a look at the way alone.
    pub(crate) fn anonymous(endpoint: Endpoint, route: Arc<Route>, facts: &DeviceFacts) -> Self {
        let cleaner = match &route.gateway {
            Some(gateway) => Cleaner::new(gateway.secret().clone()),
            None => Cleaner::default(),
        };
        let mut target = Self {
            endpoint,
            route,
            authorization: None,
            version: None,
            name: None,
            cleaner,
        };
        target.introduce(facts);
        target
    }

    /// Calls the device so from now on.
    pub(crate) fn introduce(&mut self, facts: &DeviceFacts) {
        self.version = courtesy(&facts.version);
        self.name = facts.name.as_deref().and_then(courtesy);
    }

    /// Whether it is the same bridge by the same way, with the same key.
    pub(crate) fn leads_as(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint
            && self.authorization == other.authorization
            && Arc::ptr_eq(&self.route, &other.route)
    }

    /// The same bridge by the same way, with another key.
    ///
    /// # Errors
    /// [`TokenError::NotHeaderSafe`].
    pub(crate) fn with_key(&self, token: &Token, facts: &DeviceFacts) -> Result<Self, TokenError> {
        Self::new(self.endpoint.clone(), Arc::clone(&self.route), token, facts)
    }

    fn request(&self) -> Result<Request<()>, http::Error> {
        let mut request = Request::get(self.endpoint.to_string())
            .header(header::HOST, self.endpoint.authority())
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, generate_key());
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(version) = &self.version {
            request = request.header("X-Agent-Version", version);
        }
        if let Some(name) = &self.name {
            request = request.header("X-Device-Name", name);
        }
        let mut request = request.body(())?;
        if let Some(gateway) = &self.route.gateway {
            gateway.add_to(request.headers_mut());
        }
        Ok(request)
    }

    /// Dials and upgrades.
    pub(crate) async fn open(&self, dialer: &dyn Dial, timings: &Timings) -> Result<Socket, Fault> {
        self.open_noting(dialer, timings, &mut HeaderMap::new()).await
    }

    /// The same; `answered` gets the headers of whatever answered the upgrade request.
    pub(crate) async fn open_noting(
        &self,
        dialer: &dyn Dial,
        timings: &Timings,
        answered: &mut HeaderMap,
    ) -> Result<Socket, Fault> {
        let stream = dialer.dial(&self.endpoint, &self.route, timings).await?;
        let request = self.request().map_err(|error| Fault::NotWebSocket {
            detail: self.cleaner.text(&error.to_string()),
        })?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_write_buffer_size(MAX_WRITE_BUFFER)
            .max_frame_size(Some(MAX_FRAME_IN))
            .max_message_size(Some(MAX_FRAME_IN));
        let upgrade = client_async_with_config(request, stream, Some(config));
        match within(timings.handshake, Wait::Upgrade, upgrade.boxed()).await? {
            Ok((socket, answer)) => {
                answered.clone_from(answer.headers());
                Ok(socket)
            }
            Err(error) => {
                if let Error::Http(answer) = &error {
                    answered.clone_from(answer.headers());
                }
                Err(self.upgrade_fault(&error))
            }
        }
    }

    fn upgrade_fault(&self, error: &Error) -> Fault {
        match error {
            Error::Http(answer) => Fault::HttpStatus {
                status: answer.status().as_u16(),
                server: answer
                    .headers()
                    .get(header::SERVER)
                    .and_then(|server| server.to_str().ok())
                    .map(|server| self.cleaner.text(server)),
                retry_after: retry_after(answer.headers()),
            },
            Error::Io(error) => Fault::Lost {
                detail: io_text(error),
            },
            Error::Protocol(ProtocolError::HandshakeIncomplete)
            | Error::ConnectionClosed
            | Error::AlreadyClosed => Fault::Lost {
                detail: "it was closed during the upgrade".to_owned(),
            },
            Error::Protocol(_)
            | Error::Tls(_)
            | Error::Capacity(_)
            | Error::WriteBufferFull(_)
            | Error::Utf8(_)
            | Error::AttackAttempt
            | Error::Url(_)
            | Error::HttpFormat(_) => Fault::NotWebSocket {
                detail: self.cleaner.text(&error.to_string()),
            },
        }
    }
}

/// A courtesy: what a header cannot carry is left out.
fn courtesy(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok().filter(|_| !text.is_empty())
}

/// Bounds a wait. Boxed, since the compiler does not see through `timeout` that work with borrowed parts is `Send`.
pub(super) async fn within<T>(limit: Duration, waited_for: Wait, work: BoxFuture<'_, T>) -> Result<T, Fault> {
    timeout(limit, work).await.map_err(|_| Fault::NoAnswer {
        waited_for,
        waited: limit,
    })
}
