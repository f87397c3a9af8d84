//! HTTP/1.1 on any listener: bounded connections, bounded headers, and an orderly end.

mod handshakes;
mod tls;

pub use tls::{ServerTls, TlsError};

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
#[cfg(unix)]
use axum::response::IntoResponse;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

#[cfg(unix)]
use crate::http::HttpError;
use handshakes::Handshakes;

/// Bounds of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeOptions {
    /// Most connections at once, sockets of devices included: 16,384. More wait in the system's backlog.
    pub max_connections: usize,
    /// How long a client may take to send the head of a request: 10 s.
    pub header_read_timeout: Duration,
    /// Largest head of a request: 16 KiB.
    pub max_header_bytes: usize,
    /// How long a client may take for the TLS handshake: 10 s.
    pub handshake_timeout: Duration,
    /// Most TLS handshakes at once: 1,024. One more cuts off the one that takes longest.
    pub max_handshakes: usize,
    /// How long open requests may take to end after the shutdown began: 10 s.
    pub drain_timeout: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            header_read_timeout: Duration::from_secs(10),
            max_header_bytes: 16 * 1024,
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 1024,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Where connections come from.
#[derive(Debug)]
#[non_exhaustive]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// TLS over TCP.
    Tls {
        /// The socket.
        listener: TcpListener,
        /// What it shows.
        tls: ServerTls,
    },
    /// A local socket whose peers must run as `uid`, the bridge's own user, or as root.
    #[cfg(unix)]
    Unix {
        /// The socket.
        listener: UnixListener,
        /// The user id that peers must have, besides 0.
        uid: u32,
    },
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

/// The user id of the process at the other end of a local socket: an extension of each request that came over one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerUid(pub u32);

/// The address at the other end of a TCP connection: an extension of each request that came over one. Behind a proxy it is
/// the proxy's, whatever a header says: a header can be made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub IpAddr);

/// What keeps a request from being read on its way: an extension of each request that came over a [`Listener`].
/// A request without it was made within the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportSecurity {
    /// It came by TLS.
    Tls,
    /// It came in plain text from this machine, by a loopback address: from a program here, or from a proxy here that
    /// may have decrypted it.
    Loopback,
    /// It came over a local socket.
    LocalSocket,
    /// It came in plain text over a network.
    Plain,
}

impl TransportSecurity {
    /// Whether nobody on a network could read it on its last leg.
    pub fn is_private(self) -> bool {
        match self {
            Self::Tls | Self::Loopback | Self::LocalSocket => true,
            Self::Plain => false,
        }
    }

    fn of_plain(peer: IpAddr) -> Self {
        if peer.to_canonical().is_loopback() {
            Self::Loopback
        } else {
            Self::Plain
        }
    }
}

/// Keeps a connection's place among [`ServeOptions::max_connections`]; a socket that was upgraded takes it along.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionPlace(
    #[allow(dead_code, reason = "held for its drop")] Arc<OwnedSemaphorePermit>,
);

/// Serves `router` on `listener` until `shutdown` resolves, then lets open requests end within
/// [`ServeOptions::drain_timeout`].
///
/// Sockets of devices are no open requests: [`Bridge::shutdown`](crate::Bridge::shutdown) ends them, and the streams of
/// dispatches with them. Pass [`Bridge::shutting_down`](crate::Bridge::shutting_down) as `shutdown`.
///
/// A connection that cannot be accepted (too many open files) is logged and tried again; nothing but `shutdown` ends
/// the loop.
pub async fn serve(
    listener: impl Into<Listener>,
    router: axum::Router,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) {
    let listener = listener.into();
    let places = Arc::new(Semaphore::new(
        options.max_connections.min(Semaphore::MAX_PERMITS),
    ));
    let handshakes = Handshakes::new(options.max_handshakes);
    let (closing, _) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((connection, place)) => {
                connections.spawn(connection.serve(
                    router.clone(),
                    place,
                    options.clone(),
                    handshakes.clone(),
                    closing.subscribe(),
                ));
            }
            Err(error) if is_of_the_connection(&error) => {
                tracing::debug!(error = %error, "a client left before it was accepted");
            }
            Err(error) => {
                tracing::warn!(error = %error, "a connection could not be accepted");
                // Out of file descriptors: the backlog stays readable, so without a pause this would spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    closing.send_replace(true);
    let drained = tokio::time::timeout(options.drain_timeout, async {
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "requests were cut off by the shutdown"
        );
    }
}

/// Whether an accept failed for one client alone.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::NotConnected
    )
}

enum Connection {
    Tcp(TcpStream, SocketAddr),
    Tls(TcpStream, SocketAddr, ServerTls),
    #[cfg(unix)]
    Unix(UnixStream, Result<PeerUid, u32>),
}

