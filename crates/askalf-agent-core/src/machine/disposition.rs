//! What each fault means: one disposition and one reason for every one.

use std::time::Duration;

use askalf_proto::{BridgeError, ErrorCode, Reason, one_line};

use super::StateReason;
use super::fault::{BadFrame, CertificateProblem, Fault, Wait};

/// What the agent does about a [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Come back with backoff, not before the time that the server named.
    Backoff {
        /// The server's wish, not clamped yet.
        retry_after: Option<Duration>,
    },
    /// Only a person can help, but nothing says that the key is bad: come back slowly.
    SlowRetry,
    /// The key is bad for certain: wait for a new one, look again now and then.
    RepairRequired {
        /// How often to look.
        recheck: Recheck,
    },
    /// An old forge refused the key and did not say why, which it also does when its own database is down: one more
    /// try, then as [`Disposition::RepairRequired`].
    SecondTry,
    /// Another socket with the same key took over: backoff, and a slow retry where it happens twice within a minute.
    Replaced,
    /// The bridge does not know the device id: forget it and register on the same socket.
    ForgetDevice,
    /// The bridge could not stand a frame of ours: backoff; a frame that does it again and again must not block
    /// the others.
    Quarantine,
    /// Nothing that matters to the connection.
    Ignore,
}

/// How often to try a refused key again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recheck {
    /// Every 10 minutes: the bridge said why, which costs it little.
    Soon,
    /// Every hour.
    Hourly,
}

/// A fault with what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub disposition: Disposition,
    /// What to say.
    pub reason: StateReason,
}

const BACKOFF: Disposition = Disposition::Backoff { retry_after: None };
/// The hint where the agent does all that can be done.
pub(crate) const COMES_BACK: &str = "nothing to do: the agent tries again by itself";
/// The hint where the key is bad. `DEVICE` stands for the device's id.
pub(crate) const PAIR: &str = "have a code made on the bridge with 'askalf-bridge pair-code new --name NAME --device \
    DEVICE', then run 'askalf-agent pair CODE' here; or run 'askalf-agent pair' with a good key; see 'askalf-agent \
    recovery'";

/// [`PAIR`] for a device that may have an id by now.
pub(super) fn pair_hint(device_id: Option<&str>) -> String {
    match device_id {
        Some(id) => PAIR.replace("DEVICE", &one_line(id)),
        None => PAIR.replace(" --device DEVICE", ""),
    }
}
const ASK_OPERATOR: &str = "ask the operator to activate the user of this key; pairing again does not help";
const PROXY: &str = "check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY in the agent's environment";
const CHECK_NAME: &str =
    "check the host in the bridge's URL; a captive portal or an inspecting proxy looks the same";
const TLS_PORT: &str = "check that the port in the URL is the TLS port of the bridge";
const CHECK_URL: &str = "check the bridge's URL; 'askalf-agent pair --url URL' sets another";

