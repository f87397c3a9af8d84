//! The output of a command, passed on and read on the way.

use std::io::{BufRead, BufReader, Read, Write};

use anyhow::Result;

/// Prints the output as it comes, and shows each line to `seen`.
pub(crate) fn pass_on(output: impl Read, mut seen: impl FnMut(&str)) -> Result<()> {
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        std::io::stdout().lock().write_all(&line)?;
        seen(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(())
}
