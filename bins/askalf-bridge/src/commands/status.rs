//! `status`: how the bridge that runs here is doing.

use askalf_bridge_core::api::StatusView;
use askalf_cli::{ExitCode, Failure, print};
use http::Method;

use super::{NOTHING, facts, show_json};
use crate::api_client::ApiClient;
use crate::home::Home;

pub(crate) async fn status(home: &Home, json: bool) -> anyhow::Result<ExitCode> {
    let Some(mut client) = ApiClient::running(home).await? else {
        return Err(Failure::new(ExitCode::Unavailable, "no bridge runs here")
            .hint("start one with 'askalf-bridge serve'")
            .into());
    };
    let status: StatusView = client.call(Method::GET, "/api/v1/status", NOTHING).await?;
    if json {
        show_json(&status)?;
        return Ok(ExitCode::Done);
    }
    let refused: Vec<String> = status
        .checks_refused
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    let rows = [
        ("bridge", status.phase),
        ("version", status.version),
        ("sessions", status.sessions.to_string()),
        ("devices online", status.devices.to_string()),
        ("executions on them", status.executions.to_string()),
        ("devices awaited", status.devices_awaited.to_string()),
        ("dispatched", status.dispatched.to_string()),
        ("sent again", status.redelivered.to_string()),
        ("ended", status.ended.to_string()),
        ("acknowledged", status.acknowledged.to_string()),
        ("keys accepted", status.checks_accepted.to_string()),
        (
            "keys refused",
            if refused.is_empty() {
                "0".to_owned()
            } else {
                refused.join(", ")
            },
        ),
        ("malformed prefixes", status.malformed_prefixes.to_string()),
    ];
    let rows: Vec<(&str, &str)> = rows.iter().map(|(name, value)| (*name, value.as_str())).collect();
    print(&facts(&rows))?;
    Ok(ExitCode::Done)
}
