//! Rotations of device keys over the devices' own connections: who begins one, and what becomes of those that get stuck.
//!
//! The token of a new key is nowhere but in the message that carries it. Where that was lost, the key is given up, and another is
//! made once the device is back.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};
use std::time::Duration;

use askalf_bridge_auth::{Rejection, Scopes, UnixMillis, mint_key};
use askalf_proto::{BridgeMessage, CredentialRotate, Credentials};

use crate::bridge::{Core, Phase};
use crate::http::DRAWS;
use crate::ids::new_id;
use crate::link::Link;
use crate::stores::{NewKey, NewRotation, Principal, Rotation, RotationEnd, StoreError};

/// How many keys are made for a device whose message is lost each time, before the next is left to the policy or to a person.
const ATTEMPTS: u32 = 3;

/// Most rotations that one round begins, so that a fleet whose keys are all old is not a storm.
const PER_ROUND: usize = 20;

/// Keys per look-up: the most that [`keys_made_at`](crate::stores::RotationStore::keys_made_at) takes.
const BATCH: usize = 1_000;

const DEVICE_LEFT: &str = "the device left before the new key was sent";
const CAME_BACK_WITHOUT: &str = "the device came back without the new key";
const NO_ANSWER: &str = "the device did not prove the new key in time";

/// Why no rotation was begun. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RotateError {
    /// No bridge is open behind this router, so no device can be connected.
    #[error("no bridge is running that the device could be connected to")]
    BridgeUnavailable,
    /// The bridge is going down: a new key would be on its way while its session ends.
    #[error("the bridge is going down and begins no rotation")]
    Draining,
    /// The device is not connected, or left meanwhile.
    #[error("the device '{0}' is not connected")]
    DeviceOffline(String),
    /// The agent is too old.
    #[error("the agent of '{0}' cannot change its key over its connection")]
    NotSupported(String),
    /// One was begun already.
    #[error("a rotation of the key of '{0}' is under way")]
    UnderWay(String),
    /// The system's random source failed.
    #[error("no key could be made: the system's random source failed")]
    NoRandom,
    /// No prefix was free.
    #[error("no free key prefix was found")]
    NoFreePrefix,
    /// Too many keys are checked and made at once.
    #[error(transparent)]
    Busy(#[from] Rejection),
    /// The store failed, or refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RotateError {
    /// Stable name of the error.
    pub(crate) fn id(&self) -> &'static str {
        match self {
            Self::BridgeUnavailable => "bridge-unavailable",
            Self::Draining => "bridge-draining",
            Self::DeviceOffline(_) => "device-offline",
            Self::NotSupported(_) => "rotation-not-supported",
            Self::UnderWay(_) => "rotation-under-way",
            Self::NoRandom => "random-source-failed",
            Self::NoFreePrefix => "no-free-prefix",
            Self::Busy(rejection) => rejection.id(),
            Self::Store(error) => error.id(),
        }
    }

    /// What to do next.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::BridgeUnavailable => "start it with 'askalf-bridge serve', then try again",
            Self::Draining => "try again in a moment, when it or the next one is up",
            Self::DeviceOffline(_) => "start its agent with 'askalf-agent daemon', or try again later",
            Self::NotSupported(_) => {
                "upgrade the agent; or make a key with 'askalf-bridge keys rotate KEY' and take it there with 'askalf-agent \
                 pair'"
            }
            Self::UnderWay(_) => "see how it goes with 'askalf-bridge keys rotations', then try again",
            Self::NoRandom => "try again; if it stays, check that the bridge may use the getrandom call",
            Self::NoFreePrefix => "look into the bridge's log, then try again",
            Self::Busy(rejection) => rejection.hint(),
            Self::Store(error) => error.hint(),
        }
    }
}

