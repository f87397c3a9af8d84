//! Taking over the home of an agent that ran as somebody else: its key, its device id, its rules and its records.
//!
//! Everything is put together in a folder that is root's alone, sealed anew there where it must be, given to the service's user
//! and renamed into place. A death at any step leaves the old home as it was, and the next try begins anew.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use askalf_bridge_auth::Token;
use askalf_cli::{ExitCode, Failure, private_file, private_folder, sync_folder_of};
use askalf_cred::{
    AgentConfig, Home, KeySources, LoadOutcome, MachineFacts, MigrationStep, SaveOptions, SealMode,
    migrate_with, read_fields, save_with,
};
use rustix::fs::OFlags;

use super::users::Account;
use crate::machine_facts::machine_facts;
use crate::service::acts::cannot;

/// What an agent keeps, the credential last.
const FILES: [&str; 14] = [
    "state/device-id",
    "state/executions.db",
    "state/executions.db-wal",
    "policy.json",
    "redaction.txt",
    "audit.key",
    "audit.log",
    "audit.log.1",
    "audit.log.2",
    "audit.log.3",
    "audit.log.4",
    "keyfile",
    "agent.json.next",
    "agent.json",
];

/// Largest file that is taken over: a journal may have some tens of megabytes.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// A home to take over. No `Debug`: a key may stand in it.
pub(super) struct Source {
    /// The folder.
    pub folder: PathBuf,
    /// Who the agent there ran as.
    pub runs_as: Account,
    /// What old keys were derived from there.
    pub machine: MachineFacts,
    /// A key that stood in a unit, for where the folder has none that can be read.
    pub key: Option<(Token, Option<String>, Option<String>)>,
}

impl Source {
    /// The home of an agent of this machine.
    pub(super) fn new(
        folder: PathBuf,
        runs_as: Account,
        key: Option<(Token, Option<String>, Option<String>)>,
    ) -> Self {
        let machine = MachineFacts {
            username: runs_as.name.clone(),
            ..machine_facts()
        };
        Self {
            folder,
            runs_as,
            machine,
            key,
        }
    }
}

/// Whether the folder holds the config of an agent.
pub(super) fn has_credential(folder: &Path) -> bool {
    fs::symlink_metadata(folder.join("agent.json")).is_ok()
}

/// Puts what is in `source` into the place of `home`, as the files of `service`. What was at `home` before, and is no
/// credential, is kept beside it. Yields what a person should know.
pub(super) fn adopt(
    source: &Source,
    keys: &KeySources,
    home: &Path,
    service: &Account,
) -> Result<Vec<String>, Failure> {
    let staging = staging_folder(home)?;
    match fs::remove_dir_all(&staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(cannot("removed", &staging, &error));
        }
        _ => {}
    }
    private_folder()
        .create(&staging)
        .map_err(|error| cannot("made", &staging, &error))?;
    let mut notes = Vec::new();
    let outcome = fill(source, keys, &staging, &mut notes).and_then(|()| put(&staging, home, service));
    if outcome.is_err() {
        let _left_for_the_next_try = fs::remove_dir_all(&staging);
    }
    outcome.map(|()| notes)
}

fn staging_folder(home: &Path) -> Result<PathBuf, Failure> {
    let name = home.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or_else(|| Failure::new(ExitCode::Usage, format!("{} is no home", home.display())))?;
    Ok(home.with_file_name(format!(".{name}.adopt")))
}

