//! Users of this system, and becoming one of them.

use std::ffi::CString;
use std::path::PathBuf;

use askalf_cli::{ExitCode, Failure};
use nix::unistd::{Gid, Uid, User, initgroups, setgid, setuid};

/// A user of this system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir,
        }
    }
}

/// The user of this name.
pub(super) fn named(name: &str) -> Option<Account> {
    User::from_name(name).ok().flatten().map(Account::from)
}

/// The user with this id.
pub(super) fn with_id(uid: u32) -> Option<Account> {
    User::from_uid(Uid::from_raw(uid))
        .ok()
        .flatten()
        .map(Account::from)
}

/// Who runs this process.
pub(super) fn own_uid() -> u32 {
    Uid::effective().as_raw()
}

/// Goes on as this user, for good: files that are made from now on are the user's, and what only root may read is out of reach.
/// For root, while there is one thread.
pub(crate) fn become_user(name: &str) -> Result<(), Failure> {
    let failed = |what: &str| {
        Failure::new(
            ExitCode::Permission,
            format!(
                "this command cannot go on as the user {name}, which the agent's service runs as: {what}"
            ),
        )
        .hint(format!("run it as that user: sudo -u {name} askalf-agent ..."))
    };
    let account = named(name).ok_or_else(|| failed("there is no such user"))?;
    let login = CString::new(name).map_err(|_| failed("that is no name"))?;
    let gid = Gid::from_raw(account.gid);
    initgroups(&login, gid).map_err(|error| failed(error.desc()))?;
    setgid(gid).map_err(|error| failed(error.desc()))?;
    setuid(Uid::from_raw(account.uid)).map_err(|error| failed(error.desc()))
}
