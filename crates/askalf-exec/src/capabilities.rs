//! The programs of a device that are worth telling of.

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::program_path::program_path;

/// A program that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// Its name, by which it is announced too.
    pub name: &'static str,
    /// What makes it tell its version and end.
    pub(crate) version_arguments: &'static [&'static str],
}

/// All that is looked for.
pub const TOOLS: [Tool; 36] = [
    tool("aws"),
    tool("bun"),
    tool("cargo"),
    tool("clang"),
    tool("claude"),
    tool("cmake"),
    tool("codex"),
    tool("curl"),
    tool("deno"),
    tool("docker"),
    tool("dotnet"),
    asked("ffmpeg", &["-version"]),
    tool("gcc"),
    tool("gh"),
    tool("git"),
    asked("go", &["version"]),
    asked("java", &["-version"]),
    tool("jq"),
    asked("kubectl", &["version", "--client"]),
    tool("make"),
    tool("node"),
    tool("npm"),
    tool("php"),
    tool("pip3"),
    tool("pnpm"),
    tool("podman"),
    tool("psql"),
    tool("python3"),
    tool("rsync"),
    tool("ruby"),
    tool("rustc"),
    tool("sqlite3"),
    asked("ssh", &["-V"]),
    asked("terraform", &["version"]),
    tool("uv"),
    tool("yarn"),
];

const fn tool(name: &'static str) -> Tool {
    asked(name, &["--version"])
}

const fn asked(name: &'static str, version_arguments: &'static [&'static str]) -> Tool {
    Tool {
        name,
        version_arguments,
    }
}

/// A tool that the device has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTool {
    /// Which.
    pub tool: &'static Tool,
    /// The file that runs.
    pub path: PathBuf,
}

/// The tools of [`TOOLS`] in the folders of a `PATH`, by name. It starts nothing and only looks: a millisecond or so, on a disk
/// that does not answer it blocks.
///
/// ```
/// assert!(askalf_exec::find_tools("".as_ref()).is_empty());
/// ```
pub fn find_tools(path: &OsStr) -> Vec<FoundTool> {
    let found = |tool: &'static Tool| {
        let path = program_path(tool.name, path)?;
        Some(FoundTool { tool, path })
    };
    TOOLS.iter().filter_map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_stand_once_each_and_in_order() {
        assert!(TOOLS.is_sorted_by(|a, b| a.name < b.name));
    }
}