/// Copies the files and sees to it that the keyfile alone unseals the key.
fn fill(source: &Source, keys: &KeySources, staging: &Path, notes: &mut Vec<String>) -> Result<(), Failure> {
    let owner = match fs::metadata(&source.folder) {
        Ok(facts) => Some(facts.uid()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && source.key.is_some() => None,
        Err(error) => return Err(cannot("read", &source.folder, &error)),
    };
    if let Some(owner) = owner {
        // Who can name a folder in a unit, or put a link in the place of one, is not to have root take another's.
        if owner != source.runs_as.uid {
            return Err(Failure::new(
                ExitCode::Permission,
                format!(
                    "{} is not taken over: it does not belong to {}, whom the agent runs as",
                    source.folder.display(),
                    source.runs_as.name
                ),
            )
            .hint("to take it over all the same, name it: askalf-agent install-service --adopt FOLDER"));
        }
        for name in FILES {
            copy(&source.folder.join(name), &staging.join(name), owner)?;
        }
    }
    let home = Home::new(staging);
    let options = SaveOptions::default().keys(keys.clone().machine(source.machine.clone()));
    let migration = migrate_with(&home, SystemTime::now(), &options);
    if let MigrationStep::Failed { why, .. } = &migration.step {
        return Err(
            Failure::new(ExitCode::Failed, format!("the key cannot be sealed: {why}")).hint(why.hint()),
        );
    }
    let config = match (migration.outcome, &source.key) {
        (LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. }, _) => credential.config,
        (LoadOutcome::Absent | LoadOutcome::Refused(_), Some((key, url, name))) => {
            let mut config = read_fields(&home).unwrap_or_default();
            config.url = config.url.or_else(|| url.clone());
            config.device_name = config.device_name.or_else(|| name.clone());
            save_with(
                &home,
                key,
                &config,
                SealMode::Keyfile,
                SystemTime::now(),
                &options,
            )
            .map_err(|error| Failure::new(ExitCode::Failed, &error).hint(error.hint()))?;
            config
        }
        (LoadOutcome::Absent, None) => {
            return Err(Failure::new(
                ExitCode::Configuration,
                format!("there is no agent.json in {}", source.folder.display()),
            )
            .hint("name the folder that an agent has kept its files in"));
        }
        (LoadOutcome::Refused(unreadable), None) => {
            return Err(Failure::new(
                ExitCode::Configuration,
                format!(
                    "the credential in {} is not taken over: {unreadable}",
                    source.folder.display()
                ),
            )
            .hint(unreadable.hint()));
        }
    };
    notes.extend(
        foreign_files(&config)
            .map(|file| format!("{file}, which agent.json names, must be readable by the service")),
    );
    Ok(())
}

fn foreign_files(config: &AgentConfig) -> impl Iterator<Item = &str> {
    let files = [&config.ca_file, &config.cf_access_secret_file];
    files.into_iter().flatten().map(String::as_str)
}

/// Copies a regular file, if it is there and belongs to whom the folder belongs to: nobody is to have root copy another's.
fn copy(from: &Path, to: &Path, owner: u32) -> Result<(), Failure> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let custom = i32::try_from(flags.bits()).unwrap_or_default();
    let mut file = match fs::OpenOptions::new().read(true).custom_flags(custom).open(from) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot("read", from, &error)),
    };
    let facts = file.metadata().map_err(|error| cannot("read", from, &error))?;
    if !facts.is_file() || facts.uid() != owner || facts.len() > MAX_FILE {
        return Err(Failure::new(
            ExitCode::Permission,
            format!(
                "{} is not taken over: it is not a file of the folder's owner",
                from.display()
            ),
        )
        .hint("move it away, or have its owner set right"));
    }
    let mut write = || -> io::Result<()> {
        if let Some(folder) = to.parent() {
            private_folder().create(folder)?;
        }
        let mut copy = private_file().create_new(true).write(true).open(to)?;
        io::copy(&mut (&mut file).take(MAX_FILE), &mut copy)?;
        copy.flush()?;
        copy.sync_all()
    };
    write().map_err(|error| cannot("copied", from, &error))
}

/// Gives everything to the service's user and renames it into place.
fn put(staging: &Path, home: &Path, service: &Account) -> Result<(), Failure> {
    give(staging, service).map_err(|error| cannot("given to the service", staging, &error))?;
    match fs::remove_dir(home) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(()) => {}
        Err(_) => {
            let seconds = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs();
            let aside = home.with_extension(format!("before-{seconds}"));
            fs::rename(home, &aside).map_err(|error| cannot("moved aside", home, &error))?;
        }
    }
    fs::rename(staging, home).map_err(|error| cannot("put in place", home, &error))?;
    sync_folder_of(home).map_err(|error| cannot("put in place", home, &error))
}

/// Changes the owner of a folder that is root's own, and of what is in it.
fn give(folder: &Path, service: &Account) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give(&entry.path(), service)?;
        } else {
            std::os::unix::fs::lchown(entry.path(), Some(service.uid), Some(service.gid))?;
        }
    }
    std::os::unix::fs::lchown(folder, Some(service.uid), Some(service.gid))
}

#[cfg(test)]
mod tests {
    use askalf_cred::load;

    use super::super::users;
    use super::*;