impl Fault {
    /// What the fault means.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::NameLookup { detail } => verdict(
                BACKOFF,
                "name-lookup",
                format!("the bridge's name cannot be looked up: {detail}"),
                "check the bridge's URL and the device's name servers",
            ),
            Self::Unreachable { detail } => verdict(
                BACKOFF,
                "unreachable",
                format!("the bridge cannot be reached: {detail}"),
                "check that the bridge runs and that the device is connected to the network",
            ),
            Self::NoAnswer { waited_for, waited } => {
                let what = match waited_for {
                    Wait::Connection => "the bridge took no connection",
                    Wait::Proxy => "the proxy did not answer",
                    Wait::Tls => "the bridge did not finish the TLS handshake",
                    Wait::Upgrade => "the bridge did not answer the upgrade request",
                };
                verdict(
                    BACKOFF,
                    "no-answer",
                    format!("{what} within {} s", waited.as_secs()),
                    "check that the bridge runs and that no firewall drops its packets",
                )
            }
            Self::ProxyUnreachable { proxy, detail } => verdict(
                BACKOFF,
                "proxy-unreachable",
                format!("the proxy {proxy} cannot be used: {detail}"),
                PROXY,
            ),
            Self::ProxyRefused { proxy, detail } => verdict(
                BACKOFF,
                "proxy-refused",
                format!("the proxy {proxy} does not lead to the bridge: {detail}"),
                PROXY,
            ),
            Self::TlsHandshake { detail } => verdict(
                BACKOFF,
                "tls-handshake",
                format!("the TLS handshake failed: {detail}"),
                TLS_PORT,
            ),
            Self::NotTls => verdict(
                BACKOFF,
                "not-tls",
                "what answers at the bridge's URL does not speak TLS".to_owned(),
                TLS_PORT,
            ),
            Self::NoRoots => verdict(
                Disposition::SlowRetry,
                "no-root-certificates",
                "this device has no root certificates to check the bridge's with".to_owned(),
                "install the system's (the package ca-certificates), or name the bridge's CA with \
                 'askalf-agent pair --ca-file FILE'",
            ),
            Self::Certificate { problem, detail } => certificate(*problem, detail),
            Self::HttpStatus {
                status,
                server,
                retry_after,
            } => http_status(*status, server.as_deref(), *retry_after),
            Self::NotWebSocket { detail } => verdict(
                Disposition::SlowRetry,
                "not-a-bridge",
                format!("what answers at the bridge's URL is not a bridge: {detail}"),
                CHECK_URL,
            ),
            Self::Refused(error) => refused(error),
            Self::Closed { code, text } => closed(*code, text),
            Self::Lost { detail } => verdict(
                BACKOFF,
                "connection-lost",
                format!("the connection to the bridge was lost: {detail}"),
                COMES_BACK,
            ),
            Self::Silent { silent } => verdict(
                BACKOFF,
                "heartbeat-lost",
                format!("the bridge was silent for {} s", silent.as_secs()),
                COMES_BACK,
            ),
            Self::NotRegistered { tries } => verdict(
                BACKOFF,
                "not-registered",
                format!("the bridge did not register the device, though asked {tries} times"),
                "if it stays, ask the operator for the bridge's log",
            ),
            Self::BadFrame(frame) => {
                let (id, text) = match frame {
                    BadFrame::TooLarge { bytes } => (
                        "frame-too-large",
                        format!(
                            "the bridge sent a frame of {bytes} bytes, which is more than a frame may have"
                        ),
                    ),
                    BadFrame::NotUtf8 => (
                        "frame-not-utf8",
                        "the bridge sent a text frame that is not UTF-8".to_owned(),
                    ),
                    BadFrame::Protocol { detail } => (
                        "websocket-protocol",
                        format!("the bridge broke the WebSocket protocol: {detail}"),
                    ),
                };
                verdict(
                    BACKOFF,
                    id,
                    text,
                    "if it stays, ask the operator for the bridge's log",
                )
            }
        }
    }
}

fn verdict(disposition: Disposition, id: &'static str, text: String, hint: &'static str) -> Verdict {
    Verdict {
        disposition,
        reason: StateReason::new(id, text, hint),
    }
}

fn certificate(problem: CertificateProblem, detail: &str) -> Verdict {
    let compare =
        "compare the fingerprint with the operator's; a captive portal or an inspecting proxy looks the same";
    let (id, hint) = match problem {
        CertificateProblem::Expired => (
            "certificate-expired",
            "check this device's clock; if it is right, the operator must renew the bridge's certificate",
        ),
        CertificateProblem::NotValidYet => ("certificate-not-valid-yet", "check this device's clock"),
        CertificateProblem::UnknownIssuer => (
            "certificate-unknown-issuer",
            "name the bridge's CA with 'askalf-agent pair --ca-file FILE', if it has one of its own; a captive portal or \
             an inspecting proxy looks the same",
        ),
        CertificateProblem::WrongName => ("certificate-wrong-name", CHECK_NAME),
        CertificateProblem::NotPinned => ("certificate-not-pinned", compare),
        CertificateProblem::Other => ("certificate", compare),
    };
    verdict(
        Disposition::SlowRetry,
        id,
        format!("the bridge's certificate is not the expected one: {detail}"),
        hint,
    )
}

