//! From what is configured to the way to the bridge: reads the files that the config names.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use askalf_agent_core::{CaCertificates, Endpoint, GatewayAccess, Proxies, Route, TlsPin};
use askalf_bridge_auth::Token;
use askalf_cli::{ExitCode, Failure, permission_bits};
use askalf_cred::AgentConfig;
use zeroize::Zeroizing;

/// Largest CA file that is read: a system's whole bundle has a few hundred kilobytes.
const MAX_CA_FILE: u64 = 1024 * 1024;

/// Largest file with a secret that is read.
const MAX_SECRET_FILE: u64 = 4096;

/// Fields that, were they passed over, would let the device trust more than it was told to.
const GUARDING: [&str; 2] = ["caFile", "tlsPins"];

/// The fields that lead to one bridge and not to another.
pub(crate) const ROUTE_FIELDS: [&str; 4] = ["caFile", "tlsPins", "cfAccessId", "cfAccessSecretFile"];

/// The way to a bridge cannot be taken as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouteFault {
    pub(crate) id: &'static str,
    pub(crate) problem: String,
    pub(crate) hint: String,
}

impl From<RouteFault> for Failure {
    fn from(fault: RouteFault) -> Self {
        Self::new(ExitCode::Configuration, fault.problem).hint(fault.hint)
    }
}

/// The way to the bridge that this config names. Nothing in the config is passed over.
pub(crate) fn route(config: &AgentConfig, proxies: &Proxies) -> Result<Route, RouteFault> {
    if let Some(field) = config.misread().find(|field| GUARDING.contains(field)) {
        return Err(RouteFault {
            id: "config-wrong-type",
            problem: format!("agent.json: the value of '{field}' has the wrong type"),
            hint: "set it anew with 'askalf-agent pair --ca-file FILE --tls-pin HEX'".to_owned(),
        });
    }
    let mut pins = Vec::new();
    for pin in &config.tls_pins {
        let pin: TlsPin = pin
            .parse()
            .map_err(|error: askalf_agent_core::TlsPinError| RouteFault {
                id: error.id(),
                problem: format!("a TLS pin cannot be read: {error}"),
                hint: error.hint().to_owned(),
            })?;
        pins.push(pin);
    }
    // Whether the URL can be dialled at all is said elsewhere.
    let tls = config
        .url
        .as_deref()
        .is_none_or(|url| Endpoint::parse(url, true).is_ok_and(|endpoint| endpoint.is_tls()));
    let ca_certificates = match config.ca_file.as_deref().filter(|_| tls) {
        Some(file) => ca_certificates(Path::new(file))?,
        None => CaCertificates::default(),
    };
    Ok(Route {
        ca_certificates,
        pins,
        platform_roots: Some(platform_roots),
        proxies: proxies.clone(),
        gateway: gateway(config)?,
    })
}

fn ca_certificates(file: &Path) -> Result<CaCertificates, RouteFault> {
    let pem =
        read(file, MAX_CA_FILE).map_err(|error| unreadable("ca-file-unreadable", "CA file", file, &error))?;
    CaCertificates::from_pem(&pem).map_err(|error| RouteFault {
        id: error.id(),
        problem: format!("the CA file {} cannot be used: {error}", file.display()),
        hint: error.hint().to_owned(),
    })
}

fn gateway(config: &AgentConfig) -> Result<Option<GatewayAccess>, RouteFault> {
    let (id, file) = match (&config.cf_access_id, &config.cf_access_secret_file) {
        (None, None) => return Ok(None),
        (Some(id), Some(file)) => (id, Path::new(file)),
        _ => {
            return Err(RouteFault {
                id: "cf-access-incomplete",
                problem: "agent.json has one half of a Cloudflare Access token".to_owned(),
                hint: "give both: 'askalf-agent pair --cf-access-id ID --cf-access-secret-file FILE'"
                    .to_owned(),
            });
        }
    };
    let what = "file of the Cloudflare Access secret";
    let bytes = read(file, MAX_SECRET_FILE)
        .map(Zeroizing::new)
        .map_err(|error| unreadable("cf-access-secret-unreadable", what, file, &error))?;
    if file
        .metadata()
        .is_ok_and(|found| permission_bits(&found).is_some_and(|bits| bits & 0o004 != 0))
    {
        tracing::warn!(
            "everybody on this machine can read {}: chmod 600 it",
            file.display()
        );
    }
    let unusable = |id, error: &dyn std::fmt::Display, hint: &str| RouteFault {
        id,
        problem: format!("the {what} {} cannot be used: {error}", file.display()),
        hint: hint.to_owned(),
    };
    let text = str::from_utf8(&bytes).unwrap_or_default();
    let secret = Token::parse(text.trim()).map_err(|error| {
        unusable(
            "cf-access-secret",
            &error,
            "put the client secret of the service token into it, and nothing else",
        )
    })?;
    GatewayAccess::new(id, secret)
        .map(Some)
        .map_err(|error| unusable(error.id(), &error, error.hint()))
}

