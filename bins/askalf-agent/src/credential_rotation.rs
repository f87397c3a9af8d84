//! `agent.json.next` as the place where the driver keeps the key of a rotation.

use std::sync::PoisonError;
use std::time::SystemTime;

use askalf_agent_core::{CredentialRotation, CredentialSource, LoadedCredential, RotationFault};
use askalf_bridge_auth::Token;
use askalf_cred::{
    Credential, LoadOutcome, SaveError, SaveOptions, discard_next, load_next, promote_next, stage_next,
};

use crate::credential_file::CredentialFile;

impl CredentialRotation for CredentialFile {
    fn staged(&self) -> Option<LoadedCredential> {
        let generation = self.generation();
        let Credential { token, config, .. } = match load_next(&self.home, &self.options) {
            LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => credential,
            LoadOutcome::Absent => return None,
            LoadOutcome::Refused(unreadable) => {
                // The present key is good as long as this one was not put in its place.
                tracing::warn!("agent.json.next is not used: {unreadable}. {}", unreadable.hint());
                return None;
            }
        };
        if self.is_set_aside(&token) {
            return None;
        }
        self.fit(token, config, generation).ok()
    }

    fn stage(&self, key: &Token) -> Result<(), RotationFault> {
        if let LoadOutcome::Ready(earlier)
        | LoadOutcome::Plaintext {
            credential: earlier, ..
        } = load_next(&self.home, &self.options)
        {
            // The bridge offers another key only where this one is void, or was never the device's.
            discard_next(&self.home, &earlier.token, &self.save_options()).map_err(fault)?;
        }
        self.set_aside_only(None);
        stage_next(&self.home, key, &self.save_options()).map_err(fault)
    }

    fn promote(&self, key: &Token) -> Result<(), RotationFault> {
        let kept = promote_next(&self.home, key, SystemTime::now(), &self.save_options()).map_err(fault)?;
        if let Some(file) = kept {
            tracing::warn!(
                "the agent.json that could not be read is kept as {}",
                file.display()
            );
        }
        Ok(())
    }

    fn discard(&self, key: &Token) -> Result<(), RotationFault> {
        self.set_aside_only(Some(key));
        discard_next(&self.home, key, &self.save_options())
            .map(drop)
            .map_err(fault)
    }

    fn set_aside(&self, key: &Token) {
        self.set_aside_only(Some(key));
    }
}

impl CredentialFile {
    fn save_options(&self) -> SaveOptions {
        SaveOptions::default().keys(self.options.keys.clone())
    }

    fn is_set_aside(&self, key: &Token) -> bool {
        let set_aside = self.set_aside.lock().unwrap_or_else(PoisonError::into_inner);
        set_aside.as_ref().is_some_and(|it| it.ct_eq(key))
    }

    fn set_aside_only(&self, key: Option<&Token>) {
        *self.set_aside.lock().unwrap_or_else(PoisonError::into_inner) = key.cloned();
    }
}

fn fault(error: SaveError) -> RotationFault {
    let (problem, lasting) = match &error {
        SaveError::Absent => (
            "its key comes from the environment, where no other can be kept".to_owned(),
            true,
        ),
        SaveError::NoNext | SaveError::NextIsOther => (error.to_string(), true),
        _ => (error.to_string(), false),
    };
    RotationFault {
        id: error.id().to_owned(),
        problem,
        hint: error.hint().to_string(),
        lasting,
    }
}
