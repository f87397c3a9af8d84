//! Secrets on their way to the program of one execution: a private folder of its own, gone with the execution.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use askalf_agent_core::Task;

use crate::plain_io;
use crate::private_files::{private_file, private_folder};

/// Largest settings file that is taken along, in bytes.
const MAX_SETTINGS: u64 = 1024 * 1024;

/// A file of a program's configuration.
pub(crate) struct SecretFile<'a> {
    /// Its name within the folder.
    pub(crate) name: &'a str,
    /// What is in it.
    pub(crate) content: &'a [u8],
}

/// The folder of one execution. Dropping it removes it, but [`CredentialFolder::remove`] can tell how that went.
#[derive(Debug)]
pub(crate) struct CredentialFolder {
    path: PathBuf,
    removed: bool,
}

impl CredentialFolder {
    /// Makes a folder under `place`, for this user alone, with the secret in it. The file at `settings`, where there is one,
    /// is copied beside: what the device's owner allows the program holds in there too.
    ///
    /// # Errors
    /// What a person should know; nothing is left then.
    pub(crate) fn create(
        place: &Path,
        secret: &SecretFile<'_>,
        settings: Option<&Path>,
    ) -> Result<Self, String> {
        let failed = |error: &io::Error| {
            format!(
                "the credentials cannot be handed over in {}: {}",
                place.display(),
                plain_io::text(error)
            )
        };
        let name = random_name().map_err(|error| failed(&error))?;
        let path = place.join(name);
        private_folder()
            .recursive(true)
            .create(place)
            .and_then(|()| private_folder().create(&path))
            .map_err(|error| failed(&error))?;
        let folder = Self { path, removed: false };
        write_new(&folder.path.join(secret.name), secret.content)
            .and_then(|()| folder.take_along(settings))
            .map_err(|error| failed(&error))?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder with all that is in it.
    ///
    /// # Errors
    /// The system's; the next start of the agent tries again.
    pub(crate) fn remove(mut self) -> io::Result<()> {
        self.removed = true;
        remove_tree(&self.path)
    }

    fn take_along(&self, settings: Option<&Path>) -> io::Result<()> {
        let Some((from, name)) = settings.and_then(|from| Some((from, from.file_name()?))) else {
            return Ok(());
        };
        // What is no plain file may block its reader for ever.
        if !fs::metadata(from).is_ok_and(|found| found.is_file() && found.len() <= MAX_SETTINGS) {
            return Ok(());
        }
        let mut content = Vec::new();
        File::open(from)?.take(MAX_SETTINGS).read_to_end(&mut content)?;
        write_new(&self.path.join(name), &content)
    }
}

impl Drop for CredentialFolder {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = remove_tree(&self.path)
        {
            tell_left(&self.path, &error);
        }
    }
}

/// Removes the folders that an agent left behind which was killed while its tasks ran. To be called before any task runs, by
/// the one agent of the place.
pub fn sweep_credential_folders(place: &Path) {
    // Not behind a link: what is there is not this agent's to remove.
    let listed = fs::symlink_metadata(place).and_then(|found| match found.is_dir() {
        true => fs::read_dir(place),
        false => Err(io::ErrorKind::NotADirectory.into()),
    });
    let entries = match listed {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return tell_left(place, &error),
    };
    for entry in entries {
        let removed = entry
            .map(|entry| entry.path())
            .and_then(|path| remove_tree(&path).inspect_err(|error| tell_left(&path, error)));
        if removed.is_ok() {
            tracing::info!("credentials that a task of an earlier agent had are removed");
        }
    }
}

/// Says which folder is left.
pub(crate) fn tell_left(path: &Path, error: &io::Error) {
    tracing::error!(
        "{} holds credentials of a task that has ended and cannot be removed: {}. Remove it by hand; the next start of the \
         agent tries again",
        path.display(),
        plain_io::text(error)
    );
}

/// The secret of a task, unless it has none.
pub(crate) fn secret_of(task: &Task) -> Option<&str> {
    let secret = task.credentials.as_ref()?.expose_secret().trim();
    (!secret.is_empty()).then_some(secret)
}

/// Whether a secret is the JSON object that a program keeps in its file, rather than a bare token.
pub(crate) fn is_json_object(secret: &str) -> bool {
    secret.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(secret).is_ok()
}

/// A tree that its program may have made hard to remove.
fn remove_tree(path: &Path) -> io::Result<()> {
    let first = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match first {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path);
            fs::remove_dir_all(path)
        }
        done => done,
    }
}

/// Takes back the rights to folders of our own. Without it a program could keep its secret on the disk by a chmod.
#[cfg(unix)]
fn open_up(path: &Path) {
    use std::os::unix::fs::PermissionsExt;

    let mut waiting = vec![path.to_owned()];
    while let Some(folder) = waiting.pop() {
        // Not behind symbolic links: they are removed, not followed.
        if !fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir()) {
            continue;
        }
        let _reported_by_the_removal = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
        if let Ok(entries) = fs::read_dir(&folder) {
            waiting.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
}

#[cfg(not(unix))]
fn open_up(_: &Path) {}

fn random_name() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = private_file().write(true).create_new(true).open(path)?;
    file.write_all(content)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SECRET: SecretFile<'static> = SecretFile {
        name: "auth.json",
        content: b"{\"token\":\"t\"}",
    };

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_folder_is_private_and_gone_when_it_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("state/run");
        let settings = home.path().join("config.toml");
        fs::write(&settings, "model = 'm'").unwrap();
        let folder = CredentialFolder::create(&place, &SECRET, Some(&settings)).unwrap();
        let other = CredentialFolder::create(&place, &SECRET, Some(&home.path().join("missing"))).unwrap();
        assert_ne!(folder.path(), other.path());
        let secret = folder.path().join("auth.json");
        assert_eq!(fs::read(&secret).unwrap(), SECRET.content);
        assert_eq!(
            fs::read_to_string(folder.path().join("config.toml")).unwrap(),
            "model = 'm'"
        );
        assert_eq!(
            [mode(&place), mode(folder.path()), mode(&secret)],
            [0o700, 0o700, 0o600]
        );
        drop(other);
        folder.remove().unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_agent_left_is_swept_whatever_its_rights() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("run");
        sweep_credential_folders(&place);
        let folder = CredentialFolder::create(&place, &SECRET, None).unwrap();
        let inner = folder.path().join("projects");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("log"), "").unwrap();
        let outside = home.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        std::os::unix::fs::symlink(&outside, folder.path().join("link")).unwrap();
        for path in [&inner, folder.path()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
        }
        std::mem::forget(folder);
        fs::write(place.join("stray"), "").unwrap();
        sweep_credential_folders(&place);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
        assert!(outside.join("kept").exists());
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        sweep_credential_folders(&link);
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn a_place_that_cannot_be_used_is_named_and_nothing_is_left() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("run");
        fs::write(&place, "").unwrap();
        let error = CredentialFolder::create(&place, &SECRET, None).unwrap_err();
        assert_eq!(
            error,
            format!(
                "the credentials cannot be handed over in {}: File exists",
                place.display()
            )
        );
    }
}
