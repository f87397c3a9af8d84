use std::fmt;
use std::time::SystemTime;

use crate::disk::{Steady, SystemDisk};
use crate::home::Home;
use crate::key_source::{HomeKeys, KeySources};
use crate::load::{Credential, LoadOutcome, load_on, open, read_config};
use crate::lock::SaveLock;
use crate::machine::MachineFacts;
use crate::recover::{Recovery, recover_on};
use crate::save::{Save, SaveOptions, Saved};
use crate::save_error::SaveError;
use crate::seal::SealMode;
use crate::unreadable::Unreadable;

/// What a start found, and what it did to the files of an older agent.
#[derive(Debug)]
#[must_use = "it holds the credential to start with"]
#[non_exhaustive]
pub struct Migration {
    /// What the home holds, to start with. The key of an older agent is here even where it could not be sealed anew.
    pub outcome: LoadOutcome,
    /// What was brought to its end first.
    pub recovery: Recovery,
    /// What became of an older agent's file.
    pub step: MigrationStep,
}

/// What became of an older agent's file. `Display` is one line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MigrationStep {
    /// There is none: the files are those of agent 3.3 or our own, plaintext that was chosen, unreadable, or absent. Nothing was
    /// written.
    NotNeeded,
    /// It was sealed anew under the keyfile.
    Done {
        /// How it was kept before.
        from: Generation,
        /// What the save did.
        saved: Saved,
    },
    /// It could not be sealed anew, and is as it was. The key that was read serves all the same.
    Failed {
        /// How it is kept.
        from: Generation,
        /// Why it stays so.
        why: SaveError,
    },
}

/// How an older agent kept its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Generation {
    /// In the clear, as agents up to 2.4 and the recovery recipe did.
    Plaintext,
    /// Under the machine key of agent 2.0 to 3.2.
    MachineKey,
}

impl Generation {
    fn of(outcome: &LoadOutcome) -> Option<Self> {
        match outcome {
            LoadOutcome::Plaintext { chosen: false, .. } => Some(Self::Plaintext),
            LoadOutcome::Ready(credential) if credential.seal.mode == SealMode::MachineKey => {
                Some(Self::MachineKey)
            }
            LoadOutcome::Plaintext { chosen: true, .. }
            | LoadOutcome::Ready(_)
            | LoadOutcome::Absent
            | LoadOutcome::Refused(_) => None,
        }
    }

    fn how(self) -> &'static str {
        match self {
            Self::Plaintext => "unsealed in agent.json",
            Self::MachineKey => "under the machine key of an older agent",
        }
    }
}

impl MigrationStep {
    /// What to do next, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotNeeded => None,
            Self::Done { from, .. } => Some(
                match from {
                    Generation::Plaintext => {
                        "if others may have read agent.json or a backup of it, run `askalf-agent pair` with a new key"
                    }
                    Generation::MachineKey => {
                        "run `askalf-agent pair` with a new key: what this one lay under can be guessed, so any copy of the \
                         old agent.json gives it away"
                    }
                }
                .into(),
            ),
            Self::Failed { why, .. } => Some(why.hint()),
        }
    }
}

impl fmt::Display for MigrationStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNeeded => f.write_str("agent.json is left as it is"),
            Self::Done { from, .. } => {
                write!(
                    f,
                    "the key lay {}: it is sealed under the keyfile now",
                    from.how()
                )
            }
            Self::Failed { from, why } => write!(
                f,
                "the key lies {} and could not be sealed under the keyfile, so the agent runs with it as it is: {why}",
                from.how()
            ),
        }
    }
}

/// What a daemon does at its start instead of [`load`](crate::load): [`recover`](crate::recover), then a load, then, for a file
/// of an older agent alone, one save that seals its key under the keyfile, with every unknown field kept.
///
/// A file of agent 3.3 or our own, and plaintext that was chosen, are read and nothing is written. Where the save fails, on a
/// disk that is full or read-only, the key that was read is returned all the same. Reading what a machine key sealed costs up to
/// [`MAX_MACHINE_IDS`](crate::MAX_MACHINE_IDS) derivations.
pub fn migrate(home: &Home, machine: &MachineFacts, now: SystemTime) -> Migration {
    let keys = KeySources::default().machine(machine.clone());
    migrate_with(home, now, &SaveOptions::default().keys(keys))
}

/// [`migrate`] with options; [`KeySources::machine`] holds the facts of the machine.
pub fn migrate_with(home: &Home, now: SystemTime, options: &SaveOptions) -> Migration {
    migrate_on(&Steady(&SystemDisk), home, now, options)
}

pub(crate) fn migrate_on(
    disk: &Steady<'_>,
    home: &Home,
    now: SystemTime,
    options: &SaveOptions,
) -> Migration {
    // An older agent's keys play no part in what acts of this format leave behind.
    let mut ours = options.clone();
    ours.keys.machine = None;
    let recovery = recover_on(disk, home, now, &ours);

    let load_options = options.load_options();
    let keys = HomeKeys {
        disk,
        home,
        sources: &load_options.keys,
    };
    let (outcome, step) = match read_config(disk, &home.config_path()) {
        Ok(Some(bytes)) => {
            let outcome = open(&bytes, &keys, &load_options);
            let step = match (Generation::of(&outcome), &outcome) {
                (Some(from), LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. }) => {
                    match seal_anew(disk, home, now, options, credential, &bytes) {
                        Ok(Some(saved)) => MigrationStep::Done { from, saved },
                        Ok(None) => MigrationStep::NotNeeded,
                        Err(why) => MigrationStep::Failed { from, why },
                    }
                }
                _ => MigrationStep::NotNeeded,
            };
            (Some(outcome), step)
        }
        Ok(None) | Err(_) => (None, MigrationStep::NotNeeded),
    };
    // What is left is read without the machine: nothing that it could unseal is there, and each look costs derivations.
    let stands = matches!(
        (&outcome, &step),
        (Some(_), MigrationStep::Failed { .. })
            | (Some(LoadOutcome::Refused(Unreadable::MachineKey { .. })), _)
    );
    Migration {
        outcome: outcome
            .filter(|_| stands)
            .unwrap_or_else(|| load_on(disk, home, &ours.load_options())),
        recovery,
        step,
    }
}

/// `None` if another process replaced the file meanwhile.
fn seal_anew(
    disk: &Steady<'_>,
    home: &Home,
    now: SystemTime,
    options: &SaveOptions,
    credential: &Credential,
    bytes: &[u8],
) -> Result<Option<Saved>, SaveError> {
    home.create_on(disk)?;
    let lock = SaveLock::hold(disk, home, options.lock_wait)?;
    match read_config(disk, &home.config_path()) {
        Ok(Some(present)) if present.as_slice() == bytes => {}
        _ => return Ok(None),
    }
    Save {
        disk,
        home,
        token: &credential.token,
        config: &credential.config,
        mode: SealMode::Keyfile,
        now,
        options,
        known: Some(bytes),
    }
    .run_locked(&lock)
    .map(Some)
}
