use std::fs::{File, TryLockError};
use std::io;
use std::time::Duration;

use crate::disk::{Disk, Kind, Steady};
use crate::home::Home;
use crate::io_fault::IoFault;
use crate::save_error::SaveError;

/// How often a lock that is held is tried again.
const POLL: Duration = Duration::from_millis(10);

/// The lock among processes that save in one home. Freed when dropped, and by the system when the process dies.
pub(crate) struct SaveLock {
    _file: File,
}

impl SaveLock {
    pub(crate) fn hold(disk: &Steady<'_>, home: &Home, wait: Duration) -> Result<Self, SaveError> {
        let path = home.config_lock_path();
        let io = |action, error: io::Error| SaveError::Io(IoFault::new(action, &path, &error));
        let not_a_file = |kind: Kind| SaveError::NotAFile {
            path: path.clone(),
            kind: kind.noun(),
        };
        let file = disk
            .open_lock(&path)
            .map_err(|error| match disk.facts_at(&path) {
                Ok(facts) if facts.kind != Kind::Regular => not_a_file(facts.kind),
                _ => io("open", error),
            })?;
        let facts = disk.facts(&file).map_err(|error| io("look at", error))?;
        if facts.kind != Kind::Regular {
            return Err(not_a_file(facts.kind));
        }
        let mut tries_left = wait.as_millis() / POLL.as_millis();
        loop {
            match disk.try_lock(&file) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(error)) => return Err(io("lock", error)),
                Err(TryLockError::WouldBlock) if tries_left == 0 => {
                    return Err(SaveError::Busy {
                        path: home.config_path(),
                    });
                }
                Err(TryLockError::WouldBlock) => {
                    tries_left -= 1;
                    pause();
                }
            }
        }
    }
}

/// Whether a save is under way in this home just now. Makes no lock file.
pub(crate) fn is_held(disk: &Steady<'_>, home: &Home) -> bool {
    disk.open(&home.config_lock_path())
        .is_ok_and(|file| matches!(disk.try_lock(&file), Err(TryLockError::WouldBlock)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "this crate is synchronous, and a lock among processes has no event to wait for"
)]
fn pause() {
    std::thread::sleep(POLL);
}
