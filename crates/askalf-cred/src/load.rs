use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use askalf_bridge_auth::Token;
use zeroize::Zeroizing;

use crate::config::AgentConfig;
use crate::disk::{Disk, Kind, Steady, SystemDisk};
use crate::document::{Document, RecordedMode, SealRecord, StoredKey};
use crate::home::Home;
use crate::io_fault::IoFault;
use crate::key_fault::KeyFault;
use crate::key_source::{HomeKeys, KeySources, Keys};
use crate::leftovers;
use crate::legacy;
use crate::lock::is_held;
use crate::seal::{Blob, KeyId, SealInfo, SealKey, SealMode, looks_sealed, opaque_mark};
use crate::stamp::stamp_on;
use crate::unreadable::{NewerFormat, Unreadable};
use crate::{EXIT_CONFIG, MAX_CONFIG_BYTES};

/// How often a file that was replaced while it was read is read again. A save takes milliseconds and a load microseconds, so a
/// second look is nearly always enough.
const ATTEMPTS: usize = 8;

/// A token that was read, with the config beside it.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The key for the bridge.
    pub token: Token,
    /// The fields of agent.json that are not secret.
    pub config: AgentConfig,
    /// How the file keeps the token.
    pub seal: SealInfo,
}

/// What a home holds.
#[derive(Debug)]
#[must_use = "a credential that cannot be read is not one that is absent"]
pub enum LoadOutcome {
    /// There is no agent.json: this device was never paired.
    Absent,
    /// A sealed credential, unsealed.
    Ready(Credential),
    /// A credential that stands in the clear.
    Plaintext {
        /// The credential.
        credential: Credential,
        /// Somebody chose plaintext, and the file says so. Otherwise an older agent or a hand wrote it.
        chosen: bool,
    },
    /// There is an agent.json, and no credential comes out of it.
    Refused(Unreadable),
}

impl LoadOutcome {
    /// The stable name of this outcome.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Ready(credential) if credential.seal.mode == SealMode::MachineKey => "ready-machine-key",
            Self::Ready(_) => "ready",
            Self::Plaintext { chosen: true, .. } => "plaintext-chosen",
            Self::Plaintext { chosen: false, .. } => "plaintext",
            Self::Refused(unreadable) => unreadable.id(),
        }
    }

    /// What to do next, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Absent => Some(
                "run `askalf-agent pair CODE --url URL` with a code that `askalf-bridge pair-code new` prints".into(),
            ),
            Self::Ready(credential) if credential.seal.mode == SealMode::MachineKey => Some(
                "run `askalf-agent pair` with a new key: this one lay under facts that can be guessed".into(),
            ),
            Self::Ready(_) | Self::Plaintext { chosen: true, .. } => None,
            Self::Plaintext { chosen: false, .. } => Some("run `askalf-agent pair` to seal a key".into()),
            Self::Refused(unreadable) => Some(unreadable.hint()),
        }
    }

    /// The exit code of a program that only looks: 0 with a credential, 78 without.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Ready(_) | Self::Plaintext { .. } => 0,
            Self::Absent => EXIT_CONFIG,
            Self::Refused(unreadable) => unreadable.exit_code(),
        }
    }
}

impl fmt::Display for LoadOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("this device is not paired: there is no agent.json"),
            Self::Ready(credential) if credential.seal.mode == SealMode::MachineKey => {
                f.write_str("the key is sealed under the machine key of an older agent, and unseals")
            }
            Self::Ready(_) => f.write_str("the key is sealed and unseals"),
            Self::Plaintext { chosen: true, .. } => {
                f.write_str("the key stands unsealed in agent.json, as was chosen")
            }
            Self::Plaintext { chosen: false, .. } => f.write_str("the key stands unsealed in agent.json"),
            Self::Refused(unreadable) => unreadable.fmt(f),
        }
    }
}

/// How a load differs from the default.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Takes a key of unknown shape although it has the form of sealed text. A key that was saved with
    /// [`SaveOptions::opaque_key`](crate::SaveOptions) needs it no more.
    pub opaque_key: bool,
    /// Where a key may come from beside the keyfile. Default: nowhere.
    pub keys: KeySources,
}

impl LoadOptions {
    /// These options with [`LoadOptions::opaque_key`] as given.
    pub fn opaque_key(mut self, allowed: bool) -> Self {
        self.opaque_key = allowed;
        self
    }

    /// These options with [`LoadOptions::keys`] as given.
    pub fn keys(mut self, keys: KeySources) -> Self {
        self.keys = keys;
        self
    }
}

/// Reads a home's credential. Writes nothing, whatever it finds.
pub fn load(home: &Home) -> LoadOutcome {
    load_with(home, &LoadOptions::default())
}

/// [`load`] with options.
pub fn load_with(home: &Home, options: &LoadOptions) -> LoadOutcome {
    load_on(&Steady(&SystemDisk), home, options)
}

