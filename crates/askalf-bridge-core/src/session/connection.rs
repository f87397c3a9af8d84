//! One socket from the handshake to its end: authentication, then reading and writing side by side, then a close that
//! the peer gets to see.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use askalf_bridge_auth::{Access, AuthenticatedKey, Rejection};
use askalf_proto::{BridgeMessage, CloseCode, MAX_FRAME_IN, MAX_FRAME_OUT};
use bytes::BytesMut;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, error::ProtocolError};

use super::allowance::{Allowance, Allowed};
use super::conversation::Conversation;
use super::refusal;
use super::token::Presented;
use crate::attempts::preview;
use crate::bridge::{Core, Phase};
use crate::link::{Closing, Link};
use crate::live_keys::{CheckedKey, KeyHold};

type Io = TokioIo<Upgraded>;
type Socket = WebSocketStream<Allowed<Io>>;

/// Most bytes that a client may send before it is authenticated; what is more waits in the system's buffers. A
/// registration has below 4 KiB.
const MAX_EARLY: usize = 16 * 1024;

/// Read buffer of a socket, in bytes; the library's 128 KiB would be most of what an idle device costs.
const READ_BUFFER: usize = 8 * 1024;

/// Longest authentication: past it the client is told that the bridge is overloaded.
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(25);

/// What the handshake told of the client.
pub(super) struct Caller {
    pub(super) presented: Presented,
    /// Where it comes from, where the connection has an address.
    pub(super) address: Option<IpAddr>,
    pub(super) agent_version: Option<String>,
    pub(super) device_name: Option<String>,
}

/// Runs a session to its end.
pub(super) async fn run(core: Arc<Core>, mut io: Io, caller: Caller) {
    if caller.presented.in_query {
        tracing::warn!("a client put its token into the URL, where proxies log it; upgrade that agent");
    }
    let number = core.hub.next_number();
    let mut early = BytesMut::new();
    let began = Instant::now();
    let token = caller.presented.token.as_deref();
    let checked = tokio::select! {
        biased;
        checked = authenticate(&core, token, caller.address) => checked,
        () = until_gone(&mut io, &mut early) => {
            tracing::debug!("a client left before its token was checked");
            return;
        }
    };
    // Frames that came early were read as bytes, to notice a client that left, and not looked at until now.
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_write_buffer_size(2 * MAX_FRAME_OUT)
        .max_message_size(Some(MAX_FRAME_IN))
        .max_frame_size(Some(MAX_FRAME_IN));
    let allowance = Allowance::before_registration();
    let io = Allowed::new(io, allowance.clone());
    let socket = Socket::from_partially_read(io, early.into(), Role::Server, Some(config)).await;
    match checked {
        Ok(key) => {
            tracing::info!(
                key = preview(token),
                agent = caller.agent_version.as_deref().unwrap_or("unknown"),
                "a connection was accepted"
            );
            let checked = CheckedKey { key, began };
            let (link, frames) = core.hub.open(number, checked.key.key_id(), &core.options);
            let session = Session {
                link,
                frames,
                checked,
            };
            converse(core, socket, allowance, session, caller.device_name).await;
        }
        Err(rejection) => {
            tracing::warn!(
                key = preview(token),
                reason = rejection.reason(),
                "a connection was rejected"
            );
            let (error, code) = refusal::of_rejection(&rejection, core.options.unavailable_retry_after);
            refuse(&core, socket, &BridgeMessage::Error(error), code).await;
        }
    }
}

async fn authenticate(
    core: &Core,
    token: Option<&str>,
    address: Option<IpAddr>,
) -> Result<AuthenticatedKey, Rejection> {
    let check = core.authenticator.authenticate(token, Access::Socket, address);
    match timeout(AUTHENTICATION_TIMEOUT, check).await {
        Ok(checked) => checked,
        Err(_) => {
            let rejection = Rejection::Overloaded {
                retry_after: core.options.overloaded_retry_after,
            };
            core.authenticator.note_refused(token, &rejection, None, address);
            Err(rejection)
        }
    }
}

/// Resolves when the client has left. Cancel-safe: what was read is in `early`.
async fn until_gone(io: &mut Io, early: &mut BytesMut) {
    while early.len() < MAX_EARLY {
        let mut room = bytes::BufMut::limit(&mut *early, MAX_EARLY);
        match io.read_buf(&mut room).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    std::future::pending().await
}

async fn refuse(core: &Core, mut socket: Socket, error: &BridgeMessage, code: CloseCode) {
    let told = async {
        if let Ok(frame) = error.encode() {
            socket.send(Message::text(frame)).await?;
        }
        socket.send(close_frame(code)).await
    };
    if let Ok(Ok(())) = timeout(core.options.write_timeout, told).await {
        linger(socket.into_inner().into_inner(), core.options.close_timeout).await;
    }
}

/// A session that has authenticated.
struct Session {
    link: Arc<Link>,
    frames: mpsc::Receiver<String>,
    checked: CheckedKey,
}

async fn converse(
    core: Arc<Core>,
    socket: Socket,
    allowance: Allowance,
    session: Session,
    named: Option<String>,
) {
    let Session {
        link,
        frames,
        checked,
    } = session;
    let key = checked.key.clone();
    let _seat = Seat {
        core: Arc::clone(&core),
        link: Arc::clone(&link),
    };
    tracing::debug!(session = link.number(), key = key.key_id(), "a session began");
    if key.legacy_scope() {
        tracing::warn!(
            key = key.key_id(),
            "this key has the scopes of an older key; mint one for the device"
        );
    }
    // A shutdown that began in between did not see this session.
    if core.phase() == Phase::Closing {
        refusal::say_shutdown(&link, core.options.unavailable_retry_after);
    }
    // Nor did a revocation.
    let hold = core.live_keys.hold(checked);
    if let Some(rejection) = hold.lost_already() {
        refusal::say_rejected(&link, &rejection, core.options.unavailable_retry_after);
    }
    let mut conversation = Conversation::new(Arc::clone(&core), Arc::clone(&link), key, named, allowance);
    let (mut sink, mut stream) = socket.split();
    // Side by side in one task: a handler that waits for the store does not stop the writer, and none is cut in half.
    tokio::join!(
        read(&mut stream, &mut conversation, &link, core.options.close_timeout),
        write(&mut sink, frames, &link, &core),
        end_with_key(&hold, &link, core.options.unavailable_retry_after),
    );
    drop(hold);
    let closing = link.closed().await;
    conversation.ended().await;
    core.hub.closed(&link);
    tracing::info!(session = link.number(), closing = %closing, "a session ended");
    if closing != Closing::Gone
        && let Ok(socket) = sink.reunite(stream)
    {
        linger(socket.into_inner().into_inner(), core.options.close_timeout).await;
    }
}

/// The place of a session in the hub: given back even where its task panics.
struct Seat {
    core: Arc<Core>,
    link: Arc<Link>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.link.close(Closing::Gone);
        self.core.hub.closed(&self.link);
    }
}

