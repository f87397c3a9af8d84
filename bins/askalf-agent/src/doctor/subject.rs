//! What the checks judge: everything is looked at once, the slow parts beside each other and each for a bounded time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use askalf_agent_core::control::{self, ControlError};
use askalf_agent_core::{
    AgentStatus, Endpoint, EndpointError, Examination, Examined, Proxies, Route, Timings, examine,
};
use askalf_bridge_auth::Token;
use askalf_cli::{ExitCode, Failure};
use askalf_cred::{AgentConfig, Home, LoadOutcome, read_fields};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::processes::{Process, processes};
use crate::facts::identity;
use crate::route::{RouteFault, route};
use crate::run_record::LastRun;
use crate::service_state::{ServiceState, service_state};
use crate::vault::Vault;
use crate::{environment, home_lock};

/// How long each layer of the way to the bridge may take.
const LAYER: Duration = Duration::from_secs(3);

/// How long the whole look at the bridge may take.
const BRIDGE: Duration = Duration::from_secs(9);

/// How long a look at this device may take: a key under a passphrase takes a second.
const DEVICE: Duration = Duration::from_secs(4);

/// How long the running daemon may take to answer.
const DAEMON: Duration = Duration::from_secs(3);

/// Most addresses of the bridge that are tried.
const ADDRESSES: usize = 8;

/// A daemon of this home.
pub(super) enum Daemon {
    Absent,
    Running(Box<AgentStatus>),
    /// It runs and cannot be asked.
    Silent(ControlError),
}

/// What became of a TCP connection to one address.
pub(super) type Tried = (SocketAddr, Result<(), String>);

/// All that was seen.
pub(super) struct Subject {
    vault: Vault,
    pub(super) outcome: LoadOutcome,
    /// The fields of agent.json, also where its key cannot be had.
    pub(super) config: Option<AgentConfig>,
    endpoint: Option<Result<Endpoint, EndpointError>>,
    pub(super) proxies: Result<Proxies, (String, String)>,
    pub(super) route: Option<Result<Arc<Route>, RouteFault>>,
    pub(super) daemon: Daemon,
    pub(super) last_run: Option<LastRun>,
    pub(super) service: Option<ServiceState>,
    pub(super) processes: Option<Vec<Process>>,
    /// What the bridge's name leads to; `None` where nobody asked.
    pub(super) addresses: Option<Result<Vec<Tried>, String>>,
    pub(super) way: Option<Examined>,
}

impl Subject {
    /// # Errors
    /// A disk of this device does not answer.
    pub(super) async fn look(vault: &Vault) -> Result<Self, Failure> {
        let home = vault.home().clone();
        let (loaded, service, processes, daemon) = tokio::join!(
            blocking({
                let vault = vault.clone();
                move || {
                    let outcome = vault.load_any_generation();
                    let config = match &outcome {
                        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => {
                            Some(credential.config.clone())
                        }
                        _ => read_fields(vault.home()),
                    };
                    (outcome, config, LastRun::of(vault.home()))
                }
            }),
            blocking(service_state),
            blocking(processes),
            ask_daemon(&home),
        );
        let (outcome, config, last_run) = loaded.ok_or_else(|| hangs(&home))?;
        let proxies = environment::proxies().map_err(|failure| {
            (
                failure.to_string(),
                failure.hint_text().unwrap_or_default().to_owned(),
            )
        });
        let mut subject = Self {
            vault: vault.clone(),
            outcome,
            endpoint: None,
            route: None,
            config,
            proxies,
            daemon,
            last_run,
            service: service.flatten(),
            processes: processes.flatten(),
            addresses: None,
            way: None,
        };
        subject.find_way();
        subject.look_at_bridge().await;
        Ok(subject)
    }

    pub(super) fn home(&self) -> &Home {
        self.vault.home()
    }

    /// The key, where there is one to present.
    pub(super) fn token(&self) -> Option<&Token> {
        match &self.outcome {
            LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => {
                Some(&credential.token)
            }
            LoadOutcome::Absent | LoadOutcome::Refused(_) => None,
        }
    }

    /// The bridge, where its URL can be dialled.
    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()?.as_ref().ok()
    }

    pub(super) fn endpoint_fault(&self) -> Option<&EndpointError> {
        self.endpoint.as_ref()?.as_ref().err()
    }

    /// The proxy on the way, as a person may see it.
    pub(super) fn proxy(&self) -> Option<String> {
        self.proxies.as_ref().ok()?.leading_to(self.endpoint()?)
    }

    fn find_way(&mut self) {
        let named = environment::variable("ASKALF_URL");
        let mut config = self.config.clone().unwrap_or_default();
        config.url = config.url.take().or(named);
        if let Some(url) = &config.url {
            self.endpoint = Some(Endpoint::parse(url, config.insecure));
        }
        if let Ok(proxies) = &self.proxies {
            self.route = Some(route(&config, proxies).map(Arc::new));
        }
    }

    async fn look_at_bridge(&mut self) {
        let (Some(endpoint), Some(Ok(route))) = (self.endpoint().cloned(), &self.route) else {
            return;
        };
        let name = self.config.as_ref().and_then(|config| config.device_name.clone());
        let examination = Examination {
            endpoint: endpoint.clone(),
            route: Arc::clone(route),
            token: self.token().cloned(),
            facts: identity(name),
            timings: Timings {
                connect: LAYER,
                handshake: LAYER,
                registration: LAYER / 2,
                registration_tries: 2,
                ..Timings::default()
            },
            limit: BRIDGE,
        };
        let directly = self.proxy().is_none();
        let (way, addresses) = tokio::join!(examine(&examination), async {
            match directly {
                true => Some(try_addresses(&endpoint).await),
                false => None,
            }
        });
        // A key that no header can carry is the credential check's to name.
        self.way = way.ok();
        self.addresses = addresses;
    }
}

/// The folder cannot be looked at in time.
pub(super) fn hangs(home: &Home) -> Failure {
    let problem = format!(
        "{} does not answer within {} s: its disk hangs",
        home.path().display(),
        DEVICE.as_secs()
    );
    Failure::new(ExitCode::Failed, problem).hint("look at the disk, or at the server that it is on")
}

/// What a call on a thread that may block comes to; `None` where it takes too long.
pub(super) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    timeout(DEVICE, spawn_blocking(call)).await.ok()?.ok()
}

async fn ask_daemon(home: &Home) -> Daemon {
    match control::status(&home.socket_path(), DAEMON).await {
        Ok(status) => Daemon::Running(Box::new(status)),
        Err(ControlError::NotRunning) if home_lock::holder(home).is_none() => Daemon::Absent,
        Err(error) => Daemon::Silent(error),
    }
}

async fn try_addresses(endpoint: &Endpoint) -> Result<Vec<Tried>, String> {
    let found = match timeout(LAYER, lookup_host((endpoint.host(), endpoint.port()))).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(plain(&error)),
        Err(_) => return Err(format!("no answer within {} s", LAYER.as_secs())),
    };
    let mut tries = JoinSet::new();
    for address in found.take(ADDRESSES) {
        tries.spawn(async move {
            let tried = match timeout(LAYER, TcpStream::connect(address)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(plain(&error)),
                Err(_) => Err(format!("no answer within {} s", LAYER.as_secs())),
            };
            (address, tried)
        });
    }
    let mut tried = Vec::new();
    while let Some(outcome) = tries.join_next().await {
        tried.extend(outcome);
    }
    tried.sort_by_key(|(address, _)| *address);
    Ok(tried)
}

/// An error of the system without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    askalf_cli::one_line(text.trim_end_matches('.'))
}
