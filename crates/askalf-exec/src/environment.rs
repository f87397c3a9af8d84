//! What of an environment a task may see.

use std::ffi::{OsStr, OsString};

#[cfg(not(windows))]
const ALLOWED: [&str; 9] = [
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TERM", "SHELL", "TMPDIR",
];

/// Where programs, the system and the user's folders are: without them little works on Windows.
#[cfg(windows)]
const ALLOWED: [&str; 30] = [
    "PATH",
    "PATHEXT",
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "WINDIR",
    "COMSPEC",
    "OS",
    "NUMBER_OF_PROCESSORS",
    "PROCESSOR_ARCHITECTURE",
    "TEMP",
    "TMP",
    "COMPUTERNAME",
    "USERDOMAIN",
    "USERNAME",
    "USERPROFILE",
    "HOMEDRIVE",
    "HOMEPATH",
    "APPDATA",
    "LOCALAPPDATA",
    "ALLUSERSPROFILE",
    "PROGRAMDATA",
    "PUBLIC",
    "PROGRAMFILES",
    "PROGRAMFILES(X86)",
    "PROGRAMW6432",
    "COMMONPROGRAMFILES",
    "COMMONPROGRAMFILES(X86)",
    "COMMONPROGRAMW6432",
    "PSMODULEPATH",
    "LANG",
];

/// Keeps the variables that a task needs to find programs and to speak the user's language, as they are: `PATH`,
/// `HOME`, `USER`, `LOGNAME`, `LANG`, `LC_*`, `TZ`, `TERM`, `SHELL` and `TMPDIR`; on Windows, in capitals or small letters,
/// what names the system's and the user's own folders (`PATH`, `SYSTEMROOT`, `TEMP`, `USERPROFILE` and their like). Everything
/// else may hold a secret and stays out, and so does every name with `ASKALF` in it.
///
/// ```
/// let scrubbed = askalf_exec::scrubbed_environment([
///     ("PATH".into(), "/bin".into()),
///     ("ASKALF_API_KEY".into(), "sk_live_secret".into()),
///     ("AWS_SECRET_ACCESS_KEY".into(), "secret".into()),
///     ("LC_ALL".into(), "C.UTF-8".into()),
/// ]);
/// assert_eq!(scrubbed, [("PATH".into(), "/bin".into()), ("LC_ALL".into(), "C.UTF-8".into())]);
/// ```
pub fn scrubbed_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    variables.into_iter().filter(|(name, _)| allowed(name)).collect()
}

/// The names of an environment, for who must not see its values.
pub(crate) fn names_of(environment: &[(OsString, OsString)]) -> Vec<&OsStr> {
    environment.iter().map(|(name, _)| name.as_os_str()).collect()
}

fn allowed(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        let capitals = name.to_ascii_uppercase();
        // Names on Windows do not tell them apart.
        let name = if cfg!(windows) { &capitals } else { name };
        (ALLOWED.contains(&name) || name.starts_with("LC_")) && !capitals.contains("ASKALF")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowed_prefix_lets_no_name_of_ours_through() {
        for name in [
            "LC_ASKALF",
            "LC_Askalf_API_KEY",
            "ASKALF_HOME",
            "PATHS",
            "LD_PRELOAD",
            "BASH_ENV",
        ] {
            assert!(
                scrubbed_environment([(name.into(), "x".into())]).is_empty(),
                "{name}"
            );
        }
    }

    #[test]
    fn small_letters_name_the_same_on_windows_alone() {
        let kept = scrubbed_environment([("Path".into(), "x".into())]);
        assert_eq!(kept.len(), usize::from(cfg!(windows)));
    }
}
