//! `audit`

use askalf_bridge_core::api::ActView;
use askalf_cli::{ExitCode, Table, print};
use http::Method;

use super::{NOTHING, note_limit, show_json};
use crate::api_client::ApiClient;
use crate::home::Home;

pub(crate) async fn audit(home: &Home, limit: u32, json: bool) -> anyhow::Result<ExitCode> {
    let acts: Vec<ActView> = ApiClient::connect(home)
        .await?
        .call(Method::GET, &format!("/api/v1/acts?limit={limit}"), NOTHING)
        .await?;
    note_limit(acts.len(), limit);
    if json {
        show_json(&acts)?;
        return Ok(ExitCode::Done);
    }
    let mut table = Table::new(&["AT", "WHAT", "SUBJECT", "BY"]);
    for act in acts {
        table.row(vec![act.at, act.what, act.subject, act.by]);
    }
    print(&table.render())?;
    Ok(ExitCode::Done)
}
