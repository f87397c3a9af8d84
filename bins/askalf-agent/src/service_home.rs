//! Root's commands find the system service: they work on its home, as its user.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use askalf_cli::{ExitCode, Failure, in_plain_words, private_file};

use crate::cli::Command;
use crate::service::systemd::{become_user, installed, make_home_of};

/// Largest file that a service is given: as large as the agent reads one.
const MAX_FILE: u64 = 1024 * 1024;

/// The home that a command works on: the one that was named; for root on a machine with the system service, the service's. A command
/// that may write goes on as the service's user then, so that nothing in that home ever belongs to root. Files that it names are
/// read before, as root, and named anew: the service could not read them where they are.
pub(crate) fn of(named: Option<PathBuf>, command: &mut Command) -> Result<Option<PathBuf>, Failure> {
    let role = role(command);
    if named.is_some() || role == Role::Own || !rustix::process::geteuid().is_root() {
        return Ok(named);
    }
    let Some(service) = installed(Path::new("/")) else {
        return Ok(named);
    };
    if role == Role::ServiceUser {
        let files = files_of(command)
            .into_iter()
            .map(|file| Ok((read(file)?, file)))
            .collect::<Result<Vec<_>, Failure>>()?;
        if !service.home.exists() {
            make_home_of(&service.home, &service.user)?;
        }
        become_user(&service.user)?;
        for (bytes, file) in files {
            *file = keep(&bytes, file, &service.home)?;
        }
        tracing::info!("this goes on as {}, in {}", service.user, service.home.display());
    }
    Ok(Some(service.home))
}

/// The files that a command has the agent read again and again.
fn files_of(command: &mut Command) -> Vec<&mut PathBuf> {
    let network = match command {
        Command::Connect(arguments) => &mut arguments.network,
        Command::Pair(arguments) => &mut arguments.network,
        _ => return Vec::new(),
    };
    let files = [&mut network.ca_file, &mut network.cf_access_secret_file];
    files.into_iter().flatten().collect()
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| {
        Failure::new(
            ExitCode::Configuration,
            format!("{} cannot be read: {}", file.display(), in_plain_words(&error)),
        )
        .hint("name a file that is there")
    };
    if !fs::metadata(file).map_err(failed)?.is_file() {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    let mut bytes = Vec::new();
    let most = MAX_FILE + 1;
    fs::File::open(file)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 >= most {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

/// A copy in the home under a name of its own: one that is in use is never written over.
fn keep(bytes: &[u8], file: &Path, home: &Path) -> Result<PathBuf, Failure> {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let kept = home.join(format!("{:016x}-{name}", hasher.finish()));
    let write = || -> io::Result<()> {
        if fs::read(&kept).is_ok_and(|present| present == bytes) {
            return Ok(());
        }
        let mut copy = private_file()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&kept)?;
        copy.write_all(bytes)?;
        copy.sync_all()
    };
    write().map_err(|error| {
        Failure::new(
            ExitCode::Failed,
            format!("{} cannot be written: {}", kept.display(), in_plain_words(&error)),
        )
        .hint("check owner, mode and free space of the agent's folder")
    })?;
    Ok(kept)
}

/// Whom a command runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It has nothing to do with a service's home.
    Own,
    /// The service's user, whose files it may write.
    ServiceUser,
    /// Root: nobody else may do this to a service.
    Root,
}

fn role(command: &Command) -> Role {
    match command {
        #[cfg(unix)]
        Command::Upgrade(_) => Role::Root,
        Command::Daemon(_)
        | Command::InstallService(_)
        | Command::UninstallService(_)
        | Command::Recovery
        | Command::Completions { .. }
        | Command::Runner(_) => Role::Own,
        Command::Approvals(_) => Role::Root,
        Command::Connect(_)
        | Command::Pair(_)
        | Command::Doctor(_)
        | Command::Status(_)
        | Command::Disconnect
        | Command::Redact
        | Command::Scan(_)
        | Command::Cred(_)
        | Command::Policy(_)
        | Command::Audit(_) => Role::ServiceUser,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_kept_under_a_name_that_changes_with_it() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let file = home.join("ca.pem");
        fs::write(&file, "one").unwrap();
        let one = keep(&read(&file).unwrap(), &file, home).unwrap();
        fs::write(&file, "two").unwrap();
        let two = keep(&read(&file).unwrap(), &file, home).unwrap();
        assert_ne!(one, two);
        assert_eq!(fs::read_to_string(&one).unwrap(), "one");
        assert_eq!(fs::read_to_string(&two).unwrap(), "two");
        assert_eq!(keep(b"one", &file, home).unwrap(), one);
        assert!(read(home).is_err());
        assert!(
            read(&home.join("none"))
                .unwrap_err()
                .to_string()
                .contains("cannot be read")
        );
    }
}
