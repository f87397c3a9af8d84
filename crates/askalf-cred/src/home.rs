use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::EXIT_CONFIG;
use crate::disk::{Disk, Kind, Steady, SystemDisk};
use crate::io_fault::IoFault;

/// The agent's folder: `$ASKALF_HOME`, by default `~/.askalf`, and what lies in it. The caller finds the folder; nothing here
/// reads the environment.
///
/// ```
/// # use askalf_cred::Home;
/// # use std::path::Path;
/// let home = Home::new("/home/ann/.askalf/");
/// assert_eq!(home.config_path(), Path::new("/home/ann/.askalf/agent.json"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// Names the folder; touches nothing.
    pub fn new(path: impl AsRef<Path>) -> Self {
        // Collecting the components drops a trailing slash, behind which a symlink would pass for a folder.
        Self {
            path: path.as_ref().components().collect(),
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `agent.json`: the config with the sealed key.
    pub fn config_path(&self) -> PathBuf {
        self.path.join("agent.json")
    }

    /// `keyfile`: the 32 raw bytes that `agent.json` is sealed under.
    pub fn keyfile_path(&self) -> PathBuf {
        self.path.join("keyfile")
    }

    /// `keyfile.next`: the keyfile that a rotation is about to put in place.
    pub(crate) fn staged_keyfile_path(&self) -> PathBuf {
        self.path.join("keyfile.next")
    }

    /// `agent.json.next`: a credential that is not proved yet.
    pub(crate) fn staged_config_path(&self) -> PathBuf {
        self.path.join("agent.json.next")
    }

    /// `state/`: device id, outbox and journal.
    pub fn state_dir(&self) -> PathBuf {
        self.path.join("state")
    }

    /// `agent.sock`: the daemon's control socket.
    pub fn socket_path(&self) -> PathBuf {
        self.path.join("agent.sock")
    }

    /// `agent.lock`: held by the running daemon.
    pub fn lock_path(&self) -> PathBuf {
        self.path.join("agent.lock")
    }

    /// `agent.json.lock`: held while a credential is saved.
    pub(crate) fn config_lock_path(&self) -> PathBuf {
        self.path.join("agent.json.lock")
    }

    /// Makes the folder, for its owner alone, and the folders above it where they are missing. A folder that is there already
    /// loses the rights of others. That means mode 0700; on Windows an access list of this user, the system and the
    /// administrators, which whatever is made in the folder inherits.
    ///
    /// # Errors
    /// [`HomeError`] if it is a symlink or no folder, if another user owns it, or if the system refuses.
    pub fn create(&self) -> Result<(), HomeError> {
        self.create_on(&Steady(&SystemDisk))
    }

    pub(crate) fn create_on(&self, disk: &Steady<'_>) -> Result<(), HomeError> {
        let io = |action, error: std::io::Error| HomeError::Io(IoFault::new(action, &self.path, &error));
        match disk.create_folder(&self.path) {
            Ok(()) => {
                if let Some(parent) = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                    disk.sync_folder(parent)
                        .map_err(|error| io("sync the folder above", error))?;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io("create", error)),
        }
        let facts = disk.facts_at(&self.path).map_err(|error| io("look at", error))?;
        if facts.kind != Kind::Folder {
            return Err(HomeError::NotAFolder {
                path: self.path.clone(),
                kind: facts.kind.noun(),
            });
        }
        if let Some(owner) = facts.foreign_owner {
            return Err(HomeError::ForeignOwner {
                path: self.path.clone(),
                owner,
                us: disk.us(),
            });
        }
        if facts.exposed.is_some() {
            disk.make_folder_private(&self.path)
                .map_err(|error| io("make private", error))?;
        }
        Ok(())
    }
}

/// Why the home folder cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HomeError {
    /// A symlink or a file stands where the folder should be.
    #[error("{} is {kind}, not a folder", path.display())]
    NotAFolder {
        /// The folder.
        path: PathBuf,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// Another user owns the folder.
    #[error("the folder {} is owned by {owner}, not by the user that runs this program ({us})", path.display())]
    ForeignOwner {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: String,
        /// Who runs this program.
        us: String,
    },
    /// The system refuses.
    #[error("the agent's folder cannot be used: {0}")]
    Io(IoFault),
}

impl HomeError {
    /// The stable name of this error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::NotAFolder { .. } => "home-not-a-folder",
            Self::ForeignOwner { .. } => "home-foreign-owner",
            Self::Io(_) => "home-io",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::NotAFolder { path, .. } => {
                format!(
                    "move {} away, or set ASKALF_HOME to the folder itself",
                    path.display()
                )
            }
            Self::ForeignOwner { owner, .. } => {
                format!("run the command as {owner}, or set ASKALF_HOME to a folder of your own")
            }
            Self::Io(fault) => fault.hint(),
        }
    }

    /// The exit code of a program that ends for it: 77 permission, 78 configuration, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotAFolder { .. } => EXIT_CONFIG,
            Self::ForeignOwner { .. } => 77,
            Self::Io(fault) if fault.is_permission() => 77,
            Self::Io(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_its_place() {
        let home = Home::new("/home/agent");
        let name = |path: PathBuf| path.strip_prefix("/home/agent").unwrap().to_owned();
        assert_eq!(name(home.state_dir()), PathBuf::from("state"));
        assert_eq!(name(home.socket_path()), PathBuf::from("agent.sock"));
        assert_eq!(name(home.lock_path()), PathBuf::from("agent.lock"));
    }

    #[test]
    fn a_program_ends_with_the_code_of_what_is_wrong() {
        let io = |kind: std::io::ErrorKind| {
            HomeError::Io(IoFault::new("create", "/home/agent".as_ref(), &kind.into())).exit_code()
        };
        assert_eq!(io(std::io::ErrorKind::PermissionDenied), 77);
        assert_eq!(io(std::io::ErrorKind::StorageFull), 1);
    }
}
