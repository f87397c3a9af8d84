//! One daemon a home.
//!
//! The lock is on the folder itself and on `agent.lock` in it. The folder's works where nothing can be written, and
//! stays when somebody removes the file; the file's works on network file systems that lock no folders, and names the
//! process. Windows locks no folders, and lets nobody read a file that is locked: there it is the file's alone, without a name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use askalf_cli::{ExitCode, Failure, in_plain_words, private_file};
use askalf_cred::Home;

/// How often a held lock is tried again: a `status` command looks whether it is held by taking it for an instant.
const TRIES: u32 = 3;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// A home that is taken. Dropping it, or the end of the process, gives it back.
#[derive(Debug)]
pub(crate) struct HomeLock {
    _folder: Option<File>,
    _file: Option<File>,
}

/// Takes the home for this process alone.
pub(crate) async fn take(home: &Home) -> Result<HomeLock, Failure> {
    let mut tries = 1;
    loop {
        match try_take(home)? {
            Some(lock) => return Ok(lock),
            None if tries < TRIES => tokio::time::sleep(PAUSE).await,
            None => return Err(taken(home)),
        }
        tries += 1;
    }
}

/// Who runs in this home: `None` for nobody, else how an error may name the process.
pub(crate) fn holder(home: &Home) -> Option<String> {
    let is_locked = |file: &File| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    let folder_is_held = File::open(home.path()).is_ok_and(|folder| is_locked(&folder));
    let file_is_held =
        || open(OpenOptions::new().read(true), &home.lock_path()).is_ok_and(|file| is_locked(&file));
    (folder_is_held || file_is_held()).then(|| process(home))
}

/// `None` where another process has it.
fn try_take(home: &Home) -> Result<Option<HomeLock>, Failure> {
    let folder = match File::open(home.path()).map(|folder| (folder.try_lock(), folder)) {
        Ok((Ok(()), folder)) => Some(folder),
        Ok((Err(TryLockError::WouldBlock), _)) => return Ok(None),
        // Locks of folders are not known everywhere.
        Ok((Err(TryLockError::Error(_)), _)) | Err(_) => None,
    };
    let path = home.lock_path();
    let mut options = private_file();
    options.create(true).truncate(false).read(true).write(true);
    let opened = open(&mut options, &path);
    let file = match opened.map(|file| (file.try_lock(), file)) {
        Ok((Ok(()), mut file)) => {
            // For people; nothing is ever decided by it, so a full disk does not matter.
            if let Err(error) = name_process(&mut file) {
                tracing::debug!("{} does not name this process: {}", path.display(), error.kind());
            }
            Some(file)
        }
        Ok((Err(TryLockError::WouldBlock), _)) => return Ok(None),
        Ok((Err(TryLockError::Error(error)), _)) | Err(error) if folder.is_none() => {
            return Err(Failure::new(
                ExitCode::Permission,
                format!("{} cannot be locked: {}", path.display(), in_plain_words(&error)),
            )
            .hint("check owner and mode of the agent's folder"));
        }
        Ok((Err(TryLockError::Error(_)), _)) | Err(_) => None,
    };
    Ok(Some(HomeLock {
        _folder: folder,
        _file: file,
    }))
}

fn name_process(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

fn taken(home: &Home) -> Failure {
    Failure::new(
        ExitCode::TryAgain,
        format!(
            "an agent runs in {} already{}",
            home.path().display(),
            process(home)
        ),
    )
    .hint("see 'askalf-agent status'; 'askalf-agent disconnect' stops it")
}

/// Opens it where it is: no link that somebody put there leads to another file, and no pipe keeps a command for ever.
#[cfg(unix)]
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    options.custom_flags(flags.bits().cast_signed()).open(path)
}

#[cfg(not(unix))]
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.open(path)
}

/// ` (process N)`, where the file tells.
fn process(home: &Home) -> String {
    holding_process(home).map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// The process that had the home last, where the file tells. It is for people: nothing may be decided by it.
pub(crate) fn holding_process(home: &Home) -> Option<u32> {
    let mut pid = String::new();
    open(OpenOptions::new().read(true), &home.lock_path())
        .and_then(|file| file.take(16).read_to_string(&mut pid))
        .ok()?;
    pid.trim().parse().ok()
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_in_the_place_of_the_lock_leaves_what_it_leads_to_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (other, home) = (folder.path().join("other"), Home::new(folder.path()));
        fs::write(&other, "4711").unwrap();
        symlink(&other, home.lock_path()).unwrap();
        let lock = try_take(&home).unwrap();
        assert!(lock.is_some());
        assert_eq!(fs::read_to_string(&other).unwrap(), "4711");
        assert_eq!(holding_process(&home), None);
        assert!(holder(&home).is_some());
    }

    #[test]
    fn a_pipe_in_the_place_of_the_lock_keeps_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path());
        let made = std::process::Command::new("mkfifo")
            .arg(home.lock_path())
            .status();
        assert!(made.unwrap().success());
        assert_eq!(holder(&home), None);
        assert_eq!(holding_process(&home), None);
    }
}
