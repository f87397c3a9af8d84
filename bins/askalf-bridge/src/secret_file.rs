//! The bridge's secret: 32 random bytes in `secret`, in the home and never in the database.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use askalf_bridge_auth::BridgeSecret;
use askalf_cli::{ExitCode, Failure, in_plain_words, owner, permission_bits, private_file, sync_folder_of};
use zeroize::Zeroizing;

use crate::local_socket::own_uid;

const BYTES: usize = 32;

/// Reads the secret at `path`, and makes it where there is none. The caller holds the lock of the folder.
pub(crate) fn read_or_make(path: &Path) -> Result<BridgeSecret, Failure> {
    if let Some(secret) = read(path)? {
        return Ok(secret);
    }
    let secret =
        BridgeSecret::mint().map_err(|error| Failure::new(ExitCode::Failed, &error).hint(error.hint()))?;
    write_new(path, &secret)?;
    tracing::info!("a secret of the bridge was made: {}", path.display());
    Ok(secret)
}

/// The secret at `path`, where there is one. What is there but is no secret is never replaced.
pub(crate) fn read(path: &Path) -> Result<Option<BridgeSecret>, Failure> {
    let unusable = |why: &str| {
        Failure::new(
            ExitCode::Configuration,
            format!("the bridge's secret {} cannot be used: {why}", path.display()),
        )
    };
    let io = |error: io::Error| {
        unusable(&in_plain_words(&error)).hint("check the rights of the file and of its folder")
    };
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NOFOLLOW.bits().cast_signed(),
    );
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let facts = file.metadata().map_err(io)?;
    if !facts.is_file() {
        return Err(unusable("it is not a file").hint("move it away; a new secret is made at the next start"));
    }
    if owner(&facts).is_some_and(|owner| owner != own_uid()) {
        return Err(unusable("it belongs to another user").hint("run as the user that owns it"));
    }
    if permission_bits(&facts).is_some_and(|bits| bits & 0o077 != 0) {
        return Err(unusable("others may read it").hint(format!("run: chmod 600 {}", path.display())));
    }
    // One byte more than it has shows that there are more.
    let mut bytes = Zeroizing::new([0; BYTES + 1]);
    let mut len = 0;
    while len < bytes.len() {
        match file.read(&mut bytes[len..]).map_err(io)? {
            0 => break,
            read => len += read,
        }
    }
    let secret = bytes[..len].first_chunk::<BYTES>().filter(|_| len == BYTES);
    let secret = secret.ok_or_else(|| {
        unusable("it is not 32 bytes long").hint(
            "restore it from a backup; or move it away: a new one is made at the next start, which costs one slow check per device \
             and the pairing codes that are open",
        )
    })?;
    Ok(Some(BridgeSecret::from_bytes(Zeroizing::new(*secret))))
}

/// Writes the secret to a file that gets its name when it is complete and synced, and never takes the place of another.
pub(crate) fn write_new(path: &Path, secret: &BridgeSecret) -> Result<(), Failure> {
    write_by(path, secret, |staged| {
        let linked = fs::hard_link(staged, path);
        fs::remove_file(staged)?;
        linked
    })
}

/// Puts the secret in the place of the one that is there, if any. At each step the name stands for the old or the new one.
pub(crate) fn replace(path: &Path, secret: &BridgeSecret) -> Result<(), Failure> {
    write_by(path, secret, |staged| fs::rename(staged, path))
}

fn write_by(
    path: &Path,
    secret: &BridgeSecret,
    name: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), Failure> {
    let write = || {
        let staged = staged(path);
        // What a start left that died here; the lock of the folder says that nobody writes it now.
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private_file().write(true).create_new(true).open(&staged)?;
        file.write_all(secret.expose_secret().as_slice())?;
        file.sync_all()?;
        name(&staged)?;
        sync_folder_of(path)
    };
    write().map_err(|error| {
        Failure::new(
            ExitCode::Configuration,
            format!(
                "the bridge's secret {} could not be written: {}",
                path.display(),
                in_plain_words(&error)
            ),
        )
        .hint("check the rights of the folder and the free space")
    })
}

fn staged(path: &Path) -> PathBuf {
    path.with_extension("next")
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_secret_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        // A start that died halfway left this.
        fs::write(folder.path().join("secret.next"), "half").unwrap();
        let made = read_or_make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&path).unwrap(), made.expose_secret().as_slice());
        assert!(!folder.path().join("secret.next").exists());
        assert!(read_or_make(&path).unwrap() == made);
    }

    #[test]
    fn a_secret_takes_the_place_of_another_and_the_old_one_stays_under_its_second_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let old = read_or_make(&path).unwrap();
        fs::hard_link(&path, folder.path().join("kept")).unwrap();
        let new = BridgeSecret::mint().unwrap();
        assert!(write_new(&path, &new).is_err(), "a new one replaces nothing");
        assert!(read(&path).unwrap() == Some(old.clone()));
        replace(&path, &new).unwrap();
        assert!(read(&path).unwrap() == Some(new));
        assert!(read(&folder.path().join("kept")).unwrap() == Some(old));
        assert!(!folder.path().join("secret.next").exists());
    }

    #[test]
    fn what_is_there_but_is_no_secret_is_refused_and_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (bytes, mode, why) in [
            (&[7; 31][..], 0o600, "it is not 32 bytes long"),
            (&[7; 33], 0o600, "it is not 32 bytes long"),
            (&[], 0o600, "it is not 32 bytes long"),
            (&[7; 32], 0o640, "others may read it"),
        ] {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read_or_make(&path).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the bridge's secret {} cannot be used: {why}", path.display())
            );
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        fs::rename(&path, folder.path().join("other")).unwrap();
        symlink(folder.path().join("other"), &path).unwrap();
        read_or_make(&path).unwrap_err();
    }
}
