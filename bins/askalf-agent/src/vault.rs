//! The agent's folder together with the keys that unseal what is in it.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use askalf_cli::{ExitCode, Failure};
use askalf_cred::{
    Home, HomeError, KeyFault, KeySources, LoadOptions, LoadOutcome, SERVICE_CREDENTIAL, SaveOptions,
    ServiceCredential, Unreadable, load_with,
};

use crate::cli::PassphraseArgs;
use crate::{environment, machine_facts, passphrase_input};

/// A home and where its keys come from.
#[derive(Debug, Clone)]
pub(crate) struct Vault {
    home: Home,
    keys: KeySources,
}

impl Vault {
    /// The folder that was named, or `~/.askalf`; with the passphrase and the service credential that were given.
    pub(crate) fn new(home: Option<PathBuf>, passphrase: &PassphraseArgs) -> Result<Self, Failure> {
        let mut keys = KeySources::default();
        let given = match (&passphrase.passphrase_file, passphrase.passphrase_fd) {
            (Some(file), _) => Some(passphrase_input::from_file(file)?),
            (None, Some(number)) => Some(passphrase_input::from_descriptor(number)?),
            (None, None) => None,
        };
        if let Some(passphrase) = given {
            keys = keys.passphrase(passphrase);
        }
        if let Some(folder) = environment::variable("CREDENTIALS_DIRECTORY").map(PathBuf::from)
            && folder.join(SERVICE_CREDENTIAL).exists()
        {
            keys = keys.service_credential(ServiceCredential::in_folder(folder));
        }
        Ok(Self {
            home: environment::home(home)?,
            keys,
        })
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) fn keys(&self) -> &KeySources {
        &self.keys
    }

    /// Makes the folder where there is none.
    pub(crate) fn create(&self) -> Result<(), Failure> {
        self.home
            .create()
            .map_err(|error: HomeError| Failure::new(exit_code(error.exit_code()), &error).hint(error.hint()))
    }

    /// What is in the folder. Files that only the facts of this machine unseal are not read: a start migrates them.
    pub(crate) fn load(&self) -> LoadOutcome {
        load_with(&self.home, &LoadOptions::default().keys(self.keys.clone()))
    }

    /// The same, and files of agents 2.0 to 3.2 too: for a person who looks, as it may take a second.
    pub(crate) fn load_any_generation(&self) -> LoadOutcome {
        match self.load() {
            LoadOutcome::Refused(Unreadable::MachineKey { .. } | Unreadable::DoesNotUnseal) => {
                let keys = self.keys.clone().machine(machine_facts::machine_facts());
                load_with(&self.home, &LoadOptions::default().keys(keys))
            }
            outcome => outcome,
        }
    }

    /// Asks for the passphrase where the folder needs one, none was given, and there is a terminal to ask at.
    pub(crate) fn unlock(self) -> Result<Self, Failure> {
        match self.load() {
            LoadOutcome::Refused(Unreadable::Key(KeyFault::NoPassphrase)) if io::stdin().is_terminal() => {
                self.ask_passphrase()
            }
            _ => Ok(self),
        }
    }

    /// Asks for a passphrase that exists already.
    pub(crate) fn ask_passphrase(mut self) -> Result<Self, Failure> {
        self.keys = self.keys.passphrase(passphrase_input::ask(false)?);
        Ok(self)
    }

    /// Asks for a new passphrase where none was given.
    pub(crate) fn with_new_passphrase(mut self) -> Result<Self, Failure> {
        if self.keys.passphrase.is_none() {
            self.keys = self.keys.passphrase(passphrase_input::ask(true)?);
        }
        Ok(self)
    }

    pub(crate) fn save_options(&self) -> SaveOptions {
        SaveOptions::default().keys(self.keys.clone())
    }
}

/// The exit code of an error of the credential library.
pub(crate) fn exit_code(number: u8) -> ExitCode {
    [ExitCode::TryAgain, ExitCode::Permission, ExitCode::Configuration]
        .into_iter()
        .find(|code| code.number() == number)
        .unwrap_or(ExitCode::Failed)
}