    const KEY: &str = "sk_live_0123456789abcdefghijABCDEFGHIJ01";

    fn source(folder: &Path, key: Option<&str>) -> Source {
        let key = key.map(|key| {
            let url = Some("ws://127.0.0.1:3005".to_owned());
            (Token::parse(key).unwrap(), url, None)
        });
        Source::new(folder.to_owned(), users::with_id(users::own_uid()).unwrap(), key)
    }

    fn key_in(home: &Path) -> String {
        match load(&Home::new(home)) {
            LoadOutcome::Ready(credential) => credential.token.expose_secret().to_owned(),
            other => panic!("{}", other.id()),
        }
    }

    #[test]
    fn a_plaintext_home_becomes_a_sealed_one_with_its_device_id_and_stays_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("askalf-agent"));
        fs::create_dir_all(old.join("state")).unwrap();
        fs::write(
            old.join("agent.json"),
            format!(r#"{{"apiKey":"{KEY}","url":"ws://127.0.0.1:3005"}}"#),
        )
        .unwrap();
        fs::write(old.join("state/device-id"), "dev_1").unwrap();
        // Left by a service that was never paired.
        fs::create_dir_all(new.join("state")).unwrap();
        let me = users::with_id(users::own_uid()).unwrap();
        adopt(&source(&old, None), &KeySources::default(), &new, &me).unwrap();
        assert_eq!(key_in(&new), KEY);
        assert_eq!(fs::read_to_string(new.join("state/device-id")).unwrap(), "dev_1");
        assert_eq!(fs::metadata(&new).unwrap().mode() & 0o777, 0o700);
        assert!(fs::read_to_string(old.join("agent.json")).unwrap().contains(KEY));
        let names: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        assert!(
            names.iter().any(|name| name.starts_with("askalf-agent.before-")),
            "{names:?}"
        );
        assert_eq!(names.len(), 3, "{names:?}");
    }

    #[test]
    fn a_key_under_facts_of_the_machine_is_read_as_the_user_that_the_older_agent_ran_as() {
        let vectors = include_str!("../../../../../vectors/agent_json.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        let vector = vectors
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["name"] == "machine-key-2.0")
            .unwrap();
        let text = |name: &str| vector["machine"][name].as_str().unwrap().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("askalf-agent"));
        fs::create_dir(&old).unwrap();
        fs::write(old.join("agent.json"), vector["agent_json"].to_string()).unwrap();
        let mut source = source(&old, None);
        source.machine = MachineFacts {
            hostname: text("hostname"),
            username: text("username"),
            arch: text("arch"),
            platform: text("platform"),
            interfaces: Vec::new(),
        };
        let me = users::with_id(users::own_uid()).unwrap();
        adopt(&source, &KeySources::default(), &new, &me).unwrap();
        assert_eq!(key_in(&new), vector["api_key"].as_str().unwrap());
    }

    #[test]
    fn a_folder_of_somebody_else_is_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut source = source(folder.path(), Some(KEY));
        source.runs_as.uid += 1;
        let me = users::with_id(users::own_uid()).unwrap();
        let new = folder.path().join("askalf-agent");
        let error = adopt(&source, &KeySources::default(), &new, &me).unwrap_err();
        assert!(error.to_string().contains("does not belong to"), "{error}");
        assert!(!new.exists());
    }

    #[test]
    fn a_key_of_the_unit_serves_where_the_folder_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("askalf-agent");
        let me = users::with_id(users::own_uid()).unwrap();
        adopt(
            &source(&folder.path().join("none"), Some(KEY)),
            &KeySources::default(),
            &new,
            &me,
        )
        .unwrap();
        assert_eq!(key_in(&new), KEY);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_over_and_nothing_is_left_of_the_try() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("askalf-agent"));
        fs::create_dir(&old).unwrap();
        fs::write(old.join("agent.json"), "{").unwrap();
        let me = users::with_id(users::own_uid()).unwrap();
        let error = adopt(&source(&old, None), &KeySources::default(), &new, &me).unwrap_err();
        assert!(error.to_string().contains("is not taken over: "), "{error}");
        std::os::unix::fs::symlink("/etc/shadow", old.join("policy.json")).unwrap();
        let error = adopt(&source(&old, None), &KeySources::default(), &new, &me).unwrap_err();
        assert!(error.to_string().contains("policy.json"), "{error}");
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }
}
