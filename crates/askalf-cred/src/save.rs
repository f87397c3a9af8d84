use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use askalf_bridge_auth::Token;

use crate::MAX_CONFIG_BYTES;
use crate::aside;
use crate::config::AgentConfig;
use crate::disk::{Disk, Kind, Steady, SystemDisk};
use crate::document::{self, SealRecord};
use crate::home::Home;
use crate::io_fault::IoFault;
use crate::key_fault::KeyFault;
use crate::key_source::KeySource;
use crate::keyfile::{Keyfile, StagedKeyfile};
use crate::load::{LoadOptions, LoadOutcome, load_on, open};
use crate::lock::SaveLock;
use crate::save_error::SaveError;
use crate::seal::{KeyId, SealKey, SealMode, looks_sealed, opaque_mark};
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
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self {
            opaque_key: false,
            lock_wait: Duration::from_secs(5),
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
}

impl<'a> Save<'a> {
    pub(crate) fn run(&self) -> Result<Saved, SaveError> {
        if looks_sealed(self.token) && !self.options.opaque_key {
            return Err(SaveError::CiphertextAsToken);
        }
        self.home.create_on(self.disk)?;
        let _lock = SaveLock::hold(self.disk, self.home, self.options.lock_wait)?;
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
        let staged = self.stage_config(key.in_hand())?;

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
        match load_on(
            self.disk,
            self.home,
            &LoadOptions::default().opaque_key(self.options.opaque_key),
        ) {
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
        match self.mode {
            SealMode::Plaintext => Ok(PlannedKey::None),
            SealMode::Keyfile => match Keyfile::of(self.home).on(self.disk).read() {
                Ok(key) => Ok(PlannedKey::Standing(key)),
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
        }
    }

    /// Writes the new agent.json beside the old one, and proves that it holds what it should.
    fn stage_config(&self, key: Option<&SealKey>) -> Result<Staged<'a>, SaveError> {
        let opaque = looks_sealed(self.token).then(|| opaque_mark(key, self.token));
        let record = SealRecord::new(self.mode, key.map(SealKey::id), opaque);
        let sealed = key
            .map(|key| {
                key.seal(self.token.expose_secret().as_bytes())
                    .ok_or(SaveError::Random)
            })
            .transpose()?;
        let api_key = sealed.as_deref().unwrap_or(self.token.expose_secret());
        let bytes =
            document::encode(api_key, &record, self.config, MAX_CONFIG_BYTES).ok_or(SaveError::TooLarge)?;
        let staged = Staged::write(self.disk, &self.home.config_path(), &bytes)?;
        let written = staged.read_back(MAX_CONFIG_BYTES + 1)?;
        if written == bytes && self.holds_what_was_saved(&written, key) {
            Ok(staged)
        } else {
            Err(SaveError::ReadBack {
                path: staged.path().to_path_buf(),
            })
        }
    }

    fn holds_what_was_saved(&self, written: &[u8], key: Option<&SealKey>) -> bool {
        let source = InHand {
            key,
            mode: self.mode,
            keyfile: self.home.keyfile_path(),
        };
        let credential = match open(
            written,
            &source,
            self.home.keyfile_path(),
            &LoadOptions::default(),
        ) {
            LoadOutcome::Ready(credential) if self.mode != SealMode::Plaintext => credential,
            LoadOutcome::Plaintext {
                credential,
                chosen: true,
            } if self.mode == SealMode::Plaintext => credential,
            LoadOutcome::Ready(_)
            | LoadOutcome::Plaintext { .. }
            | LoadOutcome::Absent
            | LoadOutcome::Refused(_) => {
                return false;
            }
        };
        credential.token.ct_eq(self.token)
            && credential.seal.mode == self.mode
            && document::same_config(&credential.config, self.config)
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
                PlannedKey::None | PlannedKey::Standing(_) => {
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
    Standing(SealKey),
    New {
        keyfile: StagedKeyfile<'a>,
        replaces: Option<KeyFault>,
    },
}

impl PlannedKey<'_> {
    fn in_hand(&self) -> Option<&SealKey> {
        match self {
            Self::None => None,
            Self::Standing(key) => Some(key),
            Self::New { keyfile, .. } => Some(&keyfile.key),
        }
    }
}

/// The key that a file was just sealed under, to read it back with.
struct InHand<'a> {
    key: Option<&'a SealKey>,
    mode: SealMode,
    keyfile: PathBuf,
}

impl KeySource for InHand<'_> {
    fn mode(&self) -> SealMode {
        self.mode
    }

    fn read(&self) -> Result<SealKey, KeyFault> {
        let missing = || KeyFault::Missing {
            path: self.keyfile.clone(),
        };
        self.key
            .map(|key| SealKey::from_bytes(key.bytes()))
            .ok_or_else(missing)
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