pub(crate) fn load_on(disk: &Steady<'_>, home: &Home, options: &LoadOptions) -> LoadOutcome {
    let mut attempts_left = ATTEMPTS;
    loop {
        let before = stamp_on(disk, home);
        let outcome = load_once(disk, home, options);
        attempts_left -= 1;
        // A save in another process replaces two files, one after the other: what was read across that is neither state.
        let torn_apart = matches!(outcome, LoadOutcome::Absent | LoadOutcome::Refused(_))
            && stamp_on(disk, home) != before;
        if !torn_apart || attempts_left == 0 {
            return outcome;
        }
    }
}

/// The fields of agent.json that are not secret, also where its key cannot be had: what a new key is saved beside. `None` where
/// there is no file or none that can be parsed.
pub fn read_fields(home: &Home) -> Option<AgentConfig> {
    let bytes = read_config(&Steady(&SystemDisk), &home.config_path()).ok()??;
    Document::parse(&bytes).ok().map(|document| document.config)
}

fn load_once(disk: &Steady<'_>, home: &Home, options: &LoadOptions) -> LoadOutcome {
    let outcome = load_file(disk, home, &home.config_path(), options);
    let cut_off = matches!(
        outcome,
        LoadOutcome::Absent | LoadOutcome::Refused(Unreadable::ConfigEmpty | Unreadable::ConfigTorn { .. })
    );
    match cut_off
        .then(|| leftovers::whole_config(disk, home, options))
        .flatten()
    {
        // A save that is still under way was not cut off.
        Some(leftover) if !is_held(disk, home) => LoadOutcome::Refused(Unreadable::SaveCutOff {
            leftover: leftover.path,
        }),
        Some(_) | None => outcome,
    }
}

/// Reads one file that is an agent.json by its form.
pub(crate) fn load_file(disk: &Steady<'_>, home: &Home, path: &Path, options: &LoadOptions) -> LoadOutcome {
    match read_config(disk, path) {
        Ok(Some(bytes)) => open(
            &bytes,
            &HomeKeys {
                disk,
                home,
                sources: &options.keys,
            },
            options,
        ),
        Ok(None) => LoadOutcome::Absent,
        Err(unreadable) => LoadOutcome::Refused(unreadable),
    }
}

/// The bytes of an agent.json, `None` if there is none.
pub(crate) fn read_config(disk: &Steady<'_>, path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Unreadable> {
    let io = |action, error| Unreadable::ConfigIo(IoFault::new(action, path, &error));
    let not_a_file = |kind: Kind| Unreadable::ConfigNotAFile {
        path: path.to_path_buf(),
        kind: kind.noun(),
    };

    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(match disk.facts_at(path) {
                Ok(facts) if facts.kind != Kind::Regular => not_a_file(facts.kind),
                _ => io("open", error),
            });
        }
    };
    let facts = disk.facts(&file).map_err(|error| io("look at", error))?;
    if facts.kind != Kind::Regular {
        return Err(not_a_file(facts.kind));
    }
    if facts.len > MAX_CONFIG_BYTES as u64 {
        return Err(Unreadable::ConfigTooLarge);
    }
    // One byte more than it has: a file that fills that has grown since, and is read again with all the room there may be.
    let expected = usize::try_from(facts.len).unwrap_or(MAX_CONFIG_BYTES);
    for room in [expected + 1, MAX_CONFIG_BYTES + 1] {
        let mut bytes = Zeroizing::new(vec![0; room]);
        let len = disk
            .read_full(&file, &mut bytes)
            .map_err(|error| io("read", error))?;
        if len < room {
            bytes.truncate(len);
            return Ok(Some(bytes));
        }
        disk.rewind(&file).map_err(|error| io("read", error))?;
    }
    Err(Unreadable::ConfigTooLarge)
}

/// Unseals the bytes of an agent.json.
pub(crate) fn open(bytes: &[u8], keys: &dyn Keys, options: &LoadOptions) -> LoadOutcome {
    match open_document(bytes, keys, options) {
        Ok(outcome) => outcome,
        Err(unreadable) => LoadOutcome::Refused(unreadable),
    }
}

fn open_document(bytes: &[u8], keys: &dyn Keys, options: &LoadOptions) -> Result<LoadOutcome, Unreadable> {
    let Document { key, record, config } = Document::parse(bytes)?;
    let record = record.as_ref();
    match key {
        StoredKey::Plain(text) => {
            let token = accept(&text, None, record, options)?;
            let chosen = recorded_mode(record) == Some(SealMode::Plaintext);
            let seal = SealInfo {
                mode: SealMode::Plaintext,
                version: record.and_then(|record| record.version),
                key_id: None,
                stale: record.is_some() && !chosen,
            };
            Ok(LoadOutcome::Plaintext {
                credential: Credential { token, config, seal },
                chosen,
            })
        }
        StoredKey::Sealed(text) => {
            let Unsealed { plain, key, mode } = unseal(&text, record, keys)?;
            let text = str::from_utf8(&plain).map_err(|_| Unreadable::NotAToken)?;
            let token = accept(text, key.as_ref(), record, options)?;
            let key_id = key.as_ref().map(SealKey::id);
            let recorded_id = record.and_then(|record| record.key_id);
            let seal = SealInfo {
                mode,
                version: record.and_then(|record| record.version),
                key_id,
                stale: record.is_some_and(|_| recorded_mode(record) != Some(mode))
                    || recorded_id.is_some_and(|id| Some(id) != key_id),
            };
            Ok(LoadOutcome::Ready(Credential { token, config, seal }))
        }
    }
}

