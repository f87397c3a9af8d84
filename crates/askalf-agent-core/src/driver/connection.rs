//! One connection in a task of its own: dialled, upgraded, read and written.

use std::sync::Arc;
use std::time::Duration;

use askalf_proto::CloseCode;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream::SplitSink, stream::SplitStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::clean::{Cleaner, io_text};
use super::dial::{Dial, Socket, Target};
use crate::Timings;
use crate::machine::{BadFrame, Fault};

/// Frames that wait between the connection and the driver, in each direction. The driver stops reading when it
/// cannot write, and so does the connection: nothing piles up.
const QUEUE: usize = 16;

/// How long a closing connection may take to flush, and its peer to answer.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// After a failed write, how long to look for the close frame that explains it.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What a connection tells the driver.
#[derive(Debug)]
pub(crate) enum News {
    Opened,
    Text(Utf8Bytes),
    Binary(usize),
    Pong(Bytes),
    Ping,
    /// The last news.
    Ended(Fault),
}

/// What the driver has sent.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Text(String),
    Result { execution_id: String, frame: Arc<str> },
    Ping(u64),
    Close(CloseCode),
}

/// The driver's end of a connection. Dropping it drops the connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) news: mpsc::Receiver<News>,
    pub(crate) written: mpsc::Receiver<String>,
    pub(crate) outgoing: mpsc::Sender<Outgoing>,
    pub(crate) opened: bool,
    task: AbortOnDrop,
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    pub(crate) fn start(dialer: Arc<dyn Dial>, target: Target, timings: Timings) -> Self {
        let (news_sender, news) = mpsc::channel(QUEUE);
        let (outgoing, outgoing_receiver) = mpsc::channel(QUEUE);
        let (written_sender, written) = mpsc::channel(QUEUE);
        let task = tokio::spawn(async move {
            let line = Line {
                news: news_sender,
                outgoing: outgoing_receiver,
                written: written_sender,
            };
            line.serve(&*dialer, &target, &timings).await;
        });
        Self {
            news,
            written,
            outgoing,
            opened: false,
            task: AbortOnDrop(task),
        }
    }

    /// Lets a connection that has told its end flush what it owes its peer, for a bounded time.
    pub(crate) async fn finish(mut self) {
        let _given_up = timeout(CLOSE_LIMIT, &mut self.task.0).await;
    }

    /// Says goodbye and waits for the peer to do so, for a bounded time.
    pub(crate) async fn close(mut self, code: CloseCode) {
        // A full queue means that the peer does not read: it would not read a goodbye either.
        if self.opened && self.outgoing.try_send(Outgoing::Close(code)).is_ok() {
            let _given_up = timeout(CLOSE_LIMIT * 2, &mut self.task.0).await;
        }
    }
}

/// The connection's own end.
struct Line {
    news: mpsc::Sender<News>,
    outgoing: mpsc::Receiver<Outgoing>,
    written: mpsc::Sender<String>,
}

impl Line {
    async fn serve(mut self, dialer: &dyn Dial, target: &Target, timings: &Timings) {
        let socket = match target.open(dialer, timings).await {
            Ok(socket) => socket,
            Err(fault) => return self.tell(News::Ended(fault)).await,
        };
        self.tell(News::Opened).await;
        let (mut sink, mut stream) = socket.split();
        let fault = {
            let reading = read(&mut stream, &self.news, &target.cleaner);
            let writing = write(&mut sink, &mut self.outgoing, &self.written);
            tokio::pin!(reading, writing);
            tokio::select! {
                fault = &mut reading => fault,
                end = &mut writing => match end {
                    WriteEnd::Closing => {
                        let _given_up = timeout(CLOSE_LIMIT, reading).await;
                        return;
                    }
                    WriteEnd::Failed(fault) => timeout(LAST_WORDS, reading).await.unwrap_or(fault),
                },
            }
        };
        let goodbye = goodbye(&fault);
        self.tell(News::Ended(fault)).await;
        // Flushes the answer to the peer's close, or tells it what was wrong with its frame.
        let _given_up = timeout(CLOSE_LIMIT, async {
            match goodbye {
                Some(code) => sink.send(close_message(code)).await,
                None => sink.close().await,
            }
        })
        .await;
    }

    /// The driver may have turned away from a closing connection: then there is nobody to tell.
    async fn tell(&self, news: News) {
        let _nobody_listens = self.news.send(news).await;
    }
}