fn unreadable(id: &'static str, what: &str, file: &Path, error: &io::Error) -> RouteFault {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        kind => kind.to_string(),
    };
    RouteFault {
        id,
        problem: format!("the {what} {} cannot be read: {why}", file.display()),
        hint: "put it there, or name another one with 'askalf-agent pair'".to_owned(),
    }
}

fn read(file: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Whatever else is there may block its reader for ever.
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(limit.min(64 * 1024)).unwrap_or(0));
    File::open(file)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// The roots of the system, as `SSL_CERT_FILE` and `SSL_CERT_DIR` name them, else where the system keeps them.
fn platform_roots() -> Vec<Vec<u8>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(
            "some of the system's certificates cannot be read: {}",
            error.context
        );
    }
    found
        .certs
        .iter()
        .map(|certificate| certificate.to_vec())
        .collect()
}

/// The files that a way depends on, as they are now: another value means that the way may be another.
pub(crate) fn stamps(config: &AgentConfig) -> Vec<FileStamp> {
    [&config.ca_file, &config.cf_access_secret_file]
        .into_iter()
        .flatten()
        .map(|file| FileStamp::of(PathBuf::from(file)))
        .collect()
}

/// A file as it was at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileStamp {
    file: PathBuf,
    seen: Option<(u64, Option<SystemTime>)>,
}

impl FileStamp {
    fn of(file: PathBuf) -> Self {
        let seen = file
            .metadata()
            .ok()
            .map(|found| (found.len(), found.modified().ok()));
        Self { file, seen }
    }

    /// The same file as it is now.
    pub(crate) fn again(&self) -> Self {
        Self::of(self.file.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn fault(config: &AgentConfig) -> RouteFault {
        route(config, &Proxies::default()).unwrap_err()
    }

    fn config(url: &str) -> AgentConfig {
        AgentConfig {
            url: Some(url.to_owned()),
            ..AgentConfig::default()
        }
    }

    #[test]
    fn what_guards_the_connection_is_never_passed_over() {
        for field in ["tlsPins", "caFile"] {
            let mut config = config("wss://bridge.test");
            config.extra.insert(field.to_owned(), 7.into());
            assert_eq!(fault(&config).id, "config-wrong-type", "{field}");
        }
        let mut pinned = config("wss://bridge.test");
        pinned.tls_pins = vec!["abc".to_owned()];
        assert_eq!(fault(&pinned).id, "tls-pin-malformed");
        let mut half = config("wss://bridge.test");
        half.cf_access_id = Some("id.access".to_owned());
        assert_eq!(fault(&half).id, "cf-access-incomplete");
        let mut absent = config("wss://bridge.test");
        absent.ca_file = Some("/nonexistent/ca.pem".to_owned());
        assert_eq!(fault(&absent).id, "ca-file-unreadable");
    }

    #[test]
    fn a_ca_file_matters_to_tls_alone() {
        let mut config = config("ws://127.0.0.1:3005");
        config.ca_file = Some("/nonexistent/ca.pem".to_owned());
        assert!(route(&config, &Proxies::default()).is_ok());
    }

    #[test]
    fn a_file_that_changes_or_goes_is_noticed() {
        let folder = std::env::temp_dir().join(format!("askalf-route-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("secret");
        fs::write(&file, "one").unwrap();
        let mut config = config("wss://bridge.test");
        config.cf_access_secret_file = file.to_str().map(str::to_owned);
        let [stamp] = &stamps(&config)[..] else {
            panic!("one file")
        };
        assert_eq!(stamp.again(), *stamp);
        fs::write(&file, "other").unwrap();
        assert_ne!(stamp.again(), *stamp);
        fs::remove_dir_all(&folder).unwrap();
        assert_ne!(stamp.again(), *stamp);
    }
}
