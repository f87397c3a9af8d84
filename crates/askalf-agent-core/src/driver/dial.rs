//! From an endpoint to an upgraded socket.

use std::io;
use std::time::Duration;

// The WebSocket library logs whole requests, key included, at trace level, and peers' texts at debug level. The
// `max_level_info` feature of this crate compiles both away, whatever logger a program installs.
use log as _;

use askalf_bridge_auth::{Token, TokenError};
use askalf_proto::MAX_FRAME_IN;
use async_trait::async_trait;
use http::{HeaderValue, Request, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, error::ProtocolError};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::clean::{Cleaner, io_text};
use crate::endpoint::{Endpoint, retry_after};
use crate::machine::{Fault, Wait};
use crate::{DeviceFacts, Timings};

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

/// Makes the stream to a bridge: the place for TLS and proxies.
#[async_trait]
pub(crate) trait Dial: Send + Sync {
    async fn dial(&self, endpoint: &Endpoint) -> Result<Box<dyn Stream>, Fault>;
}

/// Plain TCP, one address after the other.
#[derive(Debug)]
pub(crate) struct TcpDial;

#[async_trait]
impl Dial for TcpDial {
    async fn dial(&self, endpoint: &Endpoint) -> Result<Box<dyn Stream>, Fault> {
        let addresses = lookup_host((endpoint.host(), endpoint.port()))
            .await
            .map_err(|error| Fault::NameLookup {
                detail: io_text(&error),
            })?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Heartbeats and progress are small; nothing is gained by holding them back.
                    let _only_slower = stream.set_nodelay(true);
                    return Ok(Box::new(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(Fault::Unreachable {
            detail: format!("{} port {}: {}", endpoint.host(), endpoint.port(), io_text(&last)),
        })
    }
}

/// Whom to dial and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    authorization: HeaderValue,
    version: Option<HeaderValue>,
    name: Option<HeaderValue>,
    pub(crate) cleaner: Cleaner,
}

impl Target {
    /// # Errors
    /// [`TokenError::NotHeaderSafe`].
    pub(crate) fn new(endpoint: Endpoint, token: &Token, facts: &DeviceFacts) -> Result<Self, TokenError> {
        let bearer = format!("Bearer {}", token.header_value()?);
        let mut authorization = HeaderValue::try_from(bearer).map_err(|_| TokenError::NotHeaderSafe)?;
        authorization.set_sensitive(true);
        // Courtesies: what a header cannot carry is left out.
        let courtesy = |text: &str| HeaderValue::from_str(text).ok().filter(|_| !text.is_empty());
        Ok(Self {
            endpoint,
            authorization,
            version: courtesy(&facts.version),
            name: facts.name.as_deref().and_then(courtesy),
            cleaner: Cleaner::new(token.clone()),
        })
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
        request.body(())
    }

    /// Dials and upgrades.
    pub(crate) async fn open(&self, dialer: &dyn Dial, timings: &Timings) -> Result<Socket, Fault> {
        let stream = within(timings.connect, Wait::Connection, dialer.dial(&self.endpoint)).await??;
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
        match within(timings.handshake, Wait::Upgrade, upgrade).await? {
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

async fn within<F: Future>(limit: Duration, waited_for: Wait, work: F) -> Result<F::Output, Fault> {
    timeout(limit, work).await.map_err(|_| Fault::NoAnswer {
        waited_for,
        waited: limit,
    })
}
