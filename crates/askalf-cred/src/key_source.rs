use crate::key_fault::KeyFault;
use crate::seal::{SealKey, SealMode};

/// Where the key that seals a credential comes from. The [`Keyfile`](crate::Keyfile) is the only one.
pub trait KeySource {
    /// What `_seal.mode` records for it.
    fn mode(&self) -> SealMode;

    /// Reads the key. Never makes one, and writes nothing.
    ///
    /// # Errors
    /// [`KeyFault`] says why there is no key to be had.
    fn read(&self) -> Result<SealKey, KeyFault>;
}
