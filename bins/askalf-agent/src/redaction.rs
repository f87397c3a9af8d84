//! What tasks must not print: the rules of the user, and the secrets that the agent itself holds.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::sync::Arc;

use askalf_agent_core::{
    CredentialRotation, CredentialSource, LoadedCredential, NoCredential, RotationFault,
};
use askalf_bridge_auth::Token;
use askalf_cli::{ExitCode, Failure};
use askalf_cred::Home;
use askalf_exec::redact::{RedactionRules, Secrets};

/// The user's rules in the agent's home.
const RULES: &str = "redaction.txt";

/// The built-in kinds and the rules of this home. A file of rules that cannot be read is a failure, not none: it was written to
/// be kept.
pub(crate) fn secrets(home: &Home) -> Result<Secrets, Failure> {
    let path = home.path().join(RULES);
    let failure =
        |problem: String| Failure::new(ExitCode::Configuration, format!("{}: {problem}", path.display()));
    if std::fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        return Err(failure("this is no file".to_owned()).hint("put a file of rules there, or nothing"));
    }
    let mut text = String::new();
    match File::open(&path) {
        Ok(file) => {
            let most = RedactionRules::MAX_BYTES as u64 + 1;
            file.take(most)
                .read_to_string(&mut text)
                .map_err(|error| failure(error.kind().to_string()).hint("write the rules as UTF-8 text"))?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Secrets::default()),
        Err(error) => {
            return Err(failure(error.kind().to_string()).hint("let the agent's user read the file"));
        }
    }
    RedactionRules::parse(&text)
        .map(|rules| Secrets::new(&rules))
        .map_err(|error| failure(error.to_string()).hint(error.hint()))
}

/// Yields what `source` does, covered before anybody has it.
struct Covered<S> {
    source: S,
    secrets: Secrets,
}

impl<S: CredentialSource> Covered<S> {
    fn cover(&self, key: &Token) {
        self.secrets.cover("agent-key", key.expose_secret());
    }

    fn cover_all_of(&self, credential: LoadedCredential) -> LoadedCredential {
        self.cover(&credential.token);
        if let Some(gateway) = &credential.route.gateway {
            self.secrets
                .cover("gateway-secret", gateway.secret().expose_secret());
        }
        credential
    }
}

impl<S: CredentialSource> CredentialSource for Covered<S> {
    fn load(&self) -> Result<LoadedCredential, NoCredential> {
        Ok(self.cover_all_of(self.source.load()?))
    }

    fn generation(&self) -> u64 {
        self.source.generation()
    }

    fn rotation(&self) -> Option<&dyn CredentialRotation> {
        self.source.rotation().map(|_| self as &dyn CredentialRotation)
    }
}

/// The source's own. The driver asks [`CredentialSource::rotation`] first, so that there is one.
impl<S: CredentialSource> CredentialRotation for Covered<S> {
    fn staged(&self) -> Option<LoadedCredential> {
        let staged = self.source.rotation()?.staged()?;
        Some(self.cover_all_of(staged))
    }

    fn stage(&self, key: &Token) -> Result<(), RotationFault> {
        self.cover(key);
        self.source
            .rotation()
            .map_or(Ok(()), |rotation| rotation.stage(key))
    }

    fn promote(&self, key: &Token) -> Result<(), RotationFault> {
        self.source.rotation().ok_or_else(nowhere)?.promote(key)
    }

    fn discard(&self, key: &Token) -> Result<(), RotationFault> {
        self.source.rotation().ok_or_else(nowhere)?.discard(key)
    }

    fn set_aside(&self, key: &Token) {
        if let Some(rotation) = self.source.rotation() {
            rotation.set_aside(key);
        }
    }
}

fn nowhere() -> RotationFault {
    RotationFault {
        id: "rotation-nowhere".to_owned(),
        problem: "this agent has nowhere to keep a new key".to_owned(),
        hint: "pair the device".to_owned(),
        lasting: true,
    }
}

/// Credentials from `source`, each covered by `secrets` before anybody has it: a new one in running tasks too.
pub(crate) fn covered(
    source: impl CredentialSource + 'static,
    secrets: &Secrets,
) -> Arc<dyn CredentialSource> {
    Arc::new(Covered {
        source,
        secrets: secrets.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_the_place_of_the_rules_is_refused_and_no_rules_are_none() {
        let scratch = tempfile::tempdir().unwrap();
        let home = Home::new(scratch.path());
        assert!(secrets(&home).is_ok());
        std::fs::create_dir(scratch.path().join(RULES)).unwrap();
        let failure = secrets(&home).unwrap_err();
        assert!(
            failure.to_string().ends_with("redaction.txt: this is no file"),
            "{failure}"
        );
        std::fs::remove_dir(scratch.path().join(RULES)).unwrap();
        std::fs::write(scratch.path().join(RULES), b"text pin \xff\xff\xff\xff").unwrap();
        let failure = secrets(&home).unwrap_err();
        assert_eq!(failure.hint_text(), Some("write the rules as UTF-8 text"));
    }
}
