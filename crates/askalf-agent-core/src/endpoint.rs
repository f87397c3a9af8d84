//! From the URL that a person gives to the place that is dialled.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use askalf_proto::ENDPOINT_PATH;
use http::Uri;

/// Where the bridge is.
///
/// ```
/// use askalf_agent_core::{Endpoint, EndpointError};
///
/// let endpoint = Endpoint::parse("http://localhost:3005/", false)?;
/// assert_eq!(endpoint.to_string(), "ws://localhost:3005/ws/agent-bridge");
/// let error = Endpoint::parse("bridge.example.org", false).unwrap_err();
/// assert_eq!(error.to_string(), "the URL needs a scheme: bridge.example.org");
/// # Ok::<(), EndpointError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Endpoint {
    /// Reads a URL: `http`, `https`, `ws` or `wss`; a trailing `/` is dropped, the path of the WebSocket endpoint is
    /// appended where it is missing, and a path before it is kept. Without TLS only a loopback host is allowed,
    /// or any with `insecure`.
    ///
    /// # Errors
    /// [`EndpointError`]; it never holds a user or password that stood in the URL.
    pub fn parse(url: &str, insecure: bool) -> Result<Self, EndpointError> {
        let url = url.trim();
        let Some((scheme, _)) = url.split_once("://") else {
            return Err(EndpointError::NoScheme { url: shown(url) });
        };
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            other => return Err(EndpointError::UnknownScheme { scheme: shown(other) }),
        };
        let uri: Uri = url
            .parse()
            .map_err(|_| EndpointError::NotAUrl { url: shown(url) })?;
        let not_a_url = || EndpointError::NotAUrl { url: shown(url) };
        let authority = uri.authority().ok_or_else(not_a_url)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::UserInUrl);
        }
        if uri.query().is_some() || url.contains('#') {
            return Err(EndpointError::QueryInUrl);
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        // A port that is no number is part of the authority, but not of its port.
        let port_given = authority.as_str().len() > authority.host().len();
        if host.is_empty() || (port_given && authority.port_u16().is_none()) {
            return Err(not_a_url());
        }
        if !tls && !insecure && !is_loopback(&host) {
            return Err(EndpointError::PlainToRemote { host: shown(&host) });
        }
        Ok(Self {
            tls,
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: endpoint_path(uri.path()),
        })
    }

    /// Whether it is dialled by TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether it is on this machine for certain.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// Host name, or address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as the `Host` header names them.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path of the WebSocket endpoint.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Another path beside the WebSocket endpoint's, as a URL.
    pub(crate) fn http_uri(&self, path: &str) -> Result<Uri, http::Error> {
        Uri::builder()
            .scheme(if self.tls { "https" } else { "http" })
            .authority(self.authority.as_str())
            .path_and_query(format!("{}{path}", self.base()))
            .build()
    }

    /// The path before the WebSocket endpoint's.
    fn base(&self) -> &str {
        self.path.strip_suffix(ENDPOINT_PATH).unwrap_or_default()
    }

    /// Host and port, the port always.
    pub(crate) fn host_and_port(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "wss" } else { "ws" };
        write!(formatter, "{scheme}://{}{}", self.authority, self.path)
    }
}

fn endpoint_path(path: &str) -> String {
    let base = path.trim_end_matches('/');
    if base.ends_with(ENDPOINT_PATH) {
        base.to_owned()
    } else {
        format!("{base}{ENDPOINT_PATH}")
    }
}

/// Whether a host is this machine for certain: a loopback address, or `localhost` and names below it (RFC 6761,
/// section 6.3).
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.is_loopback();
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// A part of what was given, fit for a line.
fn shown(text: &str) -> String {
    let text = text.rsplit_once('@').map_or(text, |(_, after)| after);
    askalf_proto::one_line(text)
}

/// Why a URL cannot be dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// There is no `://` in it.
    #[error("the URL needs a scheme: {url}")]
    NoScheme {
        /// What was given.
        url: String,
    },
    /// Its scheme is none of `http`, `https`, `ws`, `wss`.
    #[error("the URL's scheme '{scheme}' is not one of http, https, ws, wss")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
    /// It has no host, or is not a URL in another way.
    #[error("this is not a URL of a bridge: {url}")]
    NotAUrl {
        /// What was given.
        url: String,
    },
    /// It carries a user or a password.
    #[error("the URL carries a user or a password")]
    UserInUrl,
    /// It has a query or a fragment.
    #[error("the URL carries a query or a fragment")]
    QueryInUrl,
    /// It would send the key over the network in plain text.
    #[error("without TLS the key would cross the network to {host} in plain text")]
    PlainToRemote {
        /// The host.
        host: String,
    },
}

