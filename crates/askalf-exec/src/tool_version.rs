//! What version a tool is: the one question that has to start it.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use askalf_agent_core::{CommandSpec, Ended, Runner, RunnerEvent};
use askalf_proto::one_line;
use bytes::Bytes;

use crate::capabilities::FoundTool;

/// How long a tool may take to tell. Those that run on Node or Java take most of a second on a small device.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Most bytes that are read of what it tells.
const MOST: usize = 4 * 1024;

/// The first line that the tool says of itself; `None` where it does not start, says nothing or does not end within 5 s: it is
/// ended then, with all that it started.
pub async fn tool_version(
    runner: &dyn Runner,
    found: &FoundTool,
    environment: Vec<(OsString, OsString)>,
    working_directory: &Path,
) -> Option<String> {
    let command = CommandSpec {
        program: found.path.clone().into(),
        arguments: found.tool.version_arguments.iter().map(Into::into).collect(),
        environment,
        working_directory: working_directory.to_owned(),
        standard_input: Bytes::new(),
        timeout: TIME_LIMIT,
        grace: Duration::from_millis(200),
        private_folder: None,
    };
    let mut running = runner.start(command).await.ok()?;
    let mut said = Vec::new();
    loop {
        match running.next().await {
            RunnerEvent::Output(_, bytes) => {
                let room = MOST - said.len();
                said.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            RunnerEvent::Ended(Ended::Exited { timed_out: false, .. }) => return first_line(&said),
            RunnerEvent::Ended(_) => return None,
        }
    }
}

fn first_line(said: &[u8]) -> Option<String> {
    let said = String::from_utf8_lossy(said);
    let line = said.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(one_line(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_with_something_in_it_counts() {
        let said = b"\n  \x1b[1mtool 1.2\x1b[0m \xff\nmore\n";
        assert_eq!(first_line(said).as_deref(), Some(" [1mtool 1.2 [0m \u{fffd}"));
        assert_eq!(first_line(b" \n\n"), None);
    }
}
