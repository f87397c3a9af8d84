//! A blocking WebSocket on soketto's handshake and frame codec: another implementation than the product's, with every
//! byte of a frame in the caller's hand.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::FutureExt;
use futures_util::io::AllowStdIo;
use soketto::Parsing;
use soketto::base::{Codec, Header, OpCode};
use soketto::handshake::client::{Client, Header as ClientHeader, ServerResponse};

use crate::wait::PATIENCE;

const PATH: &str = "/ws/agent-bridge";

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A text message.
    Text(String),
    /// The peer closed, with this code and text; 1005 where it gave none.
    Close(u16, String),
    /// The connection ended without a close frame.
    End,
    /// Nothing came in time.
    Nothing,
}

/// The receiving half.
#[derive(Debug)]
pub struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
    writer: Writer,
}

/// The sending half; clones write whole frames to the same socket.
#[derive(Debug, Clone)]
pub struct Writer {
    stream: Arc<Mutex<TcpStream>>,
    masks: bool,
}

/// Opens a connection to a bridge.
///
/// # Errors
/// The connection or the handshake fails; an answer other than 101 is named.
pub fn client(address: SocketAddr, headers: &[(&str, &str)]) -> Result<(Reader, Writer)> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let host = address.to_string();
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| ClientHeader {
            name,
            value: value.as_bytes(),
        })
        .collect();
    let mut handshake = Client::new(AllowStdIo::new(stream), &host, PATH);
    handshake.set_headers(&headers);
    // The socket blocks, so the future is ready when it is first polled.
    match handshake
        .handshake()
        .now_or_never()
        .context("the handshake did not block")??
    {
        ServerResponse::Accepted { .. } => {}
        ServerResponse::Rejected { status_code } => bail!("HTTP {status_code} instead of 101"),
        ServerResponse::Redirect {
            status_code,
            location,
        } => bail!("HTTP {status_code} to {location}"),
    }
    let buffer = handshake.take_buffer().to_vec();
    halves(handshake.into_inner().into_inner(), buffer, true)
}

/// Answers a client's handshake with 101; also the request.
pub(crate) fn accept(mut stream: TcpStream) -> Result<(http::Request<()>, Reader, Writer)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    let end = loop {
        if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        ensure!(head.len() < 16 * 1024, "the request is too long");
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk)?;
        ensure!(read > 0, "the connection ended within the request");
        head.extend_from_slice(&chunk[..read]);
    };
    let rest = head.split_off(end);
    let request = request(std::str::from_utf8(&head)?)?;
    let response = soketto::handshake::http::Server::new().receive_request(&request)?;
    let mut answer = "HTTP/1.1 101 Switching Protocols\r\n".to_owned();
    for (name, value) in response.headers() {
        answer.push_str(&format!("{name}: {}\r\n", value.to_str()?));
    }
    answer.push_str("\r\n");
    stream.write_all(answer.as_bytes())?;
    let (reader, writer) = halves(stream, rest, false)?;
    Ok((request, reader, writer))
}

fn request(head: &str) -> Result<http::Request<()>> {
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let mut request = http::Request::builder().method(method).uri(target);
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line
            .split_once(':')
            .with_context(|| format!("not a header: {line}"))?;
        request = request.header(name, value.trim());
    }
    Ok(request.body(())?)
}

fn halves(stream: TcpStream, buffer: Vec<u8>, masks: bool) -> Result<(Reader, Writer)> {
    let writer = Writer {
        stream: Arc::new(Mutex::new(stream.try_clone()?)),
        masks,
    };
    Ok((
        Reader {
            stream,
            buffer,
            writer: writer.clone(),
        },
        writer,
    ))
}

impl Reader {
    /// What comes next, within [`PATIENCE`]. Pings are answered.
    ///
    /// # Errors
    /// The peer broke the protocol.
    pub fn receive(&mut self) -> Result<Incoming> {
        self.receive_within(PATIENCE)
    }

    /// [`Reader::receive`] with a deadline of its own.
    ///
    /// # Errors
    /// The peer broke the protocol.
    pub fn receive_within(&mut self, time: Duration) -> Result<Incoming> {
        let deadline = Instant::now() + time;
        let mut message = Vec::new();
        loop {
            while let Some((header, mut payload)) = self.take_frame()? {
                Codec::apply_mask(&header, &mut payload);
                match header.opcode() {
                    OpCode::Ping => self.writer.frame(OpCode::Pong, &payload)?,
                    OpCode::Pong => {}
                    OpCode::Close => {
                        let (code, text) = match payload.as_slice() {
                            [high, low, text @ ..] => (u16::from_be_bytes([*high, *low]), text),
                            _ => (1005, &[][..]),
                        };
                        return Ok(Incoming::Close(code, String::from_utf8_lossy(text).into_owned()));
                    }
                    OpCode::Text | OpCode::Continue => {
                        message.append(&mut payload);
                        if header.is_fin() {
                            return Ok(Incoming::Text(String::from_utf8(message)?));
                        }
                    }
                    other => bail!("a frame of kind {other}"),
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                ensure!(message.is_empty(), "the peer stopped within a message");
                return Ok(Incoming::Nothing);
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut chunk = [0; 64 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(Incoming::End),
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return Ok(Incoming::End);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A whole frame out of the buffer, if one is there.
    fn take_frame(&mut self) -> Result<Option<(Header, Vec<u8>)>> {
        let Parsing::Done {
            value: header,
            offset,
        } = Codec::new().decode_header(&self.buffer)?
        else {
            return Ok(None);
        };
        let end = offset + header.payload_len();
        if self.buffer.len() < end {
            return Ok(None);
        }
        let rest = self.buffer.split_off(end);
        let mut frame = std::mem::replace(&mut self.buffer, rest);
        frame.drain(..offset);
        Ok(Some((header, frame)))
    }
}

impl Writer {
    /// Sends a text message.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn text(&self, text: &str) -> Result<()> {
        self.frame(OpCode::Text, text.as_bytes())
    }

    /// Sends a text frame whose payload need not be UTF-8.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn text_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.frame(OpCode::Text, bytes)
    }

    /// Sends a close frame.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn close(&self, code: u16, text: &str) -> Result<()> {
        self.frame(OpCode::Close, &[&code.to_be_bytes(), text.as_bytes()].concat())
    }

    /// Ends the connection under the WebSocket, without a close frame.
    pub fn cut(&self) {
        // Ended by the peer already is what is wanted.
        let _gone = self
            .stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .shutdown(Shutdown::Both);
    }

    fn frame(&self, kind: OpCode, payload: &[u8]) -> Result<()> {
        let mut header = Header::new(kind);
        header.set_payload_len(payload.len());
        let mut payload = payload.to_vec();
        if self.masks {
            // Any value will do: it guards proxies, and there are none here.
            header.set_masked(true).set_mask(0x5eed_cafe);
            Codec::apply_mask(&header, &mut payload);
        }
        let bytes = [Codec::new().encode_header(&header), &payload].concat();
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.write_all(&bytes).context("the frame could not be sent")
    }
}
