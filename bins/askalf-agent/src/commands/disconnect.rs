//! `disconnect`: stops the daemon. It is asked over its own socket; no process id is ever signalled.

use askalf_agent_core::control::{self, ControlError};

use askalf_cli::{ExitCode, Failure, print};
use askalf_cred::Home;

use super::ANSWER_PATIENCE;
use super::status::unreachable;
use crate::home_lock;

pub(crate) async fn disconnect(home: &Home) -> anyhow::Result<ExitCode> {
    match control::stop(&home.socket_path(), ANSWER_PATIENCE).await {
        Ok(()) => print("The agent stops. Its credential stays: 'askalf-agent daemon' connects again.\n")?,
        Err(ControlError::NotRunning) => match home_lock::holder(home) {
            None => print("No agent runs here; nothing to stop.\n")?,
            Some(process) => return Err(unreachable(home, &process).into()),
        },
        Err(error) => return Err(Failure::new(ExitCode::Failed, &error).hint(error.hint()).into()),
    }
    Ok(ExitCode::Done)
}