/// Makes a new key for a connected device and sends it. `name` is what the device is called in an error.
pub(crate) async fn begin(
    core: &Core,
    who: &Principal,
    device_id: &str,
    name: &str,
    attempt: u32,
) -> Result<Rotation, RotateError> {
    match core.phase() {
        Phase::Open => {}
        Phase::Draining | Phase::Closing => return Err(RotateError::Draining),
        Phase::Idle => return Err(RotateError::BridgeUnavailable),
    }
    let offline = || RotateError::DeviceOffline(name.to_owned());
    let link = core.router.locate(device_id).await.ok_or_else(offline)?;
    if !link.rotates() {
        return Err(RotateError::NotSupported(name.to_owned()));
    }
    if core
        .store
        .open_rotation(device_id, link.key_id())
        .await?
        .is_some()
    {
        return Err(RotateError::UnderWay(name.to_owned()));
    }
    let (rotation, message) = stage(core, who, device_id, &link, attempt).await?;
    tracing::info!(device = device_id, rotation = rotation.id, by = %who, "a rotation of a key was begun");
    if link.send(&BridgeMessage::CredentialRotate(message)).is_err() {
        end(
            core,
            &Principal::Bridge,
            &rotation.id,
            RotationEnd::Dropped(DEVICE_LEFT),
        )
        .await?;
        return Err(offline());
    }
    Ok(rotation)
}

