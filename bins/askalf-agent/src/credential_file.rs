//! The sealed file as the driver's source of credentials.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use askalf_agent_core::{
    CredentialRotation, CredentialSource, LoadedCredential, NoCredential, NoCredentialKind, Proxies,
};
use askalf_bridge_auth::Token;
use askalf_cred::{
    AgentConfig, ConfigStamp, Credential, Home, KeySources, LoadOptions, LoadOutcome, Unreadable, load_with,
    stamp,
};

use crate::route::{FileStamp, route, stamps};

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
}

impl CredentialFile {
    /// Looks at this home from now on, with these keys beside its keyfile.
    pub(crate) fn new(home: Home, keys: KeySources, environment: FromEnvironment, proxies: Proxies) -> Self {
        let seen = Mutex::new(Seen {
            config: stamp(&home),
            files: Vec::new(),
            generation: 1,
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
        self.seen().files = stamps(&config);
        let route = route(&config, &self.proxies).map_err(|fault| NoCredential {
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
            route: Arc::new(route),
            generation,
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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