async fn accept(
    listener: &Listener,
    places: &Arc<Semaphore>,
) -> io::Result<(Connection, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let connection = match listener {
        Listener::Tcp(listener) => {
            let (stream, peer) = accept_tcp(listener).await?;
            Connection::Tcp(stream, peer)
        }
        Listener::Tls { listener, tls } => {
            let (stream, peer) = accept_tcp(listener).await?;
            Connection::Tls(stream, peer, tls.clone())
        }
        #[cfg(unix)]
        Listener::Unix { listener, uid } => {
            let (stream, _) = listener.accept().await?;
            let peer = stream.peer_cred()?.uid();
            let peer = if peer == *uid || peer == 0 {
                Ok(PeerUid(peer))
            } else {
                Err(peer)
            };
            Connection::Unix(stream, peer)
        }
    };
    Ok((connection, place))
}

async fn accept_tcp(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept().await?;
    // Frames are small and somebody waits for each.
    let _ = stream.set_nodelay(true);
    Ok((stream, peer))
}

impl Connection {
    async fn serve(
        self,
        router: axum::Router,
        place: OwnedSemaphorePermit,
        options: ServeOptions,
        handshakes: Handshakes,
        mut closing: watch::Receiver<bool>,
    ) {
        let place = ConnectionPlace(Arc::new(place));
        match self {
            Self::Tcp(stream, peer) => {
                let security = TransportSecurity::of_plain(peer.ip());
                serve_http(stream, options, closing, |mut request| {
                    request.extensions_mut().insert(place.clone());
                    request.extensions_mut().insert(security);
                    request.extensions_mut().insert(PeerAddr(peer.ip()));
                    answer(router.clone(), request)
                })
                .await
            }
            Self::Tls(stream, peer, tls) => {
                let secured = tokio::select! {
                    () = begins(&mut closing) => return,
                    secured = secure(stream, &tls, &handshakes, options.handshake_timeout) => secured,
                };
                let stream = match secured {
                    Ok(stream) => stream,
                    Err(error) => {
                        tracing::debug!(error = %error, "a client was not secured");
                        return;
                    }
                };
                serve_http(stream, options, closing, |mut request| {
                    request.extensions_mut().insert(place.clone());
                    request.extensions_mut().insert(TransportSecurity::Tls);
                    request.extensions_mut().insert(PeerAddr(peer.ip()));
                    answer(router.clone(), request)
                })
                .await
            }
            #[cfg(unix)]
            Self::Unix(stream, Ok(peer)) => {
                serve_http(stream, options, closing, |mut request| {
                    request.extensions_mut().insert(place.clone());
                    request.extensions_mut().insert(peer);
                    request.extensions_mut().insert(TransportSecurity::LocalSocket);
                    answer(router.clone(), request)
                })
                .await
            }
            #[cfg(unix)]
            Self::Unix(stream, Err(uid)) => {
                tracing::warn!(uid, "a process of another user was refused at the local socket");
                serve_http(stream, options, closing, |_| async {
                    Ok(HttpError::foreign_user().into_response())
                })
                .await;
            }
        }
    }
}

/// What starts a TLS record that holds a handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE_RECORD: u8 = 0x16;

const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\
    Content-Length: 54\r\n\r\nThis port speaks TLS: use an https:// or a wss:// URL\n";

/// Most bytes of a plain request that are read so that its sender reads the answer: a close with unread bytes would reset
/// the connection.
const PLAIN_REQUEST: u64 = 64 * 1024;

/// The TLS handshake, for a bounded time and while there is a place. Whoever speaks plain HTTP is told so.
async fn secure(
    mut stream: TcpStream,
    tls: &ServerTls,
    handshakes: &Handshakes,
    limit: Duration,
) -> io::Result<TlsStream<TcpStream>> {
    let mut place = handshakes.enter();
    let handshake = async {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first == [TLS_HANDSHAKE_RECORD] {
            return tls.acceptor().accept(stream).await;
        }
        if first[0].is_ascii_uppercase() {
            stream.write_all(SPEAK_TLS).await?;
            stream.shutdown().await?;
            tokio::io::copy(&mut stream.take(PLAIN_REQUEST), &mut tokio::io::sink()).await?;
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it does not speak TLS",
        ))
    };
    tokio::select! {
        outcome = tokio::time::timeout(limit, handshake) => outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        () = place.lost() => Err(io::Error::new(io::ErrorKind::TimedOut, "too many handshakes went on, and this was the oldest")),
    }
}

/// Resolves once the shutdown began. A closed channel counts: the server is gone.
async fn begins(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn answer(router: axum::Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    router.oneshot(request.map(Body::new)).await
}

async fn serve_http<F>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    options: ServeOptions,
    mut closing: watch::Receiver<bool>,
    service: impl Fn(Request<Incoming>) -> F,
) where
    F: Future<Output = Result<Response, Infallible>>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_read_timeout)
        // hyper refuses buffers below 8 KiB.
        .max_buf_size(options.max_header_bytes.max(8 * 1024))
        .max_header_size(options.max_header_bytes)
        .serve_connection(TokioIo::new(stream), service_fn(service))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        biased;
        () = begins(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        outcome = &mut connection => outcome,
    };
    if let Err(error) = outcome {
        tracing::debug!(error = %error, "a connection ended early");
    }
}
