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
use http::{HeaderValue, Request, header};
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
    authorization: HeaderValue,
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
        // Courtesies: what a header cannot carry is left out.
        let courtesy = |text: &str| HeaderValue::from_str(text).ok().filter(|_| !text.is_empty());
        let mut cleaner = Cleaner::new(token.clone());
        if let Some(gateway) = &route.gateway {
            cleaner = cleaner.and(gateway.secret().clone());
        }
        Ok(Self {
            endpoint,
            route,
            authorization,
            version: courtesy(&facts.version),
            name: facts.name.as_deref().and_then(courtesy),
            cleaner,
        })
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
            .header(header::SEC_WEBSOCKET_KEY, generate_key())
            .header(header::AUTHORIZATION, &self.authorization);
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
            Ok((socket, _answer)) => Ok(socket),
            Err(error) => Err(self.upgrade_fault(&error)),
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

/// Bounds a wait. Boxed, since the compiler does not see through `timeout` that work with borrowed parts is `Send`.
pub(super) async fn within<T>(limit: Duration, waited_for: Wait, work: BoxFuture<'_, T>) -> Result<T, Fault> {
    timeout(limit, work).await.map_err(|_| Fault::NoAnswer {
        waited_for,
        waited: limit,
    })
}
