//! The steps of a rotation of the key as the machine asks for them: files on a blocking thread, the proof beside everything else.

use std::sync::Arc;

use askalf_bridge_auth::Token;
use askalf_proto::CredentialRotate;
use tokio::task::JoinSet;
use tracing::warn;

use super::event_loop::{Answer, EventLoop};
use super::prove::prove;
use crate::machine::{Event, Proof};
use crate::{CredentialRotation, RotationFault};

/// The staged key, and its proof under way. Dropped, the proof is given up.
#[derive(Default)]
pub(super) struct Rotating {
    staged: Option<Token>,
    proofs: JoinSet<Event>,
}

impl Rotating {
    /// A key that an earlier process has staged.
    pub(super) fn found(&mut self, token: &Token) {
        self.staged = Some(token.clone());
    }

    /// What came of a proof. Cancel-safe. `None` where none is under way.
    pub(super) async fn proved(&mut self) -> Option<Event> {
        loop {
            // A proof that panicked tells nothing; the bridge ends its rotation, and a restart tries the key again.
            if let Ok(event) = self.proofs.join_next().await? {
                return Some(event);
            }
        }
    }
}

impl EventLoop {
    pub(super) fn stage_credential(&mut self, offer: CredentialRotate) {
        let CredentialRotate { rotation_id, key, .. } = offer;
        let token = match Token::parse(key.expose_secret()) {
            Ok(token) if token.header_value().is_ok() => token,
            _ => {
                let staged = Err(not_a_key());
                return self.tell(Event::CredentialStaged { rotation_id, staged });
            }
        };
        if let Some(target) = &mut self.target {
            target.cleaner = target.cleaner.clone().and(token.clone());
        }
        self.rotating.staged = Some(token.clone());
        let id = rotation_id.clone();
        let failed = Event::CredentialStaged {
            rotation_id,
            staged: Err(lost()),
        };
        self.on_rotation(failed, move |rotation| Event::CredentialStaged {
            rotation_id: id,
            staged: rotation.and_then(|rotation| rotation.stage(&token)),
        });
    }

    pub(super) fn prove_credential(&mut self, rotation_id: String) {
        let target = match (&self.target, &self.rotating.staged) {
            (Some(target), Some(token)) => target.with_key(token, &self.options.facts).ok(),
            _ => None,
        };
        let (dialer, timings) = (Arc::clone(&self.dialer), self.options.timings.clone());
        self.rotating.proofs.spawn(async move {
            let proof = match target {
                Some(target) => prove(&*dialer, &target, &rotation_id, &timings).await,
                None => Proof::Undecided {
                    problem: "there is no key to prove".to_owned(),
                },
            };
            Event::CredentialProved { rotation_id, proof }
        });
    }

    pub(super) fn promote_credential(&mut self) {
        let staged = self.rotating.staged.clone();
        self.on_rotation(Event::CredentialPromoted(Err(lost())), move |rotation| {
            Event::CredentialPromoted(rotation.and_then(|rotation| {
                let token = staged.ok_or_else(nothing_staged)?;
                rotation.promote(&token)
            }))
        });
    }

    pub(super) fn drop_staged_credential(&mut self, keep_file: bool) {
        let staged = self.rotating.staged.take();
        self.on_rotation(Event::StagedCredentialDropped, move |rotation| {
            if let (Ok(rotation), Some(token)) = (rotation, staged) {
                if keep_file {
                    rotation.set_aside(&token);
                } else if let Err(fault) = rotation.discard(&token) {
                    warn!("the staged key cannot be removed: {fault}. {}", fault.hint);
                }
            }
            Event::StagedCredentialDropped
        });
    }

    fn on_rotation(
        &mut self,
        failed: Event,
        step: impl FnOnce(Result<&dyn CredentialRotation, RotationFault>) -> Event + Send + 'static,
    ) {
        let credentials = Arc::clone(&self.credentials);
        self.ask(Answer::Rotation(failed), move || {
            let rotation = credentials.rotation().ok_or_else(cannot_rotate);
            Answer::Rotation(step(rotation))
        });
    }
}

fn fault(id: &str, problem: &str, hint: &str, lasting: bool) -> RotationFault {
    RotationFault {
        id: id.to_owned(),
        problem: problem.to_owned(),
        hint: hint.to_owned(),
        lasting,
    }
}

fn not_a_key() -> RotationFault {
    fault(
        "rotation-not-a-key",
        "what the bridge sent is not a key",
        "check that bridge and agent are of the same version",
        true,
    )
}

fn cannot_rotate() -> RotationFault {
    fault(
        "rotation-not-kept",
        "this agent has nowhere to keep a new key",
        "rotate its key by hand: 'askalf-bridge keys rotate', then 'askalf-agent pair'",
        true,
    )
}

fn nothing_staged() -> RotationFault {
    fault(
        "rotation-nothing-staged",
        "no new key is staged",
        "rotate the key again",
        true,
    )
}

fn lost() -> RotationFault {
    fault(
        "rotation-step-lost",
        "keeping the new key failed within the agent",
        "see the agent's log",
        false,
    )
}
