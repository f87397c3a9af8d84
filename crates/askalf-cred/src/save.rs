use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use askalf_bridge_auth::Token;

use crate::aside;
use crate::config::AgentConfig;
use crate::disk::{Disk, Kind, Steady, SystemDisk};
use crate::home::Home;
use crate::io_fault::IoFault;
use crate::kdf::Kdf;
use crate::key_fault::KeyFault;
use crate::key_source::KeySources;
use crate::keyfile::{Guard, StagedKeyfile, read_key};
use crate::load::{LoadOptions, LoadOutcome, load_on, read_config};
use crate::lock::SaveLock;
use crate::rotate::settle;
use crate::save_error::SaveError;
use crate::seal::{KeyId, SealKey, SealMode, looks_sealed};
use crate::staged_config::NewConfig;
use crate::staging::{Staged, sweep};
use crate::unreadable::Unreadable;

/// How often a save starts again because another process made the keyfile first.
const ATTEMPTS: usize = 3;

/// How a save differs from the default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SaveOptions {
    /// Saves a key of unknown shape although it has the form of sealed text, and marks it so that a load takes it. Default:
    /// no.
    pub opaque_key: bool,
    /// How long to wait while another process saves, in steps of 10 ms. Default: 5 s.
    pub lock_wait: Duration,
    /// Where a key may come from beside the keyfile. Default: nowhere.
    pub keys: KeySources,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self {
            opaque_key: false,
            lock_wait: Duration::from_secs(5),
            keys: KeySources::default(),
        }
    }
}

impl SaveOptions {
    /// These options with [`SaveOptions::opaque_key`] as given.
    pub fn opaque_key(mut self, allowed: bool) -> Self {
        self.opaque_key = allowed;
        self
    }

    /// These options with [`SaveOptions::lock_wait`] as given.
    pub fn lock_wait(mut self, wait: Duration) -> Self {
        self.lock_wait = wait;
        self
    }

    /// These options with [`SaveOptions::keys`] as given.
    pub fn keys(mut self, keys: KeySources) -> Self {
        self.keys = keys;
        self
    }

    /// How the file in place is read before it is replaced.
    pub(crate) fn load_options(&self) -> LoadOptions {
        LoadOptions::default()
            .opaque_key(self.opaque_key)
            .keys(self.keys.clone())
    }
}

/// What a save did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// The key that the credential is sealed under; `None` for plaintext.
    pub key_id: Option<KeyId>,
    /// A new keyfile was made.
    pub new_keyfile: bool,
    /// The unreadable files that were in the way, each under its new name. For the person to see.
    pub moved_aside: Vec<MovedAside>,
    /// The credential is in place, but the folder could not be synced at the very end: a power cut within the next seconds may
    /// bring the old one back. For a warning.
    pub unsynced: Option<IoFault>,
}

/// An unreadable file that was kept under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MovedAside {
    /// Its old name.
    pub from: PathBuf,
    /// Its new name, in the same folder.
    pub to: PathBuf,
    /// Why it could not be read.
    pub why: Unreadable,
}

/// Saves a credential: the one way by which agent.json and keyfile are ever written.
///
/// The new file is written beside the old one, synced, read back and unsealed before it takes the old one's place, so a crash,
/// a full disk or a failed call leaves the old credential or the new one, whole. An old file that cannot be read is moved
/// aside, named and dated by `now`. Makes the home folder and the keyfile where there is none. A process that saves at the
/// same time is waited for.
///
/// # Errors
/// [`SaveError`]; the file that was there before is then whole and in place, except for [`SaveError::Stranded`], which
/// names where it is.
pub fn save(
    home: &Home,
    token: &Token,
    config: &AgentConfig,
    mode: SealMode,
    now: SystemTime,
) -> Result<Saved, SaveError> {
    save_with(home, token, config, mode, now, &SaveOptions::default())
}

/// [`save`] with options.
///
/// # Errors
/// As [`save`].
pub fn save_with(
    home: &Home,
    token: &Token,
    config: &AgentConfig,
    mode: SealMode,
    now: SystemTime,
    options: &SaveOptions,
) -> Result<Saved, SaveError> {
    Save {
        disk: &Steady(&SystemDisk),
        home,
        token,
        config,
        mode,
        now,
        options,
        known: None,
    }
    .run()
}

pub(crate) struct Save<'a> {
    pub(crate) disk: &'a Steady<'a>,
    pub(crate) home: &'a Home,
    pub(crate) token: &'a Token,
    pub(crate) config: &'a AgentConfig,
    pub(crate) mode: SealMode,
    pub(crate) now: SystemTime,
    pub(crate) options: &'a SaveOptions,
    /// The bytes of the agent.json in place, if the caller has read its key: then it is replaced, not moved aside.
    pub(crate) known: Option<&'a [u8]>,
}

