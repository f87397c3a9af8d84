//! The processes of this machine with their arguments, as far as this user may see them.

use std::path::Path;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) arguments: Vec<String>,
}

impl Process {
    /// What a process is called by its arguments: a script's file where an interpreter runs it.
    pub(crate) fn mentions(&self, word: &str) -> bool {
        self.arguments.iter().any(|argument| argument.contains(word))
    }

    /// The file name of the program.
    pub(crate) fn program(&self) -> &str {
        self.arguments
            .first()
            .and_then(|program| Path::new(program).file_name()?.to_str())
            .unwrap_or_default()
    }
}

/// Longest list of arguments that is read of one process, in bytes.
#[cfg(target_os = "linux")]
const MAX_ARGUMENTS: u64 = 64 * 1024;

/// All that can be seen; `None` where the system tells nothing. Blocks.
#[cfg(target_os = "linux")]
pub(crate) fn processes() -> Option<Vec<Process>> {
    use std::io::Read;

    let arguments = |pid: u32| {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(format!("/proc/{pid}/cmdline")).ok()?;
        file.take(MAX_ARGUMENTS).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let arguments = text.trim_end_matches('\0').split('\0').map(str::to_owned);
        Some(Process {
            pid,
            arguments: arguments.collect(),
        })
    };
    let entries = std::fs::read_dir("/proc").ok()?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Some(
        pids.filter(|pid| *pid != std::process::id())
            .filter_map(arguments)
            .collect(),
    )
}

/// `ps` tells them in one line each, so that an argument with a space counts as two.
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) fn processes() -> Option<Vec<Process>> {
    let listed = std::process::Command::new("ps")
        .args(["-axww", "-o", "pid=,args="])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&listed.stdout);
    let process = |line: &str| {
        let (pid, arguments) = line.trim_start().split_once(' ')?;
        Some(Process {
            pid: pid.parse().ok()?,
            arguments: arguments.split_whitespace().map(str::to_owned).collect(),
        })
    };
    let own = std::process::id();
    Some(
        text.lines()
            .filter_map(process)
            .filter(|found| found.pid != own)
            .collect(),
    )
}

#[cfg(windows)]
pub(crate) fn processes() -> Option<Vec<Process>> {
    None
}
