//! What of an environment a task may see.

use std::ffi::{OsStr, OsString};

const ALLOWED: [&str; 9] = [
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TERM", "SHELL", "TMPDIR",
];

/// Keeps the variables that a task needs to find programs and to speak the user's language, as they are: `PATH`,
/// `HOME`, `USER`, `LOGNAME`, `LANG`, `LC_*`, `TZ`, `TERM`, `SHELL` and `TMPDIR`. Everything else may hold a secret and
/// stays out, and so does every name with `ASKALF` in it.
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

fn allowed(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        (ALLOWED.contains(&name) || name.starts_with("LC_")) && !name.to_ascii_uppercase().contains("ASKALF")
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
            "path",
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
}
