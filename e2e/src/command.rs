//! A command that ends by itself.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::{Process, shell_code};

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit code; 128 and the number of a signal, as a shell shows it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a command to its end.
///
/// # Errors
/// It does not start or does not end in time. A code other than 0 is not an error here.
pub fn run(name: &str, command: &mut Command, input: &[u8]) -> Result<Output> {
    let mut process = Process::start(name, command, input)?;
    let status = process.end()?;
    Ok(Output {
        code: shell_code(status),
        stdout: process.stdout(),
        stderr: process.stderr(),
    })
}

impl Output {
    /// The output, where the command ended with this code.
    ///
    /// # Errors
    /// Another code; the error shows what the command wrote.
    pub fn expect_code(self, code: i32) -> Result<Self> {
        ensure!(
            self.code == code,
            "exit code {} where {code} was due\nstdout: {}\nstderr: {}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }

    /// Standard output as JSON, where the command succeeded.
    ///
    /// # Errors
    /// It failed, or printed something else.
    pub fn json(self) -> Result<Value> {
        let output = self.expect_code(0)?;
        serde_json::from_str(&output.stdout).with_context(|| format!("not JSON: {}", output.stdout))
    }
}
