//! The sealed file as the driver's source of credentials.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use askalf_agent_core::{
    CredentialRotation, CredentialSource, LoadedCredential, NoCredential, NoCredentialKind, Proxies, Route,
};
use askalf_bridge_auth::Token;
use askalf_cred::{
    AgentConfig, ConfigStamp, Credential, Home, KeySources, LoadOptions, LoadOutcome, Unreadable, load_with,
    stamp,
};

use crate::route::{FileStamp, ROUTE_FIELDS, RouteFault, route, stamps};

/// What the environment gives a daemon that has no file.
#[derive(Debug, Clone, Default)]
pub(crate) struct FromEnvironment {
    /// `ASKALF_API_KEY`
    pub token: Option<Token>,
    /// `ASKALF_URL`
    pub url: Option<String>,
}

/// Reads `agent.json` of a home; where there is none, the environment counts.
pub(crate) struct CredentialFile {
    pub(crate) home: Home,
    pub(crate) options: LoadOptions,
    environment: FromEnvironment,
    proxies: Proxies,
    seen: Mutex<Seen>,
    /// A staged key that is not presented any more by this process.
    pub(crate) set_aside: Mutex<Option<Token>>,
}

/// What was read last.
struct Seen {
    config: ConfigStamp,
    /// Files that the config names.
    files: Vec<FileStamp>,
    generation: u64,
    /// The way that was read last, and from what: the same way is the same object, so that the driver sees whether it changed.
    way: Option<(AgentConfig, Vec<FileStamp>, Arc<Route>)>,
}

impl CredentialFile {
    /// Looks at this home from now on, with these keys beside its keyfile.
    pub(crate) fn new(home: Home, keys: KeySources, environment: FromEnvironment, proxies: Proxies) -> Self {
        let seen = Mutex::new(Seen {
            config: stamp(&home),
            files: Vec::new(),
            generation: 1,
            way: None,
        });
        let options = LoadOptions::default().keys(keys);
        Self {
            home,
            options,
            environment,
            proxies,
            seen,
            set_aside: Mutex::new(None),
        }
    }
}

impl CredentialSource for CredentialFile {
    fn load(&self) -> Result<LoadedCredential, NoCredential> {
        // Before the load: a change in between then shows as a new generation.
        let generation = self.generation();
        let (token, config) = match load_with(&self.home, &self.options) {
            LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => {
                let Credential { token, config, .. } = credential;
                (token, config)
            }
            LoadOutcome::Refused(unreadable) => return Err(refused(&unreadable, generation)),
            outcome @ LoadOutcome::Absent => match &self.environment.token {
                Some(token) => (token.clone(), AgentConfig::default()),
                None => {
                    return Err(NoCredential {
                        kind: NoCredentialKind::Absent,
                        id: outcome.id().to_owned(),
                        problem: outcome.to_string(),
                        hint: outcome.hint().unwrap_or_default(),
                        generation,
                    });
                }
            },
        };
        self.fit(token, config, generation)
    }

    fn generation(&self) -> u64 {
        let now = stamp(&self.home);
        let mut seen = self.seen();
        let files: Vec<FileStamp> = seen.files.iter().map(FileStamp::again).collect();
        if seen.config != now || seen.files != files {
            seen.config = now;
            seen.files = files;
            seen.generation += 1;
        }
        seen.generation
    }

    fn rotation(&self) -> Option<&dyn CredentialRotation> {
        Some(self)
    }
}

impl CredentialFile {
    /// A key with the way to its bridge.
    pub(crate) fn fit(
        &self,
        token: Token,
        mut config: AgentConfig,
        generation: u64,
    ) -> Result<LoadedCredential, NoCredential> {
        let Some(url) = config.url.take().or_else(|| self.environment.url.clone()) else {
            return Err(NoCredential {
                kind: NoCredentialKind::Absent,
                id: "no-url".to_owned(),
                problem: "no bridge is configured for this device".to_owned(),
                hint: "run `askalf-agent pair --url URL`".to_owned(),
                generation,
            });
        };
        config.url = Some(url.clone());
        // Before they are read, for the same reason.
        let files = stamps(&config);
        self.seen().files.clone_from(&files);
        let route = self.way(&config, files).map_err(|fault| NoCredential {
            kind: NoCredentialKind::LocalFault,
            id: fault.id.to_owned(),
            problem: fault.problem,
            hint: fault.hint,
            generation,
        })?;
        Ok(LoadedCredential {
            token,
            url,
            insecure: config.insecure,
            route,
            generation,
        })
    }

    fn way(&self, config: &AgentConfig, files: Vec<FileStamp>) -> Result<Arc<Route>, RouteFault> {
        let config = fields_of_the_way(config);
        if let Some((known, stamps, way)) = &self.seen().way
            && (known, stamps) == (&config, &files)
        {
            return Ok(Arc::clone(way));
        }
        let way = Arc::new(route(&config, &self.proxies)?);
        self.seen().way = Some((config, files, Arc::clone(&way)));
        Ok(way)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of a config leads to the bridge.
fn fields_of_the_way(config: &AgentConfig) -> AgentConfig {
    let misread = config
        .extra
        .iter()
        .filter(|(name, _)| ROUTE_FIELDS.contains(&name.as_str()));
    AgentConfig {
        url: config.url.clone(),
        ca_file: config.ca_file.clone(),
        tls_pins: config.tls_pins.clone(),
        cf_access_id: config.cf_access_id.clone(),
        cf_access_secret_file: config.cf_access_secret_file.clone(),
        extra: misread
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        ..AgentConfig::default()
    }
}

fn refused(unreadable: &Unreadable, generation: u64) -> NoCredential {
    let kind = if unreadable.is_local_fault() {
        NoCredentialKind::LocalFault
    } else {
        NoCredentialKind::Unreadable
    };
    NoCredential {
        kind,
        id: unreadable.id().to_owned(),
        problem: unreadable.to_string(),
        hint: unreadable.hint(),
        generation,
    }
}
