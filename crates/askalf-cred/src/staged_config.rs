use std::path::Path;

use askalf_bridge_auth::Token;

use crate::MAX_CONFIG_BYTES;
use crate::config::AgentConfig;
use crate::disk::Steady;
use crate::document::{self, SealRecord};
use crate::home::Home;
use crate::kdf::Kdf;
use crate::key_source::InHand;
use crate::load::{LoadOptions, LoadOutcome, open};
use crate::save_error::SaveError;
use crate::seal::{SealKey, SealMode, looks_sealed, opaque_mark};
use crate::staging::Staged;

/// What goes into an agent.json, and the key to seal it under.
pub(crate) struct NewConfig<'a> {
    pub(crate) token: &'a Token,
    pub(crate) config: &'a AgentConfig,
    pub(crate) mode: SealMode,
    /// `None` for plaintext.
    pub(crate) key: Option<&'a SealKey>,
    pub(crate) kdf: Option<&'a Kdf>,
    pub(crate) replaces: Option<String>,
}

impl NewConfig<'_> {
    /// Writes the file beside `target`, and proves that it holds what it should: it is read back and unsealed.
    pub(crate) fn stage<'d>(
        &self,
        disk: &'d Steady<'d>,
        home: &Home,
        target: &Path,
    ) -> Result<Staged<'d>, SaveError> {
        let mut record = SealRecord::new(self.mode, self.key.map(SealKey::id));
        record.opaque = looks_sealed(self.token).then(|| opaque_mark(self.key, self.token));
        record.kdf = self.kdf.cloned().map(Ok);
        record.replaces.clone_from(&self.replaces);
        let sealed = self
            .key
            .map(|key| {
                key.seal(self.token.expose_secret().as_bytes())
                    .ok_or(SaveError::Random)
            })
            .transpose()?;
        let api_key = sealed.as_deref().unwrap_or(self.token.expose_secret());
        let bytes =
            document::encode(api_key, &record, self.config, MAX_CONFIG_BYTES).ok_or(SaveError::TooLarge)?;
        if document::is_too_complex(&bytes) {
            return Err(SaveError::TooComplex);
        }
        let staged = Staged::write(disk, target, &bytes)?;
        let written = staged.read_back(MAX_CONFIG_BYTES + 1)?;
        if written == bytes && self.is_in(&written, home) {
            Ok(staged)
        } else {
            Err(SaveError::ReadBack {
                path: staged.path().to_path_buf(),
            })
        }
    }

    fn is_in(&self, written: &[u8], home: &Home) -> bool {
        let keys = InHand {
            key: self.key,
            mode: self.mode,
            keyfile: home.keyfile_path(),
        };
        let credential = match open(written, &keys, &LoadOptions::default()) {
            LoadOutcome::Ready(credential) if self.mode != SealMode::Plaintext => credential,
            LoadOutcome::Plaintext {
                credential,
                chosen: true,
            } if self.mode == SealMode::Plaintext => credential,
            LoadOutcome::Ready(_)
            | LoadOutcome::Plaintext { .. }
            | LoadOutcome::Absent
            | LoadOutcome::Refused(_) => {
                return false;
            }
        };
        credential.token.ct_eq(self.token)
            && credential.seal.mode == self.mode
            && document::same_config(&credential.config, self.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SystemDisk;

    /// Beside the comparison of the bytes, which cannot tell that a file means something else than was meant.
    #[test]
    fn a_file_that_holds_something_else_is_not_the_one_that_was_meant() {
        let token = |text: &str| Token::parse(text).unwrap();
        let (meant, other) = (token("sk_live_meant"), token("sk_live_other"));
        let config = AgentConfig::default();
        let key = SealKey::from_bytes(&[7; 32]);
        let new = |token, mode, key| NewConfig {
            token,
            config: &config,
            mode,
            key,
            kdf: None,
            replaces: None,
        };
        let scratch = tempfile::tempdir().unwrap();
        let home = Home::new(scratch.path());
        let written = |new: &NewConfig<'_>| {
            let disk = Steady(&SystemDisk);
            let staged = new.stage(&disk, &home, &home.config_path()).unwrap();
            staged.read_back(MAX_CONFIG_BYTES).unwrap().to_vec()
        };
        let sealed = new(&meant, SealMode::Keyfile, Some(&key));
        let plain = new(&meant, SealMode::Plaintext, None);
        assert!(sealed.is_in(&written(&sealed), &home));
        assert!(plain.is_in(&written(&plain), &home));
        for foreign in [&plain, &new(&other, SealMode::Keyfile, Some(&key))] {
            assert!(!sealed.is_in(&written(foreign), &home));
        }
        for foreign in [&sealed, &new(&other, SealMode::Plaintext, None)] {
            assert!(!plain.is_in(&written(foreign), &home));
        }
    }
}
