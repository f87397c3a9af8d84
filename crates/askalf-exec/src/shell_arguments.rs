//! How each shell is given a command line.

use std::ffi::OsString;
use std::path::Path;

/// The arguments that make this shell run `input`, by the shell's name: `cmd` and PowerShell have words of their own; all others
/// are taken for POSIX shells.
pub(crate) fn shell_arguments(shell: &Path, input: &str) -> Vec<OsString> {
    if is_cmd(shell) {
        // Without what the registry makes it run first; the outer quotes are dropped, and what is between them stays as it is.
        words(["/d", "/s", "/c", &format!("\"{input}\"")])
    } else if is(shell, "powershell") || is(shell, "pwsh") {
        words(["-NoLogo", "-NoProfile", "-NonInteractive", "-Command", input])
    } else {
        // After "--" an input that begins with a dash is no option of the shell.
        words(["-c", "--", input])
    }
}

/// Whether this is `cmd.exe`, whose arguments are not quoted.
pub(crate) fn is_cmd(program: &Path) -> bool {
    is(program, "cmd")
}

fn is(program: &Path, name: &str) -> bool {
    program
        .file_stem()
        .is_some_and(|stem| stem.eq_ignore_ascii_case(name))
}

fn words<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.map(OsString::from).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_has_its_own_words() {
        for (shell, words) in [
            ("/bin/sh", &["-c", "--", "a \"b\""][..]),
            ("cmd", &["/d", "/s", "/c", "\"a \"b\"\""]),
            ("CMD.EXE", &["/d", "/s", "/c", "\"a \"b\"\""]),
            (
                "pwsh.exe",
                &["-NoLogo", "-NoProfile", "-NonInteractive", "-Command", "a \"b\""],
            ),
            (
                "PowerShell.exe",
                &["-NoLogo", "-NoProfile", "-NonInteractive", "-Command", "a \"b\""],
            ),
        ] {
            assert_eq!(shell_arguments(Path::new(shell), "a \"b\""), words, "{shell}");
        }
    }
}
