use std::fmt;
use std::sync::Arc;

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use crate::Endpoint;

/// What the environment, or whoever stands in for it, says about proxies; empty means unset.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// `HTTPS_PROXY`: for `https` and `wss` URLs.
    pub https: String,
    /// `HTTP_PROXY`: for `http` and `ws` URLs.
    pub http: String,
    /// `ALL_PROXY`: where the one above is unset.
    pub all: String,
    /// `NO_PROXY`: hosts, domains, addresses and networks (`10.0.0.0/8`) that are dialled directly, separated by commas;
    /// `*`: all.
    pub no: String,
}

/// A proxy's URL can carry a password.
impl fmt::Debug for ProxySettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |value: &str| if value.is_empty() { "unset" } else { "set" };
        formatter
            .debug_struct("ProxySettings")
            .field("https", &set(&self.https))
            .field("http", &set(&self.http))
            .field("all", &set(&self.all))
            .field("no", &self.no)
            .finish()
    }
}

/// Which proxy leads to which bridge. Loopback hosts are always dialled directly.
///
/// ```
/// use askalf_agent_core::{Proxies, ProxySettings};
///
/// let error = Proxies::new(&ProxySettings { https: "gopher://proxy".into(), ..Default::default() }).unwrap_err();
/// assert_eq!(error.to_string(), "HTTPS_PROXY does not name a proxy that can be used");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Proxies(Option<Arc<Matcher>>);

impl Proxies {
    /// Reads proxies: `http://`, `https://` and `socks5://` URLs, with or without `USER:PASSWORD@`; one without a scheme is
    /// an HTTP proxy. A SOCKS5 proxy looks up the bridge's name itself.
    ///
    /// # Errors
    /// [`ProxyError`] names the setting that cannot be read: none is passed over, as the agent would then dial directly.
    pub fn new(settings: &ProxySettings) -> Result<Self, ProxyError> {
        let ProxySettings { https, http, all, no } = settings;
        for (name, value) in [("HTTPS_PROXY", https), ("HTTP_PROXY", http), ("ALL_PROXY", all)] {
            if !value.is_empty() && !names_a_proxy(value) {
                return Err(ProxyError { name });
            }
        }
        let matcher = Matcher::builder()
            .https(https.clone())
            .http(http.clone())
            .all(all.clone())
            .no(no.clone())
            .build();
        Ok(Self(Some(Arc::new(matcher))))
    }

    /// The proxy that leads to a bridge, as a person may see it: without its login. `None`: it is dialled directly.
    pub fn leading_to(&self, endpoint: &Endpoint) -> Option<String> {
        let proxy = self.to(endpoint)?;
        let uri = proxy.uri();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Some(askalf_proto::one_line(&format!(
            "{}://{host}",
            uri.scheme_str().unwrap_or("http")
        )))
    }

    pub(crate) fn to(&self, endpoint: &Endpoint) -> Option<Intercept> {
        let matcher = self.0.as_ref()?;
        if endpoint.is_loopback() {
            return None;
        }
        matcher.intercept(&endpoint.http_uri("/").ok()?)
    }
}

fn names_a_proxy(value: &str) -> bool {
    let Some(proxy) = Matcher::builder()
        .all(value.to_owned())
        .build()
        .intercept(&Uri::from_static("http://x/"))
    else {
        return false;
    };
    let uri = proxy.uri();
    !uri.scheme_str()
        .is_some_and(|scheme| scheme.starts_with("socks4"))
        && uri.host().is_some_and(|host| !host.is_empty())
}

/// A setting does not name a proxy. Its value is not repeated: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{name} does not name a proxy that can be used")]
pub struct ProxyError {
    /// The setting, as its variable is called.
    pub name: &'static str,
}

impl ProxyError {
    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        "proxy-setting"
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        "write it like http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT, or unset it"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(settings: &ProxySettings) -> Proxies {
        Proxies::new(settings).unwrap()
    }

    fn proxy(proxies: &Proxies, url: &str) -> Option<String> {
        let endpoint = Endpoint::parse(url, true).unwrap();
        proxies.to(&endpoint).map(|proxy| proxy.uri().to_string())
    }

    #[test]
    fn a_url_goes_by_the_proxy_of_its_kind_unless_it_is_local_or_excepted() {
        let proxies = proxies(&ProxySettings {
            https: "http://user:hunter2@secure:8080".into(),
            all: "socks5://all:1080".into(),
            no: "example.org, 10.0.0.0/8,fd00::/8".into(),
            ..ProxySettings::default()
        });
        for (url, wanted) in [
            ("wss://bridge.test", Some("http://secure:8080/")),
            ("https://bridge.test:3005", Some("http://secure:8080/")),
            ("ws://bridge.test", Some("socks5://all:1080/")),
            ("wss://bridge.example.org", None),
            ("wss://10.1.2.3", None),
            ("wss://[fd00::1]:3005", None),
            ("wss://localhost:3005", None),
            ("ws://127.0.0.1:3005", None),
            ("wss://[::1]", None),
        ] {
            assert_eq!(proxy(&proxies, url).as_deref(), wanted, "{url}");
        }
        assert!(!format!("{proxies:?}").contains("hunter2"));
        let secure = Endpoint::parse("wss://bridge.test", true).unwrap();
        assert_eq!(proxies.leading_to(&secure).as_deref(), Some("http://secure:8080"));
    }

    #[test]
    fn without_settings_everything_is_dialled_directly() {
        assert_eq!(proxy(&Proxies::default(), "wss://bridge.test"), None);
        assert_eq!(
            proxy(&proxies(&ProxySettings::default()), "wss://bridge.test"),
            None
        );
    }

    #[test]
    fn a_setting_that_cannot_be_used_is_named_without_its_value() {
        for value in [
            "gopher://hunter2@p",
            "socks4://hunter2@p",
            "http://a b",
            "http://",
        ] {
            let settings = ProxySettings {
                all: value.into(),
                ..ProxySettings::default()
            };
            let error = Proxies::new(&settings).unwrap_err();
            assert_eq!(error, ProxyError { name: "ALL_PROXY" }, "{value}");
            assert!(!format!("{error} {error:?} {settings:?}").contains("hunter2"));
        }
        assert!(
            proxy(
                &proxies(&ProxySettings {
                    all: "proxy:3128".into(),
                    ..ProxySettings::default()
                }),
                "wss://b"
            )
            .is_some()
        );
    }
}