async fn read(stream: &mut SplitStream<Socket>, news: &mpsc::Sender<News>, cleaner: &Cleaner) -> Fault {
    loop {
        let told = match stream.next().await {
            Some(Ok(Message::Text(text))) => News::Text(text),
            Some(Ok(Message::Binary(bytes))) => News::Binary(bytes.len()),
            Some(Ok(Message::Ping(_))) => News::Ping,
            Some(Ok(Message::Pong(payload))) => News::Pong(payload),
            Some(Ok(Message::Close(frame))) => return closed(frame, cleaner),
            // Only writing makes raw frames.
            Some(Ok(Message::Frame(_))) => continue,
            Some(Err(error)) => return socket_fault(&error, cleaner),
            None => {
                return Fault::Closed {
                    code: None,
                    text: String::new(),
                };
            }
        };
        let _nobody_listens = news.send(told).await;
    }
}

enum WriteEnd {
    /// A close frame was written.
    Closing,
    Failed(Fault),
}

async fn write(
    sink: &mut SplitSink<Socket, Message>,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    written: &mpsc::Sender<String>,
) -> WriteEnd {
    match write_all(sink, outgoing, written).await {
        Ok(()) => WriteEnd::Closing,
        Err(error) => WriteEnd::Failed(Fault::Lost {
            detail: write_error(&error),
        }),
    }
}

/// Writes until a close was written, or the driver has gone.
async fn write_all(
    sink: &mut SplitSink<Socket, Message>,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    written: &mpsc::Sender<String>,
) -> Result<(), Error> {
    while let Some(mut next) = outgoing.recv().await {
        let mut results = Vec::new();
        loop {
            let message = match next {
                Outgoing::Text(text) => Message::text(text),
                Outgoing::Result { execution_id, frame } => {
                    results.push(execution_id);
                    Message::text(&*frame)
                }
                Outgoing::Ping(number) => Message::Ping(Bytes::copy_from_slice(&number.to_be_bytes())),
                Outgoing::Close(code) => return sink.send(close_message(code)).await,
            };
            sink.feed(message).await?;
            match outgoing.try_recv() {
                Ok(more) => next = more,
                Err(_) => break,
            }
        }
        sink.flush().await?;
        for execution_id in results {
            let _nobody_listens = written.send(execution_id).await;
        }
    }
    Ok(())
}

fn write_error(error: &Error) -> String {
    match error {
        Error::Io(error) => io_text(error),
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_) => {
            "it was closed while something was sent".to_owned()
        }
        Error::Capacity(_) | Error::WriteBufferFull(_) => "it does not take what is sent".to_owned(),
        Error::Tls(_)
        | Error::Utf8(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => "it cannot be written to".to_owned(),
    }
}

pub(crate) fn close_message(code: CloseCode) -> Message {
    Message::Close(Some(CloseFrame {
        code: code.code.into(),
        reason: Utf8Bytes::from_static(code.text),
    }))
}

/// The peer's close frame as a fault.
pub(crate) fn closed(frame: Option<CloseFrame>, cleaner: &Cleaner) -> Fault {
    Fault::Closed {
        code: frame.as_ref().map(|frame| frame.code.into()),
        text: frame.map_or_else(String::new, |frame| cleaner.text(&frame.reason)),
    }
}

/// Why a socket cannot be read any further.
pub(crate) fn socket_fault(error: &Error, cleaner: &Cleaner) -> Fault {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { size, .. }) => {
            Fault::BadFrame(BadFrame::TooLarge { bytes: *size })
        }
        Error::Utf8(_) => Fault::BadFrame(BadFrame::NotUtf8),
        Error::Io(error) => Fault::Lost {
            detail: io_text(error),
        },
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
        | Error::ConnectionClosed
        | Error::AlreadyClosed => Fault::Lost {
            detail: "the bridge is gone without a goodbye".to_owned(),
        },
        Error::Protocol(_)
        | Error::Capacity(CapacityError::TooManyHeaders)
        | Error::WriteBufferFull(_)
        | Error::Tls(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => Fault::BadFrame(BadFrame::Protocol {
            detail: cleaner.text(&error.to_string()),
        }),
    }
}

/// The close code that a peer is owed for its frame.
fn goodbye(fault: &Fault) -> Option<CloseCode> {
    match fault {
        Fault::BadFrame(BadFrame::TooLarge { .. }) => Some(CloseCode::TOO_LARGE),
        Fault::BadFrame(BadFrame::NotUtf8) => Some(CloseCode::INVALID_TEXT),
        Fault::BadFrame(BadFrame::Protocol { .. }) => Some(CloseCode::PROTOCOL_ERROR),
        Fault::NameLookup { .. }
        | Fault::Unreachable { .. }
        | Fault::NoAnswer { .. }
        | Fault::ProxyUnreachable { .. }
        | Fault::ProxyRefused { .. }
        | Fault::TlsHandshake { .. }
        | Fault::NotTls
        | Fault::NoRoots
        | Fault::Certificate { .. }
        | Fault::HttpStatus { .. }
        | Fault::NotWebSocket { .. }
        | Fault::Refused(_)
        | Fault::Closed { .. }
        | Fault::Lost { .. }
        | Fault::Silent { .. }
        | Fault::NotRegistered { .. } => None,
    }
}