/// An answer to the upgrade request. It comes before the bridge has looked at the key, so it never says anything
/// about the key.
fn http_status(status: u16, server: Option<&str>, retry_after: Option<Duration>) -> Verdict {
    let who = server.map_or_else(String::new, |server| format!(" (it calls itself {server})"));
    let backoff = Disposition::Backoff { retry_after };
    match status {
        401 | 403 => verdict(
            backoff,
            "access-gateway",
            format!("a gateway in front of the bridge answered {status}{who}; the key was not looked at"),
            "ask the operator for access through the gateway; pairing again does not help",
        ),
        407 => verdict(
            backoff,
            "proxy-authentication",
            format!("a proxy on the way demands a login: it answered {status}{who}"),
            "set the proxy's user and password where its URL is set; pairing again does not help",
        ),
        300..=399 => verdict(
            Disposition::SlowRetry,
            "redirected",
            format!("the bridge's URL leads elsewhere: the server answered {status}{who}"),
            CHECK_URL,
        ),
        404 => verdict(
            Disposition::SlowRetry,
            "wrong-url",
            format!("there is no bridge at this URL: the server answered {status}{who}"),
            CHECK_URL,
        ),
        429 => verdict(
            backoff,
            "too-many-requests",
            format!("the bridge asks to slow down: it answered {status}{who}"),
            COMES_BACK,
        ),
        500..=599 => verdict(
            backoff,
            "bridge-fault",
            format!("the bridge, or a proxy before it, answered {status}{who}"),
            COMES_BACK,
        ),
        200..=299 => verdict(
            Disposition::SlowRetry,
            "not-a-bridge",
            format!("what answers at the bridge's URL is not a bridge: it answered {status}{who}"),
            CHECK_URL,
        ),
        // What a TLS server says to who speaks plain HTTP.
        400 => verdict(
            backoff,
            "http-status",
            format!("the bridge's URL was answered by 400, a bad request{who}"),
            "check the bridge's URL: where the bridge speaks TLS it starts with https://",
        ),
        other => verdict(
            backoff,
            "http-status",
            format!("the bridge's URL was answered by {other}{who}"),
            CHECK_URL,
        ),
    }
}

fn refused(error: &BridgeError) -> Verdict {
    let retry_after = error.retry_after_ms.map(Duration::from_millis);
    match &error.code {
        ErrorCode::AuthFailed => auth_failed(error.reason, &error.message, retry_after),
        ErrorCode::UserNotFound => match error.reason {
            Some(Reason::Unavailable | Reason::Overloaded) => cannot_check(retry_after),
            Some(
                Reason::UserInactive
                | Reason::Unknown
                | Reason::Revoked
                | Reason::Expired
                | Reason::ScopeMissing,
            )
            | None => user_inactive(),
        },
        ErrorCode::AuthRequired => verdict(
            BACKOFF,
            "key-stripped",
            "the bridge says that no key was sent, though one was".to_owned(),
            "something between the device and the bridge strips the Authorization header: check proxies on the way",
        ),
        ErrorCode::DeviceNotFound | ErrorCode::MissingDeviceId => verdict(
            Disposition::ForgetDevice,
            "device-not-found",
            "the bridge does not know the device's id; the device registers anew".to_owned(),
            COMES_BACK,
        ),
        ErrorCode::ServerShutdown => verdict(
            Disposition::Backoff { retry_after },
            "bridge-shutdown",
            "the bridge is going down".to_owned(),
            COMES_BACK,
        ),
        ErrorCode::InternalError => match error.reason {
            Some(Reason::Unavailable | Reason::Overloaded) => cannot_check(retry_after),
            Some(
                Reason::Unknown
                | Reason::Revoked
                | Reason::Expired
                | Reason::ScopeMissing
                | Reason::UserInactive,
            )
            | None => verdict(
                Disposition::Backoff { retry_after },
                "bridge-fault",
                with_message("the bridge failed", &error.message),
                "if it stays, ask the operator; an old bridge also says so to a user with more than 10 devices",
            ),
        },
        ErrorCode::InvalidJson
        | ErrorCode::AlreadyRegistered
        | ErrorCode::NotRegistered
        | ErrorCode::ExecutionNotFound
        | ErrorCode::UnknownType
        | ErrorCode::Other(_) => verdict(
            Disposition::Ignore,
            "bridge-complaint",
            with_message(&format!("the bridge answered {}", error.code), &error.message),
            "",
        ),
    }
}