struct Unsealed {
    plain: Zeroizing<Vec<u8>>,
    /// `None` for a machine key.
    key: Option<SealKey>,
    mode: SealMode,
}

/// The tag decides; what `_seal` says only tells which key to try first, and explains a failure.
fn unseal(text: &str, record: Option<&SealRecord>, keys: &dyn Keys) -> Result<Unsealed, Unreadable> {
    let blob = Blob::decode(text).ok_or(Unreadable::NotSealedText)?;
    let under = |mode: SealMode, key: SealKey| {
        let plain = key.unseal(&blob)?;
        Some(Unsealed {
            plain,
            key: Some(key),
            mode,
        })
    };

    let mode = match recorded_mode(record) {
        Some(SealMode::Plaintext | SealMode::MachineKey) | None => SealMode::Keyfile,
        Some(mode) => mode,
    };
    let first = match keys.key(mode, record.and_then(|record| record.kdf.as_ref())) {
        Ok(key) => {
            let id = key.id();
            match under(mode, key) {
                Some(unsealed) => return Ok(unsealed),
                None => Ok(id),
            }
        }
        Err(fault) => Err(fault),
    };
    // A rotation of the keyfile was cut off between its two files.
    if let Some(unsealed) = keys.staged().and_then(|key| under(SealMode::Keyfile, key)) {
        return Ok(unsealed);
    }
    // An agent that knows only keyfiles rewrote the file and left `_seal` as it was.
    if mode != SealMode::Keyfile
        && let Ok(key) = keys.key(SealMode::Keyfile, None)
        && let Some(unsealed) = under(SealMode::Keyfile, key)
    {
        return Ok(unsealed);
    }
    let mut tried = 0;
    if let Some(machine) = keys.machine() {
        match legacy::unseal(machine, text) {
            Ok(plain) => {
                return Ok(Unsealed {
                    plain,
                    key: None,
                    mode: SealMode::MachineKey,
                });
            }
            Err(ids) => tried = ids,
        }
    }
    Err(explain(record, mode, first, keys, tried))
}

/// Why nothing unsealed it. `first` is the key that `_seal` leads to, or why there is none.
fn explain(
    record: Option<&SealRecord>,
    mode: SealMode,
    first: Result<KeyId, KeyFault>,
    keys: &dyn Keys,
    tried: usize,
) -> Unreadable {
    if let Some(RecordedMode::Unknown(name)) = record.map(|record| &record.mode) {
        return Unreadable::NewerVersion(NewerFormat::Mode(name.clone()));
    }
    match (first, record.and_then(|record| record.key_id)) {
        (Err(KeyFault::Missing { .. }), _) if record.is_none() => Unreadable::MachineKey {
            keyfile: keys.keyfile_path(),
            tried,
        },
        (Err(fault), _) => Unreadable::Key(fault),
        (Ok(key), Some(sealed_under)) if sealed_under != key => match mode {
            SealMode::Passphrase => Unreadable::WrongPassphrase,
            SealMode::Keyfile | SealMode::Plaintext | SealMode::ServiceCredential | SealMode::MachineKey => {
                Unreadable::SealedUnderAnotherKey {
                    sealed_under,
                    keyfile: key,
                }
            }
        },
        (Ok(_), Some(_)) => Unreadable::Damaged,
        (Ok(_), None) => Unreadable::DoesNotUnseal,
    }
}

fn accept(
    text: &str,
    key: Option<&SealKey>,
    record: Option<&SealRecord>,
    options: &LoadOptions,
) -> Result<Token, Unreadable> {
    let token = Token::parse(text).map_err(|_| Unreadable::NotAToken)?;
    let taken_before = || {
        let mark = record.and_then(|record| record.opaque.as_deref());
        mark.is_some_and(|mark| mark == opaque_mark(key, &token))
    };
    if looks_sealed(&token) && !options.opaque_key && !taken_before() {
        return Err(Unreadable::CiphertextAsToken);
    }
    Ok(token)
}

fn recorded_mode(record: Option<&SealRecord>) -> Option<SealMode> {
    match record.map(|record| &record.mode) {
        Some(RecordedMode::Known(mode)) => Some(*mode),
        Some(RecordedMode::Unknown(_) | RecordedMode::None) | None => None,
    }
}
