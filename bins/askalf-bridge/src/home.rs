//! The bridge's folder, its lock, and where its database is.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use askalf_cli::{ExitCode, Failure, in_plain_words, private_file, private_folder};

/// The folder of one bridge.
#[derive(Clone)]
pub(crate) struct Home {
    folder: PathBuf,
    database: Option<String>,
}

/// Where a database is.
#[derive(Clone)]
pub(crate) enum Location {
    /// In an SQLite file.
    File(PathBuf),
    /// On a PostgreSQL server. The URL may hold a password.
    Server(String),
}

/// Proof that no other process serves this folder or has its database open, from whatever folder. Dropping it gives
/// both free.
#[derive(Debug)]
#[expect(dead_code, reason = "a lock lives as long as its file is open")]
pub(crate) struct HomeLock {
    folder: File,
    database: Option<File>,
}

/// What came of an attempt to take a folder and its database.
#[derive(Debug)]
pub(crate) enum Lock {
    /// They are this process's alone.
    Taken(HomeLock),
    /// Another process has this one of them.
    Held(PathBuf),
}

impl Home {
    /// The folder that was named, or the default one in the user's home.
    pub(crate) fn new(named: Option<PathBuf>, database: Option<String>) -> Result<Self, Failure> {
        let folder = match named {
            Some(folder) => folder,
            None => std::env::home_dir()
                .filter(|home| home.is_absolute())
                .map(|home| home.join(".askalf-bridge"))
                .ok_or_else(|| {
                    Failure::new(
                        ExitCode::Configuration,
                        "there is no home folder to keep the bridge's files in",
                    )
                    .hint("name a folder with --home DIR or ASKALF_BRIDGE_HOME")
                })?,
        };
        Ok(Self { folder, database })
    }

    /// Makes the folder, readable by its owner alone, where it does not exist.
    pub(crate) fn create(&self) -> Result<(), Failure> {
        let made = private_folder().create(&self.folder);
        // What is there already, and is no folder, is named by the check.
        if let Err(error) = made
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(self.unusable(&in_plain_words(&error)));
        }
        self.check().map(drop)
    }

    /// Whether the folder is there; an error where it is and cannot be used.
    pub(crate) fn check(&self) -> Result<bool, Failure> {
        let metadata = match self.folder.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(self.unusable(&in_plain_words(&error))),
        };
        if !metadata.is_dir() {
            return Err(self.unusable("it is not a folder"));
        }
        self.check_owner(&metadata)?;
        Ok(true)
    }

    /// That the folder is this user's alone.
    #[cfg(unix)]
    fn check_owner(&self, metadata: &std::fs::Metadata) -> Result<(), Failure> {
        use std::os::unix::fs::MetadataExt;

        if metadata.uid() != crate::local_socket::own_uid() {
            return Err(self.unusable("it belongs to another user"));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(self
                .unusable("others may write to it")
                .hint(format!("run: chmod 700 {}", self.folder.display())));
        }
        Ok(())
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Access lists are not looked at: a bridge on Windows is for trying out.
    #[cfg(windows)]
    fn check_owner(&self, _metadata: &std::fs::Metadata) -> Result<(), Failure> {
        Ok(())
    }

    fn unusable(&self, why: &str) -> Failure {
        Failure::new(
            ExitCode::Permission,
            format!("the folder {} cannot be used: {why}", self.folder.display()),
        )
        .hint("choose another folder with --home DIR, or run as the user that owns it")
    }

    /// The socket through which commands reach a running bridge.
    #[cfg(unix)]
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("bridge.sock")
    }

    /// The file of the bridge's secret.
    pub(crate) fn secret(&self) -> PathBuf {
        self.folder.join("secret")
    }

    /// Where the database is.
    pub(crate) fn database(&self) -> Result<Location, Failure> {
        let Some(url) = &self.database else {
            return Ok(Location::File(self.folder.join("bridge.db")));
        };
        if ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            return Ok(Location::Server(url.clone()));
        }
        let path = url
            .strip_prefix("sqlite://")
            .or_else(|| url.strip_prefix("sqlite:"))
            .unwrap_or(url);
        if path.is_empty() || path.contains("://") {
            return Err(Failure::new(
                ExitCode::Usage,
                format!("the database '{}' is not one this bridge can open", scheme(url)),
            )
            .hint("give the path of an SQLite file, sqlite:PATH, or postgres://USER@HOST/DATABASE"));
        }
        Ok(Location::File(PathBuf::from(path)))
    }

    /// The database file, for what only a file can be used for.
    pub(crate) fn database_file(&self) -> Result<PathBuf, Failure> {
        match self.database()? {
            Location::File(path) => Ok(path),
            Location::Server(_) => Err(Failure::new(
                ExitCode::Usage,
                "the database is on a PostgreSQL server, which has its own tools for this",
            )
            .hint(format!(
                "use pg_dump and pg_restore, and copy {} beside the dump: digests and pairing codes are worth nothing \
                 without it",
                self.secret().display()
            ))),
        }
    }

    /// Takes the folder and the database for this process alone. The database has a lock of its own, since two folders
    /// may name the same one.
    pub(crate) fn lock(&self) -> Result<Lock, Failure> {
        let opened = open_lock(&self.folder.join("bridge.lock"));
        let folder = opened.map_err(|error| self.unusable(&in_plain_words(&error)))?;
        if !try_lock(&folder).map_err(|error| self.unusable(&in_plain_words(&error)))? {
            return Ok(Lock::Held(self.folder.clone()));
        }
        let path = match self.database()? {
            Location::File(path) => path,
            // The server itself sees to it that one bridge works on a database.
            Location::Server(_) => {
                return Ok(Lock::Taken(HomeLock {
                    folder,
                    database: None,
                }));
            }
        };
        // By its real name, under which every way to it meets.
        let path = path.canonicalize().unwrap_or(path);
        let beside = |suffix: &str| {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        let unusable = |error: std::io::Error| {
            Failure::new(
                ExitCode::Configuration,
                format!(
                    "the database {} could not be opened: {}",
                    path.display(),
                    in_plain_words(&error)
                ),
            )
            .hint("check that the folder exists, belongs to this user and has free space")
        };
        let database = open_lock(&beside(".lock")).map_err(unusable)?;
        if !try_lock(&database).map_err(unusable)? {
            return Ok(Lock::Held(path));
        }
        Ok(Lock::Taken(HomeLock {
            folder,
            database: Some(database),
        }))
    }
}

fn open_lock(path: &Path) -> std::io::Result<File> {
    private_file().create(true).truncate(false).write(true).open(path)
}

/// Whether the lock is this process's now; if not, another one has it.
fn try_lock(file: &File) -> std::io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The part of a database URL that holds no password.
fn scheme(url: &str) -> &str {
    url.split("://").next().unwrap_or_default()
}
