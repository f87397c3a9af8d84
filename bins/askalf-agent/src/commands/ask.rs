//! Questions to the running daemon.

use std::time::Duration;

use askalf_agent_core::control::ControlError;
use askalf_cli::{ExitCode, Failure};
use askalf_cred::Home;
use tokio::time::{Instant, sleep};

use crate::home_lock;

/// How long a daemon that holds its folder may take to listen: it may be starting.
const START_PATIENCE: Duration = Duration::from_secs(2);

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks the daemon of this home; `None` where none runs.
pub(super) async fn ask<T>(
    home: &Home,
    question: impl AsyncFn() -> Result<T, ControlError>,
) -> Result<Option<T>, Failure> {
    let give_up_at = Instant::now() + START_PATIENCE;
    loop {
        match question().await {
            Ok(answer) => return Ok(Some(answer)),
            Err(ControlError::NotRunning) => {}
            Err(error) => return Err(Failure::new(ExitCode::TryAgain, &error).hint(error.hint())),
        }
        match home_lock::holder(home) {
            None => return Ok(None),
            Some(_) if Instant::now() < give_up_at => sleep(PAUSE).await,
            Some(process) => return Err(unreachable(home, &process)),
        }
    }
}

/// The daemon holds its folder, but nobody listens.
fn unreachable(home: &Home, process: &str) -> Failure {
    Failure::new(
        ExitCode::TryAgain,
        format!(
            "an agent runs in {}{process}, but its control socket is not there: the socket was removed, or the disk \
             takes none",
            home.path().display()
        ),
    )
    .hint(if cfg!(windows) {
        "stop the agent with Ctrl-C and start it anew"
    } else {
        "stop the agent with SIGTERM and start it anew"
    })
}
