//! What must be on the machine, named in one error where it is not.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Something that must be there.
pub(crate) struct Tool {
    name: &'static str,
    command: Vec<String>,
    remedy: &'static str,
}

/// A C compiler, for SQLite.
pub(crate) fn c_compiler() -> Tool {
    // As the `cc` crate looks for it.
    let compiler = std::env::var("CC")
        .ok()
        .filter(|name| !name.trim().is_empty())
        .unwrap_or_else(|| "cc".to_owned());
    let mut command: Vec<String> = compiler.split_whitespace().map(str::to_owned).collect();
    command.push("--version".to_owned());
    Tool {
        name: "a C compiler",
        command,
        remedy: c_compiler_remedy(),
    }
}

/// The formatter.
pub(crate) fn rustfmt() -> Tool {
    component(
        "rustfmt",
        "fmt",
        "run: rustup component add rustfmt (or install your system's rustfmt package)",
    )
}

/// The lints.
pub(crate) fn clippy() -> Tool {
    component(
        "clippy",
        "clippy",
        "run: rustup component add clippy (or install your system's clippy package)",
    )
}

fn component(name: &'static str, command: &str, remedy: &'static str) -> Tool {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    Tool {
        name,
        command: vec![cargo, command.to_owned(), "--version".to_owned()],
        remedy,
    }
}

fn c_compiler_remedy() -> &'static str {
    const MANAGERS: [(&str, &str); 5] = [
        ("apt-get", "run: apt-get install gcc libc6-dev"),
        ("dnf", "run: dnf install gcc"),
        ("apk", "run: apk add gcc musl-dev"),
        ("pacman", "run: pacman -S gcc"),
        ("zypper", "run: zypper install gcc"),
    ];
    let found = MANAGERS
        .iter()
        .find(|(manager, _)| answers(&[(*manager).to_owned(), "--version".to_owned()]));
    found.map_or("install gcc or clang, or name one with CC", |(_, remedy)| remedy)
}

/// Checks that every tool is there.
pub(crate) fn require(tools: &[Tool]) -> Result<()> {
    let missing: Vec<String> = tools
        .iter()
        .filter(|tool| !answers(&tool.command))
        .map(|tool| format!("\n  {}: {}", tool.name, tool.remedy))
        .collect();
    if !missing.is_empty() {
        bail!("missing on this machine:{}", missing.concat());
    }
    Ok(())
}

fn answers(command: &[String]) -> bool {
    let Some((program, arguments)) = command.split_first() else {
        return false;
    };
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_stands_in_one_error() {
        let missing = |name| Tool {
            name,
            command: vec!["no-such-program".to_owned()],
            remedy: "install it",
        };
        let there = Tool {
            name: "true",
            command: vec!["true".to_owned()],
            remedy: "",
        };
        let error = require(&[missing("a"), there, missing("b")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "missing on this machine:\n  a: install it\n  b: install it"
        );
    }
}
