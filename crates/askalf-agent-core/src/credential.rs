//! Where the driver gets its token from.

use std::fmt;
use std::sync::Arc;

use askalf_bridge_auth::Token;

use crate::{CredentialRotation, Route};

/// Yields the device's credential. The binary adapts the sealed file to it; nothing here reads a file.
///
/// The methods are called on a blocking thread.
pub trait CredentialSource: Send + Sync {
    /// Reads the credential as it is now.
    ///
    /// # Errors
    /// [`NoCredential`] says why there is none.
    fn load(&self) -> Result<LoadedCredential, NoCredential>;

    /// A number that changes whenever [`CredentialSource::load`] might yield something else. Cheap: it is asked
    /// for every second while the agent waits for a new credential.
    fn generation(&self) -> u64;

    /// Where the key of a rotation is kept; `None` where this source cannot keep one.
    fn rotation(&self) -> Option<&dyn CredentialRotation>;
}

/// A credential with the number under which it was read.
#[derive(Debug, Clone)]
pub struct LoadedCredential {
    /// The token to present.
    pub token: Token,
    /// The bridge to present it to, as configured (`http(s)://` or `ws(s)://`).
    pub url: String,
    /// Whether the token may cross a network in plain text on its way there.
    pub insecure: bool,
    /// The way to the bridge.
    pub route: Arc<Route>,
    /// See [`CredentialSource::generation`].
    pub generation: u64,
}

/// Why there is no credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCredential {
    /// What it means for the agent.
    pub kind: NoCredentialKind,
    /// Stable id of the outcome, shown as the state's reason.
    pub id: String,
    /// What is wrong, for a person.
    pub problem: String,
    /// What to do next, for a person.
    pub hint: String,
    /// See [`CredentialSource::generation`].
    pub generation: u64,
}

/// What a missing credential means for the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCredentialKind {
    /// There never was one: `unpaired`.
    Absent,
    /// There is one that cannot be read: `repair_required`.
    Unreadable,
    /// The device stands in the way (keyfile missing, wrong owner or mode, disk): `local_fault`.
    LocalFault,
}

impl fmt::Display for NoCredential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.problem)
    }
}