async fn stage(
    core: &Core,
    who: &Principal,
    device_id: &str,
    link: &Link,
    attempt: u32,
) -> Result<(Rotation, CredentialRotate), RotateError> {
    for _ in 0..DRAWS {
        let minted = core
            .authenticator
            .derive_within_budget(mint_key)
            .await?
            .map_err(|_| RotateError::NoRandom)?;
        let now = core.now();
        let id = |prefix| new_id(prefix, now).map_err(|_| RotateError::NoRandom);
        let new = NewRotation {
            id: id("rot_")?,
            device_id: device_id.to_owned(),
            old_key_id: link.key_id().to_owned(),
            key: NewKey {
                id: id("key_")?,
                user_id: None,
                name: String::new(),
                hash: minted.hash,
                prefix: minted.prefix.clone(),
                preview: minted.preview,
                scopes: Scopes::default(),
                device_id: None,
                expires_at: None,
                created_at: now,
            },
            attempt,
            staged_at: now,
        };
        match core.store.stage_rotation(who, new).await {
            Ok(rotation) => {
                let message = CredentialRotate {
                    rotation_id: rotation.id.clone(),
                    key: Credentials::new(minted.token.expose_secret()),
                    key_prefix: Some(minted.prefix.as_str().to_owned()),
                };
                return Ok((rotation, message));
            }
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(RotateError::NoFreePrefix)
}

/// Gives up a rotation that is no further than staged, and what stands on its key. Whether it was.
pub(crate) async fn end(
    core: &Core,
    who: &Principal,
    id: &str,
    how: RotationEnd,
) -> Result<bool, StoreError> {
    let why = how.reason().to_owned();
    let Some(rotation) = core.store.end_rotation(who, id, how, core.now()).await? else {
        return Ok(false);
    };
    tracing::warn!(
        device = rotation.device_id,
        rotation = rotation.id,
        reason = why,
        "a rotation ended without the new key"
    );
    core.key_revoked(&rotation.new_key_id);
    Ok(true)
}

/// A device has registered without the key of its staged rotation: the message is lost, and so is the key. Another is made where
/// the device still has the key that is to be replaced.
pub(crate) async fn begin_again(core: &Arc<Core>, rotation: Rotation, key_id: &str, rotates: bool) {
    match end(
        core,
        &Principal::Bridge,
        &rotation.id,
        RotationEnd::Dropped(CAME_BACK_WITHOUT),
    )
    .await
    {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            tracing::warn!(rotation = rotation.id, error = %error, "a rotation was not given up");
            return;
        }
    }
    if !rotates || rotation.old_key_id != key_id || rotation.attempt >= ATTEMPTS {
        return;
    }
    let core = Arc::clone(core);
    // Beside the session: making a key may wait for its turn, and the device must be heard meanwhile.
    tokio::spawn(async move {
        let device = &rotation.device_id;
        let again = begin(&core, &Principal::Bridge, device, device, rotation.attempt + 1);
        if let Err(error) = again.await {
            tracing::warn!(device, error = %error, "a rotation was not begun again");
        }
    });
}

/// Begins the rotations that are due and gives up those that are stuck, again and again, until the bridge is no more.
pub(crate) async fn rotate_always(core: Weak<Core>, round: Duration) {
    loop {
        tokio::time::sleep(round).await;
        let Some(core) = core.upgrade() else { return };
        if let Err(error) = give_up_overdue(&core).await {
            tracing::warn!(error = %error, "rotations that are stuck could not be given up");
        }
        if let Some(every) = core.options.rotate_every
            && core.phase() == Phase::Open
            && let Err(error) = begin_due(&core, every).await
        {
            tracing::warn!(error = %error, "keys that are due could not be looked up");
        }
    }
}

async fn give_up_overdue(core: &Core) -> Result<(), StoreError> {
    let before = ago(core.now(), core.options.rotation_timeout);
    for rotation in core.store.overdue_rotations(before).await? {
        let how = RotationEnd::Dropped(NO_ANSWER);
        end(core, &Principal::Bridge, &rotation.id, how).await?;
    }
    Ok(())
}

/// Begins the rotations of keys that are as old as the policy allows. One that did not come about is tried again after a tenth
/// of that time, a day at most.
async fn begin_due(core: &Core, every: Duration) -> Result<(), StoreError> {
    let now = core.now();
    let tried_after = ago(now, (every / 10).min(Duration::from_secs(24 * 60 * 60)));
    let links = core.hub.devices();
    let mut begun = 0;
    for batch in links.chunks(BATCH) {
        let rotating: Vec<_> = batch.iter().filter(|(_, link)| link.rotates()).collect();
        let ids: Vec<String> = rotating
            .iter()
            .map(|(_, link)| link.key_id().to_owned())
            .collect();
        let made = core.store.keys_made_at(&ids, tried_after).await?;
        for (device, link) in rotating {
            let is_due = made
                .iter()
                .any(|(id, made_at)| id == link.key_id() && due_at(id, *made_at, every) <= now);
            if !is_due {
                continue;
            }
            if begun >= PER_ROUND {
                return Ok(());
            }
            begun += 1;
            if let Err(error) = begin(core, &Principal::Bridge, device, device, 1).await {
                tracing::warn!(device, error = %error, "a key that is due was not rotated");
            }
        }
    }
    Ok(())
}

/// Between nine tenths of the time and all of it, always the same for a key, so that keys of one day are not due at once.
fn due_at(key_id: &str, made_at: UnixMillis, every: Duration) -> UnixMillis {
    let mut hasher = DefaultHasher::new();
    key_id.hash(&mut hasher);
    let share = (hasher.finish() % 1_000) as f64 / 1_000.0;
    let age = every - (every / 10).mul_f64(share);
    let millis = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    UnixMillis(made_at.0.saturating_add(millis))
}

fn ago(now: UnixMillis, span: Duration) -> UnixMillis {
    UnixMillis(
        now.0
            .saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_moment_are_due_over_the_last_tenth_of_the_time() {
        let day = Duration::from_secs(24 * 60 * 60);
        let due: Vec<_> = (0..100)
            .map(|number| due_at(&format!("key_{number}"), UnixMillis(0), day * 10).0)
            .collect();
        let days = |number: i64| number * 24 * 60 * 60 * 1000;
        assert!(due.iter().all(|at| (days(9)..=days(10)).contains(at)), "{due:?}");
        let early = due.iter().filter(|at| **at < days(9) + days(1) / 2).count();
        assert!((20..80).contains(&early), "{early} of 100 in the first half");
        assert_eq!(due[7], due_at("key_7", UnixMillis(0), day * 10).0);
    }
}