impl<'a> Save<'a> {
    pub(crate) fn run(&self) -> Result<Saved, SaveError> {
        if looks_sealed(self.token) && !self.options.opaque_key {
            return Err(SaveError::CiphertextAsToken);
        }
        self.home.create_on(self.disk)?;
        let lock = SaveLock::hold(self.disk, self.home, self.options.lock_wait)?;
        self.run_locked(&lock)
    }

    pub(crate) fn run_locked(&self, _lock: &SaveLock) -> Result<Saved, SaveError> {
        settle(self.disk, self.home)?;
        for _ in 0..ATTEMPTS {
            if let Some(saved) = self.attempt()? {
                sweep(self.disk, self.home);
                return Ok(saved);
            }
        }
        Err(SaveError::Busy {
            path: self.home.config_path(),
        })
    }

    /// `None` if a keyfile appeared meanwhile: an agent that does not know our lock made it.
    fn attempt(&self) -> Result<Option<Saved>, SaveError> {
        // All that needs room on the disk comes before anything that is in place changes.
        let unreadable = self.unreadable_config()?;
        let key = self.key()?;
        let staged = NewConfig {
            token: self.token,
            config: self.config,
            mode: self.mode,
            key: key.in_hand(),
            kdf: key.kdf(),
            replaces: None,
        }
        .stage(self.disk, self.home, &self.home.config_path())?;

        let mut undo = Undo {
            disk: self.disk,
            done: Vec::new(),
        };
        match self.commit(unreadable, &key, staged, &mut undo) {
            Ok(Some(saved)) => Ok(Some(saved)),
            Ok(None) => undo.run().map_or(Ok(None), |kept_as| {
                Err(SaveError::Stranded {
                    kept_as,
                    cause: Box::new(SaveError::Busy {
                        path: self.home.config_path(),
                    }),
                })
            }),
            Err(error) => Err(match undo.run() {
                None => error,
                Some(kept_as) => SaveError::Stranded {
                    kept_as,
                    cause: Box::new(error),
                },
            }),
        }
    }

    /// Why the agent.json in place cannot be read, if that is so and the file may be moved aside.
    fn unreadable_config(&self) -> Result<Option<Unreadable>, SaveError> {
        let path = self.home.config_path();
        match self.disk.facts_at(&path) {
            Ok(facts) if facts.kind != Kind::Regular => {
                return Err(SaveError::NotAFile {
                    path,
                    kind: facts.kind.noun(),
                });
            }
            Ok(facts) => {
                if let Some(owner) = facts.foreign_owner {
                    return Err(SaveError::ForeignOwner {
                        path,
                        owner,
                        us: self.disk.us(),
                    });
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SaveError::Io(IoFault::new("look at", &path, &error))),
        }
        if let Some(known) = self.known
            && let Ok(Some(bytes)) = read_config(self.disk, &path)
            && bytes.as_slice() == known
        {
            return Ok(None);
        }
        match load_on(self.disk, self.home, &self.options.load_options()) {
            LoadOutcome::Absent | LoadOutcome::Ready(_) | LoadOutcome::Plaintext { .. } => Ok(None),
            LoadOutcome::Refused(Unreadable::NewerVersion(format)) => Err(SaveError::NewerVersion(format)),
            LoadOutcome::Refused(Unreadable::ConfigNotAFile { path, kind }) => {
                Err(SaveError::NotAFile { path, kind })
            }
            LoadOutcome::Refused(Unreadable::ConfigIo(fault)) => Err(SaveError::Io(fault)),
            LoadOutcome::Refused(unreadable) => Ok(Some(unreadable)),
        }
    }

    fn key(&self) -> Result<PlannedKey<'a>, SaveError> {
        let keys = &self.options.keys;
        match self.mode {
            SealMode::Plaintext => Ok(PlannedKey::None),
            SealMode::Keyfile => match read_key(self.disk, &self.home.keyfile_path(), Guard::Private) {
                Ok(key) => Ok(PlannedKey::Standing { key, kdf: None }),
                Err(KeyFault::Missing { .. }) => Ok(PlannedKey::New {
                    keyfile: StagedKeyfile::write(self.disk, self.home)?,
                    replaces: None,
                }),
                Err(fault @ (KeyFault::Short { .. } | KeyFault::Long { .. })) => Ok(PlannedKey::New {
                    keyfile: StagedKeyfile::write(self.disk, self.home)?,
                    replaces: Some(fault),
                }),
                Err(fault) => Err(fault.into()),
            },
            SealMode::ServiceCredential => {
                let credential = keys
                    .service_credential
                    .as_ref()
                    .ok_or(KeyFault::NoServiceCredential)?;
                let key = credential.read_on(self.disk)?;
                Ok(PlannedKey::Standing { key, kdf: None })
            }
            SealMode::Passphrase => {
                let passphrase = keys.passphrase.as_ref().ok_or(KeyFault::NoPassphrase)?;
                let kdf = passphrase.new_kdf().ok_or(SaveError::Random)?;
                let key = passphrase.derive(&kdf).map_err(KeyFault::Kdf)?;
                Ok(PlannedKey::Standing { key, kdf: Some(kdf) })
            }
            SealMode::MachineKey => Err(SaveError::MachineKey),
        }
    }

