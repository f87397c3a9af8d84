//! Where a program is: a look-up in `PATH` without a shell.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The file that `name` would run as, by a `PATH` of this system's kind: the first one that this user may execute. Relative
/// folders of the path are passed over: what they name depends on where one stands.
///
/// Looks at the disk, a few microseconds a folder; on one that does not answer it blocks.
pub(crate) fn program_path(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .find_map(|folder| system::executable(&folder, name))
}

/// The `PATH` of an environment; empty where it has none.
pub(crate) fn path_of(environment: &[(OsString, OsString)]) -> &OsStr {
    let is_path = |name: &OsStr| name == "PATH" || (cfg!(windows) && name.eq_ignore_ascii_case("PATH"));
    environment
        .iter()
        .find(|(name, _)| is_path(name))
        .map_or(OsStr::new(""), |(_, path)| path)
}

#[cfg(unix)]
mod system {
    use super::{Path, PathBuf};
    use rustix::fs::{Access, access};

    pub(super) fn executable(folder: &Path, name: &str) -> Option<PathBuf> {
        let file = folder.join(name);
        (access(&file, Access::EXEC_OK).is_ok() && file.is_file()).then_some(file)
    }
}

#[cfg(windows)]
mod system {
    use super::{Path, PathBuf};

    /// What runs by itself or by `cmd`; the installers of scripts make the second kind.
    const EXTENSIONS: [&str; 4] = ["exe", "com", "cmd", "bat"];

    pub(super) fn executable(folder: &Path, name: &str) -> Option<PathBuf> {
        EXTENSIONS
            .iter()
            .map(|extension| folder.join(format!("{name}.{extension}")))
            .find(|file| file.is_file())
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_file_that_may_be_executed_is_found() {
        let root = tempfile::tempdir().unwrap();
        let [plain, folder, first, second] =
            ["plain", "folder", "first", "second"].map(|name| root.path().join(name));
        for place in [&plain, &folder, &first, &second] {
            fs::create_dir(place).unwrap();
        }
        fs::write(plain.join("tool"), "").unwrap();
        fs::create_dir(folder.join("tool")).unwrap();
        for place in [&first, &second] {
            fs::write(place.join("tool"), "").unwrap();
            fs::set_permissions(place.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = |places: &[&Path]| std::env::join_paths(places).unwrap();
        let relative = Path::new("first");
        let all = path(&[
            relative,
            &root.path().join("missing"),
            &plain,
            &folder,
            &first,
            &second,
        ]);
        assert_eq!(program_path("tool", &all), Some(first.join("tool")));
        assert_eq!(program_path("tool", &path(&[relative, &plain, &folder])), None);
        assert_eq!(program_path("tool", OsStr::new("")), None);
    }
}
