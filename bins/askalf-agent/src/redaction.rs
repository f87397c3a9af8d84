//! What tasks must not print: the rules of the user, and the secrets that the agent itself holds.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::sync::Arc;

use askalf_agent_core::{
    CredentialRotation, CredentialSource, LoadedCredential, NoCredential, RotationFault,
};
use askalf_bridge_auth::Token;
use askalf_cli::{ExitCode, Failure, in_plain_words};
use askalf_cred::Home;
use askalf_exec::redact::{RedactionRules, Secrets};

/// The user's rules in the agent's home.
const RULES: &str = "redaction.txt";

/// The built-in kinds and the rules of this home. A file of rules that cannot be read is a failure, not none: it was written to
/// be kept.
pub(crate) fn secrets(home: &Home) -> Result<Secrets, Failure> {
    rules(home).map(|rules| Secrets::new(&rules))
}

/// The rules of this home; none where there is no file.
pub(crate) fn rules(home: &Home) -> Result<RedactionRules, Failure> {
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
                .map_err(|error| failure(in_plain_words(&error)).hint("write the rules as UTF-8 text"))?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(RedactionRules::default()),
        Err(error) => {
            return Err(failure(in_plain_words(&error)).hint("let the agent's user read the file"));
        }
    }
    RedactionRules::parse(&text).map_err(|error| failure(error.to_string()).hint(error.hint()))
}

/// Yields what `source` does, covered before anybody has it.
struct Covered<S> {
    source: S,
    secrets: Secrets,
}

impl<S> Covered<S> {
    fn cover_key(&self, key: &Token) {
        self.secrets.cover("agent-key", key.expose_secret());
    }

    fn cover(&self, credential: &LoadedCredential) {
        self.cover_key(&credential.token);
        if let Some(gateway) = &credential.route.gateway {
            self.secrets
                .cover("gateway-secret", gateway.secret().expose_secret());
        }
    }
}

impl<S: CredentialSource + CredentialRotation> CredentialSource for Covered<S> {
    fn load(&self) -> Result<LoadedCredential, NoCredential> {
        self.source.load().inspect(|credential| self.cover(credential))
    }

    fn generation(&self) -> u64 {
        self.source.generation()
    }

    fn rotation(&self) -> Option<&dyn CredentialRotation> {
        Some(self)
    }
}

impl<S: CredentialRotation> CredentialRotation for Covered<S> {
    fn staged(&self) -> Option<LoadedCredential> {
        self.source.staged().inspect(|credential| self.cover(credential))
    }

    fn stage(&self, key: &Token) -> Result<(), RotationFault> {
        self.cover_key(key);
        self.source.stage(key)
    }

    fn promote(&self, key: &Token) -> Result<(), RotationFault> {
        self.source.promote(key)
    }

    fn discard(&self, key: &Token) -> Result<(), RotationFault> {
        self.source.discard(key)
    }

    fn set_aside(&self, key: &Token) {
        self.source.set_aside(key);
    }
}

/// Credentials from `source`, each covered by `secrets` before anybody has it: a new one in running tasks too.
pub(crate) fn covered(
    source: impl CredentialSource + CredentialRotation + 'static,
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

    /// Its keys have no shape that is covered anyway.
    struct Keys;

    fn credential(key: &str) -> LoadedCredential {
        LoadedCredential {
            token: Token::parse(key).unwrap(),
            url: "http://localhost:3005".to_owned(),
            insecure: false,
            route: Arc::default(),
            generation: 1,
        }
    }

    impl CredentialSource for Keys {
        fn load(&self) -> Result<LoadedCredential, NoCredential> {
            Ok(credential("the-present-one"))
        }

        fn generation(&self) -> u64 {
            1
        }

        fn rotation(&self) -> Option<&dyn CredentialRotation> {
            Some(self)
        }
    }

    impl CredentialRotation for Keys {
        fn staged(&self) -> Option<LoadedCredential> {
            Some(credential("one-that-is-staged"))
        }

        fn stage(&self, _: &Token) -> Result<(), RotationFault> {
            Ok(())
        }

        fn promote(&self, _: &Token) -> Result<(), RotationFault> {
            Ok(())
        }

        fn discard(&self, _: &Token) -> Result<(), RotationFault> {
            Ok(())
        }

        fn set_aside(&self, _: &Token) {}
    }

    #[test]
    fn each_key_is_covered_once_it_is_known_those_of_a_rotation_too() {
        let secrets = Secrets::default();
        let source = covered(Keys, &secrets);
        let redaction = secrets.redaction(None);
        let said = "the-present-one one-that-is-staged one-that-was-offered";
        assert_eq!(redaction.text(said), said);
        source.load().unwrap();
        let rotation = source.rotation().unwrap();
        rotation.staged().unwrap();
        rotation
            .stage(&Token::parse("one-that-was-offered").unwrap())
            .unwrap();
        assert_eq!(redaction.text(said), ["[redacted:agent-key]"; 3].join(" "));
    }

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
