//! Rotations of device keys over the devices' own connections.

use askalf_bridge_auth::UnixMillis;
use async_trait::async_trait;

use super::{NewKey, Principal, StoreError};

/// How far rotations are. Each method that changes something is one transaction, and adds its act to the trail in it.
///
/// The order keeps a device in, whatever dies: the new key is good from the stage on, the old one until the confirmation.
#[async_trait]
pub trait RotationStore: Send + Sync {
    /// Begins a rotation: adds the new key, bound to the device, and binds the old one to it, so that either is the same
    /// device. Name, user and lifetime are the old key's; the scope is `device`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] of the device or the old key; [`StoreError::Conflict`] where the prefix of the new key is taken
    /// (draw another); [`StoreError::Invalid`] where a rotation of the device is under way, or the old key is revoked, expired or
    /// an operator's; [`StoreError::Unavailable`].
    async fn stage_rotation(&self, who: &Principal, new: NewRotation) -> Result<Rotation, StoreError>;

    /// The rotation that is open for a device which has registered with `key_id`: one that is staged, or the committed one
    /// that made `key_id`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn open_rotation(&self, device_id: &str, key_id: &str) -> Result<Option<Rotation>, StoreError>;

    /// Notes that the device `who` has the new key on its disk.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn rotation_stored(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError>;

    /// Makes the new key, which `who` came with, the one of the device. Again is harmless. A registration with the new key
    /// does the same.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the key of `who` is not the new one of this rotation, or the rotation has ended without
    /// it; [`StoreError::Unavailable`].
    async fn commit_rotation(
        &self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<Rotation, StoreError>;

    /// Ends a committed rotation, once the device has the new key in the place of the old one: the old one is revoked. Again
    /// is harmless.
    ///
    /// # Errors
    /// As [`RotationStore::commit_rotation`].
    async fn confirm_rotation(
        &self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<Rotation, StoreError>;

    /// Ends a rotation that is no further than staged, and revokes its new key. `None` where it is not staged: then nothing
    /// is changed. A device ends its own alone.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn end_rotation(
        &self,
        who: &Principal,
        id: &str,
        end: RotationEnd,
        now: UnixMillis,
    ) -> Result<Option<Rotation>, StoreError>;

    /// Rotations that are still staged though they were before `staged_before`, at most 100.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn overdue_rotations(&self, staged_before: UnixMillis) -> Result<Vec<Rotation>, StoreError>;

    /// The rotations within the principal's reach, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn rotations(&self, who: &Principal, limit: u32) -> Result<Vec<Rotation>, StoreError>;

    /// When those of the keys `ids` were made that no rotation was to replace since `tried_after`. At most 1,000 ids at once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn keys_made_at(
        &self,
        ids: &[String],
        tried_after: UnixMillis,
    ) -> Result<Vec<(String, UnixMillis)>, StoreError>;
}

/// How long a rotation that has ended stays in the listing, in milliseconds: 400 days.
pub const ROTATION_KEPT_MS: i64 = 400 * 24 * 60 * 60 * 1000;

/// A rotation to begin.
#[derive(Debug, Clone)]
pub struct NewRotation {
    /// Its id.
    pub id: String,
    /// The device.
    pub device_id: String,
    /// The key that the device uses.
    pub old_key_id: String,
    /// The new key. What the old one decides is not read: user, name, scopes, device, end.
    pub key: NewKey,
    /// How many before it were lost on their way, and this one too: 1 for the first.
    pub attempt: u32,
    /// Now.
    pub staged_at: UnixMillis,
}

/// How a rotation ends without the new key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationEnd {
    /// The device said why.
    Failed(String),
    /// The bridge gave it up.
    Dropped(&'static str),
}

impl RotationEnd {
    /// The state that the rotation is in then.
    pub fn state(&self) -> RotationState {
        match self {
            Self::Failed(_) => RotationState::Failed,
            Self::Dropped(_) => RotationState::Dropped,
        }
    }

    /// Why, for a person.
    pub fn reason(&self) -> &str {
        match self {
            Self::Failed(reason) => reason,
            Self::Dropped(reason) => reason,
        }
    }
}

/// A rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Its id: `rot_` and a ULID.
    pub id: String,
    /// The device.
    pub device_id: String,
    /// The key before.
    pub old_key_id: String,
    /// The key after.
    pub new_key_id: String,
    /// How far it is.
    pub state: RotationState,
    /// See [`NewRotation::attempt`].
    pub attempt: u32,
    /// Who began it: [`Principal`] as text.
    pub by: String,
    /// Why it ended without the new key.
    pub reason: Option<String>,
    /// When the new key was made.
    pub staged_at: UnixMillis,
    /// When the device had it on its disk.
    pub stored_at: Option<UnixMillis>,
    /// When it became the device's.
    pub committed_at: Option<UnixMillis>,
    /// When it was confirmed, failed or dropped.
    pub ended_at: Option<UnixMillis>,
}

/// How far a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationState {
    /// The new key was made and sent. Both are good; the device has the old one.
    Staged,
    /// The new key is the device's. Both are good.
    Committed,
    /// The device has the new key in the place of the old one, which is revoked.
    Confirmed,
    /// The device did not take the new key, which is revoked.
    Failed,
    /// The bridge gave up before the device had proved the new key, which is revoked.
    Dropped,
}

impl RotationState {
    /// The state as the table holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Committed => "committed",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }

    /// The state that a word of the table stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [
            Self::Staged,
            Self::Committed,
            Self::Confirmed,
            Self::Failed,
            Self::Dropped,
        ]
        .into_iter()
        .find(|state| state.as_str() == word)
    }
}
