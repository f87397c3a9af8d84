//! Everything that can keep a device from being online, as it was observed.

use std::time::Duration;

use askalf_proto::{BridgeError, DecodeError};

/// What came instead of, or at the end of, a registered session. Texts of a peer are cleaned before they get in
/// here: one line, no control characters, no token.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The name of the bridge could not be looked up.
    NameLookup {
        /// What the system said.
        detail: String,
    },
    /// No TCP connection came about.
    Unreachable {
        /// What the system said.
        detail: String,
    },
    /// The bridge did not take the connection, or did not answer the upgrade request, in time.
    NoAnswer {
        /// What was waited for.
        waited_for: Wait,
        /// How long.
        waited: Duration,
    },
    /// No TCP or TLS connection to the proxy came about.
    ProxyUnreachable {
        /// The proxy's host and port.
        proxy: String,
        /// Why.
        detail: String,
    },
    /// The proxy does not lead to the bridge. An HTTP proxy that demands a login is [`Fault::HttpStatus`] 407.
    ProxyRefused {
        /// The proxy's host and port.
        proxy: String,
        /// What it said.
        detail: String,
    },
    /// The TLS handshake failed for a reason other than the certificate.
    TlsHandshake {
        /// What the TLS library said.
        detail: String,
    },
    /// What answers does not speak TLS.
    NotTls,
    /// There is nothing to check a certificate against.
    NoRoots,
    /// The bridge's certificate is not the expected one.
    Certificate {
        /// What is wrong with it.
        problem: CertificateProblem,
        /// What was expected and what was presented, fingerprints included.
        detail: String,
    },
    /// An HTTP answer other than 101.
    HttpStatus {
        /// The status code.
        status: u16,
        /// Who says so, from the `Server` header.
        server: Option<String>,
        /// `Retry-After` in seconds, where it was given so.
        retry_after: Option<Duration>,
    },
    /// What answered does not speak WebSocket.
    NotWebSocket {
        /// What is wrong with the answer.
        detail: String,
    },
    /// `device:error`.
    Refused(BridgeError),
    /// The peer closed the socket with this code, or without one.
    Closed {
        /// The code (RFC 6455, section 7.4), if there was one.
        code: Option<u16>,
        /// The text beside it.
        text: String,
    },
    /// The socket broke without a close.
    Lost {
        /// What the system said.
        detail: String,
    },
    /// The peer was silent for two heartbeats.
    Silent {
        /// For how long.
        silent: Duration,
    },
    /// The bridge did not register the device, though asked several times.
    NotRegistered {
        /// How often it was asked.
        tries: u32,
    },
    /// A frame came that cannot be read any further: too large, invalid UTF-8, or against the protocol.
    BadFrame(BadFrame),
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateProblem {
    /// It has expired, by this device's clock.
    Expired,
    /// It is not valid yet, by this device's clock.
    NotValidYet,
    /// Nothing that this device trusts has issued it.
    UnknownIssuer,
    /// It is for another host.
    WrongName,
    /// Its key is none of those that are pinned.
    NotPinned,
    /// Anything else.
    Other,
}

/// What was waited for in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The TCP connection.
    Connection,
    /// The proxy's answer.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// The answer to the upgrade request.
    Upgrade,
}

/// A frame after which a socket cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadFrame {
    /// It is larger than [`askalf_proto::MAX_FRAME_IN`]; it was not read.
    TooLarge {
        /// Its size, in bytes.
        bytes: usize,
    },
    /// A text frame that is not UTF-8.
    NotUtf8,
    /// It breaks the WebSocket protocol.
    Protocol {
        /// How.
        detail: String,
    },
}

/// A frame that was read but is no message. It never ends a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// A text frame that does not decode.
    Undecodable(DecodeError),
    /// A binary frame; this wire has none.
    Binary {
        /// Its size, in bytes.
        bytes: usize,
    },
}