fn auth_failed(reason: Option<Reason>, message: &str, retry_after: Option<Duration>) -> Verdict {
    let bad_key = |id, text: &str| {
        let recheck = Recheck::Soon;
        verdict(Disposition::RepairRequired { recheck }, id, text.to_owned(), PAIR)
    };
    match reason {
        Some(Reason::Unknown) => bad_key("unknown", "the bridge does not know this key"),
        Some(Reason::Revoked) => bad_key("revoked", "this key was revoked"),
        Some(Reason::Expired) => bad_key("expired", "this key has expired"),
        Some(Reason::ScopeMissing) => bad_key("scope_missing", "this key may not be used by a device"),
        Some(Reason::UserInactive) => user_inactive(),
        Some(Reason::Unavailable | Reason::Overloaded) => cannot_check(retry_after),
        None => verdict(
            Disposition::SecondTry,
            "no_reason",
            with_message("the bridge refused this key and did not say why", message),
            PAIR,
        ),
    }
}

fn user_inactive() -> Verdict {
    verdict(
        Disposition::RepairRequired {
            recheck: Recheck::Soon,
        },
        "user_inactive",
        "the user of this key is suspended or does not exist any more".to_owned(),
        ASK_OPERATOR,
    )
}

/// A fault of the bridge, whatever code it comes under: it says nothing about the key.
fn cannot_check(retry_after: Option<Duration>) -> Verdict {
    verdict(
        Disposition::Backoff { retry_after },
        "bridge-cannot-check",
        "the bridge cannot check keys at the moment".to_owned(),
        COMES_BACK,
    )
}

fn closed(code: Option<u16>, text: &str) -> Verdict {
    match code {
        // The device:error that explains a 4001 comes first; where it was lost, the text stands in for it.
        Some(4001) => match text {
            "Missing token" => refused(&error_without_reason(ErrorCode::AuthRequired)),
            "User not found" => user_inactive(),
            other => auth_failed(None, other, None),
        },
        Some(4002) => verdict(
            BACKOFF,
            "heartbeat-timeout",
            "the bridge heard nothing of the device for too long".to_owned(),
            COMES_BACK,
        ),
        Some(4003) => verdict(
            Disposition::Replaced,
            "replaced",
            "another connection with this key took the place of this one".to_owned(),
            COMES_BACK,
        ),
        Some(code @ (1002 | 1007 | 1009)) => verdict(
            Disposition::Quarantine,
            "frame-refused",
            with_message(
                &format!("the bridge could not stand a frame of this device ({code})"),
                text,
            ),
            "if it stays, upgrade the agent or the bridge",
        ),
        Some(1000) => verdict(
            BACKOFF,
            "closed-by-bridge",
            with_message("the bridge closed the connection", text),
            COMES_BACK,
        ),
        Some(1001 | 1012) => verdict(
            BACKOFF,
            "bridge-shutdown",
            "the bridge is going down".to_owned(),
            COMES_BACK,
        ),
        Some(code @ (1011 | 1013)) => verdict(
            BACKOFF,
            "bridge-fault",
            with_message(&format!("the bridge cannot serve now ({code})"), text),
            COMES_BACK,
        ),
        None | Some(1006) => verdict(
            BACKOFF,
            "connection-lost",
            "the connection to the bridge was lost".to_owned(),
            COMES_BACK,
        ),
        Some(code) => verdict(
            BACKOFF,
            "closed-by-bridge",
            with_message(&format!("the bridge closed the connection ({code})"), text),
            COMES_BACK,
        ),
    }
}

fn error_without_reason(code: ErrorCode) -> BridgeError {
    BridgeError {
        code,
        message: String::new(),
        reason: None,
        retry_after_ms: None,
    }
}

fn with_message(what: &str, message: &str) -> String {
    if message.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {message}")
    }
}