impl EndpointError {
    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::NoScheme { .. } => "url-no-scheme",
            Self::UnknownScheme { .. } => "url-unknown-scheme",
            Self::NotAUrl { .. } => "url-malformed",
            Self::UserInUrl => "url-with-user",
            Self::QueryInUrl => "url-with-query",
            Self::PlainToRemote { .. } => "url-plain-remote",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoScheme { .. } | Self::UnknownScheme { .. } | Self::NotAUrl { .. } => {
                "write it like https://bridge.example.org, or ws://127.0.0.1:3005"
            }
            Self::UserInUrl => "leave the user out: the key alone identifies the device",
            Self::QueryInUrl => "leave out everything from '?' or '#' on; the key never stands in a URL",
            Self::PlainToRemote { .. } => {
                "use https:// with a bridge that has a certificate, or --insecure on a network that you trust"
            }
        }
    }
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3); a date there is not read.
pub(crate) fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let value = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> String {
        Endpoint::parse(text, true).unwrap().to_string()
    }

    fn error(text: &str, insecure: bool) -> EndpointError {
        Endpoint::parse(text, insecure).unwrap_err()
    }

    #[test]
    fn the_endpoint_is_appended_once_and_a_base_path_kept() {
        for (given, dialled) in [
            ("http://localhost:3005", "ws://localhost:3005/ws/agent-bridge"),
            ("HTTP://localhost:3005/", "ws://localhost:3005/ws/agent-bridge"),
            ("ws://localhost", "ws://localhost/ws/agent-bridge"),
            (
                " ws://localhost/ws/agent-bridge/ ",
                "ws://localhost/ws/agent-bridge",
            ),
            ("http://h/base//", "ws://h/base/ws/agent-bridge"),
            ("http://h/base/ws/agent-bridge", "ws://h/base/ws/agent-bridge"),
            ("http://[::1]:3005", "ws://[::1]:3005/ws/agent-bridge"),
            ("HTTPS://h/base/", "wss://h/base/ws/agent-bridge"),
            ("wss://h:3005", "wss://h:3005/ws/agent-bridge"),
        ] {
            assert_eq!(url(given), dialled, "{given}");
        }
    }

    #[test]
    fn host_and_port_are_what_is_dialled() {
        let endpoint = Endpoint::parse("ws://[::1]:3005", false).unwrap();
        assert_eq!(
            (endpoint.host(), endpoint.port(), endpoint.authority()),
            ("::1", 3005, "[::1]:3005")
        );
        assert_eq!(Endpoint::parse("http://localhost", false).unwrap().port(), 80);
        let endpoint = Endpoint::parse("https://h/base/ws/agent-bridge", false).unwrap();
        assert_eq!((endpoint.port(), endpoint.is_tls()), (443, true));
        assert_eq!(endpoint.host_and_port(), "h:443");
        assert_eq!(
            endpoint.http_uri("/api/v1/pair").unwrap().to_string(),
            "https://h/base/api/v1/pair"
        );
        let endpoint = Endpoint::parse("wss://[fd00::1]", false).unwrap();
        assert_eq!(endpoint.host_and_port(), "[fd00::1]:443");
    }

    #[test]
    fn plain_text_stays_on_this_machine_unless_told_otherwise() {
        for local in [
            "ws://127.0.0.1",
            "ws://127.9.9.9:1",
            "ws://[::1]",
            "http://localhost.",
            "ws://a.LOCALHOST:9",
        ] {
            assert!(Endpoint::parse(local, false).is_ok(), "{local}");
        }
        for remote in [
            "ws://10.0.0.1",
            "http://bridge.example.org:80",
            "ws://localhost.example.org",
            "ws://0.0.0.0",
        ] {
            assert_eq!(error(remote, false).id(), "url-plain-remote", "{remote}");
            assert!(Endpoint::parse(remote, true).is_ok(), "{remote}");
        }
    }

    #[test]
    fn what_is_no_url_is_said_to_be_none() {
        for (given, id) in [
            ("localhost:3005", "url-no-scheme"),
            ("", "url-no-scheme"),
            ("ftp://localhost", "url-unknown-scheme"),
            ("http://", "url-malformed"),
            ("http://:80", "url-malformed"),
            ("http://localhost:70000", "url-malformed"),
            ("http://localhost:x", "url-malformed"),
            ("http://a b", "url-malformed"),
            ("http://localhost?token=x", "url-with-query"),
            ("http://localhost/#x", "url-with-query"),
        ] {
            assert_eq!(error(given, true).id(), id, "{given}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_not_shown() {
        for given in [
            "http://me:hunter2@localhost",
            "me:hunter2@localhost",
            "http://me:hunter2@local host",
        ] {
            let error = error(given, true);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
