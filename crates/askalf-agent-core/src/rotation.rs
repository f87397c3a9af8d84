//! Where the driver keeps a key that the bridge has offered in the place of the present one.

use std::fmt;

use askalf_bridge_auth::Token;

use crate::LoadedCredential;

/// Keeps the key of a rotation beside the present one until the bridge has confirmed it. The binary adapts `agent.json.next`
/// to it; nothing here writes a file.
///
/// The methods are called on a blocking thread, one after the other.
pub trait CredentialRotation: Send + Sync {
    /// The staged key, if there is one that can be read and was not set aside: it is presented before the present one.
    fn staged(&self) -> Option<LoadedCredential>;

    /// Puts `key` beside the present one, durably, in the place of any that was staged before. The present one stays.
    ///
    /// # Errors
    /// [`RotationFault`]: the present key is untouched; an earlier staged one may be gone.
    fn stage(&self, key: &Token) -> Result<(), RotationFault>;

    /// Puts the staged `key` in the place of the present one, durably.
    ///
    /// # Errors
    /// [`RotationFault`]: both are where they were.
    fn promote(&self, key: &Token) -> Result<(), RotationFault>;

    /// Removes the staged `key`, which the bridge does not take. [`CredentialRotation::staged`] does not yield it again in this
    /// process, whatever comes of the removal.
    ///
    /// # Errors
    /// [`RotationFault`]: it could not be removed.
    fn discard(&self, key: &Token) -> Result<(), RotationFault>;

    /// Leaves the staged `key` where it is, and does not yield it again in this process: nothing certain is known of it.
    fn set_aside(&self, key: &Token);
}

/// Why a step of a rotation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationFault {
    /// Stable id.
    pub id: String,
    /// What is wrong, for a person.
    pub problem: String,
    /// What to do next, for a person.
    pub hint: String,
    /// Whether the same step can never succeed, such as where nothing is staged any more.
    pub lasting: bool,
}

impl fmt::Display for RotationFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.problem)
    }
}

impl std::error::Error for RotationFault {}