    fn commit(
        &self,
        unreadable: Option<Unreadable>,
        key: &PlannedKey<'a>,
        staged: Staged<'a>,
        undo: &mut Undo<'a>,
    ) -> Result<Option<Saved>, SaveError> {
        let (config_path, keyfile_path) = (self.home.config_path(), self.home.keyfile_path());
        let mut moved_aside = Vec::new();
        if let Some(why) = unreadable {
            // Beside a new keyfile the old file would read as damaged, so there it goes first; otherwise the rename below
            // takes its name in one step.
            let to = match key {
                PlannedKey::New { .. } => {
                    let to = aside::move_away(self.disk, &config_path, self.now)?;
                    undo.done.push(Done::MovedAway {
                        from: config_path.clone(),
                        to: to.clone(),
                    });
                    to
                }
                PlannedKey::None | PlannedKey::Standing { .. } => {
                    let to = aside::keep_copy(self.disk, &config_path, self.now)?;
                    undo.done.push(Done::Made(to.clone()));
                    to
                }
            };
            moved_aside.push(MovedAside {
                from: config_path,
                to,
                why,
            });
        }
        if let PlannedKey::New { keyfile, replaces } = key {
            if let Some(fault) = replaces {
                let to = aside::move_away(self.disk, &keyfile_path, self.now)?;
                undo.done.push(Done::MovedAway {
                    from: keyfile_path.clone(),
                    to: to.clone(),
                });
                moved_aside.push(MovedAside {
                    from: keyfile_path.clone(),
                    to,
                    why: Unreadable::Key(fault.clone()),
                });
            }
            if !keyfile.publish()? {
                return Ok(None);
            }
            undo.done.push(Done::Made(keyfile_path));
            self.sync_folder().map_err(SaveError::Io)?;
        }
        staged.replace_target()?;
        let unsynced = self.sync_folder().err();
        undo.done.clear();
        Ok(Some(Saved {
            key_id: key.in_hand().map(SealKey::id),
            new_keyfile: matches!(key, PlannedKey::New { .. }),
            moved_aside,
            unsynced,
        }))
    }

    fn sync_folder(&self) -> Result<(), IoFault> {
        let path = self.home.path();
        self.disk
            .sync_folder(path)
            .map_err(|error| IoFault::new("sync", path, &error))
    }
}

enum PlannedKey<'a> {
    None,
    Standing {
        key: SealKey,
        /// How it was derived, for a passphrase.
        kdf: Option<Kdf>,
    },
    New {
        keyfile: StagedKeyfile<'a>,
        replaces: Option<KeyFault>,
    },
}

impl PlannedKey<'_> {
    fn in_hand(&self) -> Option<&SealKey> {
        match self {
            Self::None => None,
            Self::Standing { key, .. } => Some(key),
            Self::New { keyfile, .. } => Some(&keyfile.key),
        }
    }

    fn kdf(&self) -> Option<&Kdf> {
        match self {
            Self::Standing { kdf, .. } => kdf.as_ref(),
            Self::None | Self::New { .. } => None,
        }
    }
}

/// What a save changed before its last step, to be taken back in reverse.
struct Undo<'a> {
    disk: &'a Steady<'a>,
    done: Vec<Done>,
}

enum Done {
    /// A file got a new name. Nothing in place was sealed under a keyfile that this save made, so it may go.
    Made(PathBuf),
    MovedAway {
        from: PathBuf,
        to: PathBuf,
    },
}

impl Undo<'_> {
    /// Returns the dated name of a file that could not be brought back.
    fn run(self) -> Option<PathBuf> {
        let mut stranded = None;
        for done in self.done.into_iter().rev() {
            match done {
                Done::Made(path) => {
                    let _ = self.disk.remove(&path);
                }
                Done::MovedAway { from, to } => {
                    if !aside::bring_back(self.disk, &to, &from) {
                        stranded = Some(to);
                    }
                }
            }
        }
        stranded
    }
}
