use std::path::PathBuf;

use crate::disk::Steady;
use crate::home::Home;
use crate::kdf::{Kdf, KdfFault};
use crate::key_fault::KeyFault;
use crate::keyfile::{Guard, read_key};
use crate::machine::MachineFacts;
use crate::passphrase::Passphrase;
use crate::seal::{SealKey, SealMode};
use crate::service_credential::ServiceCredential;

/// Where the key that seals a credential comes from: [`Keyfile`](crate::Keyfile), [`ServiceCredential`], [`Passphrase`].
pub trait KeySource {
    /// What `_seal.mode` records for it.
    fn mode(&self) -> SealMode;

    /// Reads the key, for a file that records `kdf`. Never makes one, and writes nothing.
    ///
    /// # Errors
    /// [`KeyFault`] says why there is no key to be had.
    fn read(&self, kdf: Option<&Kdf>) -> Result<SealKey, KeyFault>;
}

/// What a load or a save may use beside the keyfile. The default is nothing.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct KeySources {
    /// The folder of the service manager's credentials.
    pub service_credential: Option<ServiceCredential>,
    /// The passphrase.
    pub passphrase: Option<Passphrase>,
    /// The facts of this machine, to read what agents 2.0 to 3.2 sealed. Each of up to
    /// [`MAX_MACHINE_IDS`](crate::MAX_MACHINE_IDS) ids costs 16 MiB and some 50 ms, and only where nothing else unseals: for
    /// a start, not for a loop.
    pub machine: Option<MachineFacts>,
}

impl KeySources {
    /// These sources with [`KeySources::service_credential`] as given.
    pub fn service_credential(mut self, credential: ServiceCredential) -> Self {
        self.service_credential = Some(credential);
        self
    }

    /// These sources with [`KeySources::passphrase`] as given.
    pub fn passphrase(mut self, passphrase: Passphrase) -> Self {
        self.passphrase = Some(passphrase);
        self
    }

    /// These sources with [`KeySources::machine`] as given.
    pub fn machine(mut self, machine: MachineFacts) -> Self {
        self.machine = Some(machine);
        self
    }
}

/// The keys within reach of one load.
pub(crate) trait Keys {
    fn key(&self, mode: SealMode, kdf: Option<&Result<Kdf, KdfFault>>) -> Result<SealKey, KeyFault>;

    /// The keyfile that a rotation staged.
    fn staged(&self) -> Option<SealKey> {
        None
    }

    fn machine(&self) -> Option<&MachineFacts> {
        None
    }

    /// For messages.
    fn keyfile_path(&self) -> PathBuf;
}

/// Those of a home.
pub(crate) struct HomeKeys<'a> {
    pub(crate) disk: &'a Steady<'a>,
    pub(crate) home: &'a Home,
    pub(crate) sources: &'a KeySources,
}

impl Keys for HomeKeys<'_> {
    fn key(&self, mode: SealMode, kdf: Option<&Result<Kdf, KdfFault>>) -> Result<SealKey, KeyFault> {
        match mode {
            SealMode::Keyfile | SealMode::Plaintext | SealMode::MachineKey => {
                read_key(self.disk, &self.home.keyfile_path(), Guard::Private)
            }
            SealMode::ServiceCredential => match &self.sources.service_credential {
                Some(credential) => credential.read_on(self.disk),
                None => Err(KeyFault::NoServiceCredential),
            },
            SealMode::Passphrase => {
                let passphrase = self.sources.passphrase.as_ref().ok_or(KeyFault::NoPassphrase)?;
                match kdf {
                    None => Err(KeyFault::Kdf(KdfFault::Misshapen)),
                    Some(Err(fault)) => Err(KeyFault::Kdf(*fault)),
                    Some(Ok(kdf)) => passphrase.read(Some(kdf)),
                }
            }
        }
    }

    fn staged(&self) -> Option<SealKey> {
        read_key(self.disk, &self.home.staged_keyfile_path(), Guard::Private).ok()
    }

    fn machine(&self) -> Option<&MachineFacts> {
        self.sources.machine.as_ref()
    }

    fn keyfile_path(&self) -> PathBuf {
        self.home.keyfile_path()
    }
}

/// One key, to read back what was just sealed under it.
pub(crate) struct InHand<'a> {
    pub(crate) key: Option<&'a SealKey>,
    pub(crate) mode: SealMode,
    pub(crate) keyfile: PathBuf,
}

impl Keys for InHand<'_> {
    fn key(&self, mode: SealMode, _kdf: Option<&Result<Kdf, KdfFault>>) -> Result<SealKey, KeyFault> {
        self.key
            .filter(|_| mode == self.mode)
            .map(|key| SealKey::from_bytes(key.bytes()))
            .ok_or_else(|| KeyFault::Missing {
                path: self.keyfile_path(),
            })
    }

    fn keyfile_path(&self) -> PathBuf {
        self.keyfile.clone()
    }
}
