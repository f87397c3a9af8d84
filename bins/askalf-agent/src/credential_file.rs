//! The sealed file as the driver's source of credentials.

use std::sync::{Mutex, PoisonError};

use askalf_agent_core::{CredentialSource, LoadedCredential, NoCredential, NoCredentialKind};
use askalf_bridge_auth::Token;
use askalf_cred::{
    ConfigStamp, Credential, Home, KeySources, LoadOptions, LoadOutcome, Unreadable, load_with, stamp,
};

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
    home: Home,
    options: LoadOptions,
    environment: FromEnvironment,
    seen: Mutex<(ConfigStamp, u64)>,
}

impl CredentialFile {
    /// Looks at this home from now on, with these keys beside its keyfile.
    pub(crate) fn new(home: Home, keys: KeySources, environment: FromEnvironment) -> Self {
        let seen = Mutex::new((stamp(&home), 1));
        let options = LoadOptions::default().keys(keys);
        Self {
            home,
            options,
            environment,
            seen,
        }
    }
}

impl CredentialSource for CredentialFile {
    fn load(&self) -> Result<LoadedCredential, NoCredential> {
        // Before the load: a change in between then shows as a new generation.
        let generation = self.generation();
        let (token, url, insecure) = match load_with(&self.home, &self.options) {
            LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => {
                let Credential { token, config, .. } = credential;
                (token, config.url, config.insecure)
            }
            LoadOutcome::Refused(unreadable) => return Err(refused(&unreadable, generation)),
            outcome @ LoadOutcome::Absent => match &self.environment.token {
                Some(token) => (token.clone(), None, false),
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
        match url.or_else(|| self.environment.url.clone()) {
            Some(url) => Ok(LoadedCredential {
                token,
                url,
                insecure,
                generation,
            }),
            None => Err(NoCredential {
                kind: NoCredentialKind::Absent,
                id: "no-url".to_owned(),
                problem: "no bridge is configured for this device".to_owned(),
                hint: "run `askalf-agent pair --url URL`".to_owned(),
                generation,
            }),
        }
    }

    fn generation(&self) -> u64 {
        let now = stamp(&self.home);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 != now {
            *seen = (now, seen.1 + 1);
        }
        seen.1
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
