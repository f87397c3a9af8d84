//! The shell that tasks run in.

use std::path::PathBuf;

/// Bash where it is, else the system's own shell.
#[cfg(unix)]
pub(crate) fn shell() -> PathBuf {
    ["/bin/bash", "/usr/bin/bash"]
        .into_iter()
        .map(PathBuf::from)
        .find(|shell| shell.is_file())
        .unwrap_or_else(|| PathBuf::from("/bin/sh"))
}

/// PowerShell where it is, the newer one first, else `cmd`.
#[cfg(windows)]
pub(crate) fn shell() -> PathBuf {
    let under =
        |variable: &str, path: &str| std::env::var_os(variable).map(|base| PathBuf::from(base).join(path));
    let candidates = [
        under("ProgramFiles", r"PowerShell\7\pwsh.exe"),
        under("SystemRoot", r"System32\WindowsPowerShell\v1.0\powershell.exe"),
        under("SystemRoot", r"System32\cmd.exe"),
    ];
    candidates
        .into_iter()
        .flatten()
        .find(|shell| shell.is_file())
        .unwrap_or_else(|| PathBuf::from("cmd.exe"))
}
