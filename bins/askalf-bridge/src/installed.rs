//! The bridge that a package installed: its commands are root's and its own user's, and reach it without being told where it is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use askalf_cli::{ExitCode, Failure, in_plain_words};

use crate::local_socket::own_uid;

/// Home of the bridge that a package installs.
const HOME: &str = "/var/lib/askalf-bridge";

/// Whose command this is.
#[derive(Debug, PartialEq, Eq)]
enum Caller {
    /// The bridge's user.
    Bridge(PathBuf),
    /// Root, who becomes that user, so that no file of the bridge ever becomes root's.
    Root { home: PathBuf, uid: u32, gid: u32 },
    /// Somebody who has a bridge of their own, or none.
    Other,
}

/// The home of the installed bridge, where that is the one that a command without `--home` speaks of. For root it does not return:
/// the command is run anew as the bridge's user.
///
/// # Errors
/// The command cannot be run anew.
pub(crate) fn home() -> Result<Option<PathBuf>, Failure> {
    let own = std::env::home_dir().map(|home| home.join(".askalf-bridge"));
    match caller(Path::new(HOME), own_uid(), own.as_deref()) {
        Caller::Other => Ok(None),
        Caller::Bridge(home) => Ok(Some(home)),
        Caller::Root { home, uid, gid } => {
            let program = std::env::current_exe();
            let program = program.map_err(|error| cannot(&in_plain_words(&error)))?;
            let error = Command::new(program)
                .args(std::env::args_os().skip(1))
                // The bridge's user can read what its processes have around them.
                .env_clear()
                .envs(std::env::vars_os().filter(|(name, _)| is_passed_on(&name.to_string_lossy())))
                .env("ASKALF_BRIDGE_HOME", &home)
                .env("HOME", &home)
                .uid(uid)
                .gid(gid)
                .exec();
            Err(cannot(&in_plain_words(&error)))
        }
    }
}

/// Whether a variable of root's goes on to the command.
fn is_passed_on(name: &str) -> bool {
    name.starts_with("ASKALF_")
        || name.starts_with("LC_")
        || matches!(name, "LANG" | "NO_COLOR" | "PATH" | "TERM" | "TZ")
}

/// `own` is the folder of a bridge that the caller started by hand.
fn caller(home: &Path, uid: u32, own: Option<&Path>) -> Caller {
    let Ok(facts) = fs::metadata(home) else {
        return Caller::Other;
    };
    if !facts.is_dir() || facts.uid() == 0 || own.is_some_and(Path::exists) {
        return Caller::Other;
    }
    let home = home.to_owned();
    match uid {
        0 => Caller::Root {
            home,
            uid: facts.uid(),
            gid: facts.gid(),
        },
        uid if uid == facts.uid() => Caller::Bridge(home),
        _ => Caller::Other,
    }
}

fn cannot(why: &str) -> Failure {
    Failure::new(
        ExitCode::Permission,
        format!("the command cannot be run as the user of the bridge in {HOME}: {why}"),
    )
    .hint("run it as that user: sudo -u askalf-bridge askalf-bridge ...")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_roots_environment_only_what_commands_read_goes_on() {
        for name in ["ASKALF_BRIDGE_DATABASE", "NO_COLOR", "LC_ALL", "PATH"] {
            assert!(is_passed_on(name), "{name}");
        }
        for name in ["AWS_SECRET_ACCESS_KEY", "SUDO_USER", "LD_PRELOAD", "HOME"] {
            assert!(!is_passed_on(name), "{name}");
        }
    }

    #[test]
    fn root_and_the_bridges_user_mean_the_installed_bridge_and_nobody_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("installed");
        assert_eq!(caller(&home, 0, None), Caller::Other);
        fs::create_dir(&home).unwrap();
        if own_uid() == 0 {
            assert_eq!(caller(&home, 0, None), Caller::Other);
            std::os::unix::fs::chown(&home, Some(4_001), Some(4_002)).unwrap();
        }
        let facts = fs::metadata(&home).unwrap();
        let (uid, gid) = (facts.uid(), facts.gid());
        assert_eq!(
            caller(&home, 0, None),
            Caller::Root {
                home: home.clone(),
                uid,
                gid
            }
        );
        assert_eq!(caller(&home, uid, None), Caller::Bridge(home.clone()));
        assert_eq!(caller(&home, uid + 1, None), Caller::Other);
    }

    #[test]
    fn a_bridge_that_was_started_by_hand_stays_the_one_of_its_user() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        fs::create_dir(&own).unwrap();
        assert_eq!(caller(folder.path(), own_uid(), Some(&own)), Caller::Other);
    }
}
