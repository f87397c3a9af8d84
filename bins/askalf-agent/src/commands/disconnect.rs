//! `disconnect`: stops the daemon. It is asked over its own socket; no process id is ever signalled.

use askalf_agent_core::control;
use askalf_cli::{ExitCode, print};
use askalf_cred::Home;

use super::ANSWER_PATIENCE;
use super::ask::ask;

pub(crate) async fn disconnect(home: &Home) -> anyhow::Result<ExitCode> {
    match ask(home, async || {
        control::stop(&home.socket_path(), ANSWER_PATIENCE).await
    })
    .await?
    {
        Some(()) => print("The agent stops. Its credential stays: 'askalf-agent daemon' connects again.\n")?,
        None => print("No agent runs here; nothing to stop.\n")?,
    }
    Ok(ExitCode::Done)
}