/// Ends the session where its key does not hold any more.
async fn end_with_key(hold: &KeyHold, link: &Link, unavailable_retry: Duration) {
    tokio::select! {
        biased;
        _ = link.closed() => {}
        rejection = hold.lost() => refusal::say_rejected(link, &rejection, unavailable_retry),
    }
}

/// Reads until the session ends, which it says to `link`.
async fn read(
    stream: &mut SplitStream<Socket>,
    conversation: &mut Conversation,
    link: &Link,
    close_timeout: Duration,
) {
    let mut closed = pin!(link.closed());
    loop {
        let next = tokio::select! {
            biased;
            _ = &mut closed => return,
            next = timeout_at(conversation.deadline(), stream.next()) => next,
        };
        let message = match next {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => {
                tracing::debug!(session = link.number(), error = %error, "a socket failed");
                return link.close(if conversation.sent_too_much() {
                    Closing::WithCode(CloseCode::TOO_LARGE)
                } else {
                    closing_after(&error)
                });
            }
            Ok(None) => return link.close(Closing::Gone),
            Err(_) => return link.close(Closing::WithCode(CloseCode::HEARTBEAT_TIMEOUT)),
        };
        conversation.heard();
        match message {
            Message::Text(text) => conversation.text(text.as_str()).await,
            Message::Binary(_) => conversation.binary(),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            Message::Close(_) => {
                // One more read sends the answer to the close.
                let _ = timeout(close_timeout, stream.next()).await;
                return link.close(Closing::Gone);
            }
        }
    }
}

fn closing_after(error: &WsError) -> Closing {
    match error {
        WsError::Capacity(_) => Closing::WithCode(CloseCode::TOO_LARGE),
        WsError::Utf8(_) => Closing::WithCode(CloseCode::INVALID_TEXT),
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake)
        | WsError::Io(_)
        | WsError::ConnectionClosed
        | WsError::AlreadyClosed => Closing::Gone,
        _ => Closing::WithCode(CloseCode::PROTOCOL_ERROR),
    }
}

/// Writes what waits until the session ends, then what is left of it and the close.
async fn write(
    sink: &mut SplitSink<Socket, Message>,
    mut frames: mpsc::Receiver<String>,
    link: &Link,
    core: &Core,
) {
    let mut closed = pin!(link.closed());
    let closing = loop {
        let frame = tokio::select! {
            biased;
            closing = &mut closed => break closing,
            frame = frames.recv() => frame,
        };
        // The link, which holds the other end, is alive.
        let Some(frame) = frame else { return };
        link.written(frame.len());
        let mut sending = pin!(timeout(
            core.options.write_timeout,
            sink.send(Message::text(frame))
        ));
        let sent = tokio::select! {
            biased;
            sent = &mut sending => sent,
            // Half a frame cannot be taken back: the rest of it has as long as the close would have.
            _ = &mut closed => match timeout(core.options.close_timeout, sending).await {
                Ok(sent) => sent,
                Err(_) => return,
            },
        };
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return link.close(Closing::Gone),
            Err(_) => {
                tracing::warn!(session = link.number(), "a peer does not read; its session ends");
                return link.close(Closing::Gone);
            }
        }
        if link.is_closing() {
            break link.closed().await;
        }
    };
    let code = match closing {
        Closing::WithCode(code) => code,
        Closing::TooSlow => CloseCode::TRY_AGAIN,
        Closing::Gone => return,
    };
    let last_words = async {
        frames.close();
        while closing != Closing::TooSlow
            && let Some(frame) = frames.recv().await
        {
            sink.send(Message::text(frame)).await?;
        }
        sink.send(close_frame(code)).await
    };
    let _ = timeout(core.options.close_timeout, last_words).await;
}

fn close_frame(code: CloseCode) -> Message {
    Message::Close(Some(CloseFrame {
        code: code.code.into(),
        reason: code.text.into(),
    }))
}

/// Ends our half and reads on for a moment: a socket that is closed over unread data is reset, and the peer would lose
/// the reason.
async fn linger(mut io: Io, at_most: Duration) {
    let drained = async {
        io.shutdown().await?;
        let mut scratch = vec![0; MAX_EARLY];
        while io.read(&mut scratch).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = timeout(at_most, drained).await;
}
