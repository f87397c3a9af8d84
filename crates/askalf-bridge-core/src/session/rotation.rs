//! What a device says of a rotation of its key.

use std::sync::Arc;

use askalf_proto::{AgentMessage, BridgeMessage, CredentialCommitted, CredentialFailed, Feature};

use super::conversation::Conversation;
use crate::rotation;
use crate::stores::{Principal, RotationEnd, RotationState, StoreError};

const NO_REASON: &str = "the device did not say why";

impl Conversation {
    /// Goes on with a rotation that was open when the device registered.
    pub(super) async fn take_up_rotation(&self) {
        // At most two are open: one that was begun for a key which the device has not come back with, and its own.
        if self.take_up_one().await {
            self.take_up_one().await;
        }
    }

    /// Whether there was one, which is open no more.
    async fn take_up_one(&self) -> bool {
        let Some(device) = &self.device else { return false };
        let key_id = self.link.key_id();
        let rotation = match self.core.store.open_rotation(&device.id, key_id).await {
            Ok(Some(rotation)) => rotation,
            Ok(None) => return false,
            Err(error) => {
                tracing::warn!(device = device.id, error = %error, "rotations were not looked up");
                return false;
            }
        };
        let rotates = device.features.contains(Feature::Rotation);
        if rotation.state == RotationState::Staged {
            let is_foreign = rotation.old_key_id != key_id;
            rotation::begin_again(&self.core, rotation, key_id, rotates).await;
            return is_foreign;
        }
        self.say_online(&device.id).await;
        if rotates {
            self.say_committed(rotation.id);
        }
        false
    }

    /// The session of the old key may have ended while this one registered, and have said last that the device is gone.
    async fn say_online(&self, device_id: &str) {
        let core = &self.core;
        let _turn = core.device_turns.of(device_id).await;
        let current = core.hub.of_device(device_id);
        if current.is_some_and(|link| link.number() == self.link.number()) {
            let who = Principal::device(&self.key);
            if let Err(error) = core.store.reconnect_device(&who, device_id, core.now()).await {
                tracing::warn!(device = device_id, error = %error, "a device was not marked as there");
            }
        }
    }

    /// Takes the proof of a new key, on a connection that carries it.
    pub(super) async fn prove(&mut self, rotation_id: &str) {
        let who = Principal::device(&self.key);
        let core = Arc::clone(&self.core);
        match core.store.commit_rotation(&who, rotation_id, core.now()).await {
            Ok(rotation) => {
                tracing::info!(
                    device = rotation.device_id,
                    rotation = rotation.id,
                    "a new key was proved"
                );
                self.say_committed(rotation.id);
            }
            // Given up meanwhile: the next check of its key says so.
            Err(StoreError::NotFound(_)) => {
                tracing::warn!(session = self.link.number(), "a proof is of no open rotation");
                self.unavailable();
            }
            Err(error) => {
                tracing::error!(session = self.link.number(), error = %error, "a new key cannot be committed");
                self.unavailable();
            }
        }
    }

    /// Takes what a registered device says of its rotation.
    pub(super) async fn rotation(&mut self, message: AgentMessage) {
        let Some(device) = &self.device else { return };
        let (core, who, now) = (&self.core, &device.who, self.core.now());
        let told = match message {
            AgentMessage::CredentialStaged(staged) => {
                core.store.rotation_stored(who, &staged.rotation_id, now).await
            }
            AgentMessage::CredentialFailed(CredentialFailed { rotation_id, reason }) => {
                let reason =
                    reason.map_or_else(|| NO_REASON.to_owned(), |reason| askalf_proto::one_line(&reason));
                rotation::end(core, who, &rotation_id, RotationEnd::Failed(reason))
                    .await
                    .map(drop)
            }
            AgentMessage::CredentialPromoted(promoted) => {
                let confirmed = core.store.confirm_rotation(who, &promoted.rotation_id, now).await;
                confirmed.map(|rotation| {
                    tracing::info!(
                        device = device.id,
                        rotation = rotation.id,
                        "a rotation was confirmed"
                    );
                    core.key_revoked(&rotation.old_key_id);
                })
            }
            _ => Ok(()),
        };
        match told {
            Ok(()) => {}
            Err(StoreError::NotFound(_)) => {
                tracing::debug!(device = device.id, "a message is of no open rotation");
            }
            // Asked again at the next registration, or given up in time.
            Err(error) => {
                tracing::warn!(device = device.id, error = %error, "the state of a rotation was not recorded");
            }
        }
    }

    fn say_committed(&self, rotation_id: String) {
        self.tell(BridgeMessage::CredentialCommitted(CredentialCommitted {
            rotation_id,
        }));
    }
}
