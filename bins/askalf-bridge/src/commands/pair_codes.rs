//! `pair-code`

use askalf_bridge_core::api::{MakePairCode, NewPairCodeView, PairCodeView};
use askalf_cli::{ExitCode, Table, print};
use http::Method;
use serde_json::json;

use super::{NOTHING, note_limit, or_dash, path_of, show_json};
use crate::api_client::ApiClient;
use crate::cli::PairCodes;
use crate::home::Home;

pub(crate) async fn pair_codes(home: &Home, command: PairCodes) -> anyhow::Result<ExitCode> {
    match command {
        PairCodes::New {
            name,
            user,
            device,
            ttl,
            json,
        } => {
            let request = MakePairCode {
                name,
                user,
                device,
                ttl_seconds: Some(ttl.as_secs()),
            };
            new(home, &request, json).await
        }
        PairCodes::List { limit, json } => list(home, limit, json).await,
        PairCodes::Withdraw { id, json } => withdraw(home, &id, json).await,
    }
}

async fn new(home: &Home, request: &MakePairCode, json: bool) -> anyhow::Result<ExitCode> {
    let made: NewPairCodeView = ApiClient::connect(home)
        .await?
        .call(Method::POST, "/api/v1/pair-codes", Some(request))
        .await?;
    if json {
        show_json(&made)?;
        return Ok(ExitCode::Done);
    }
    // A device that is paired anew knows its bridge.
    let (device, url) = match &made.view.device_id {
        Some(device) => (format!(", which pairs {device} anew"), ""),
        None => (String::new(), " --url URL"),
    };
    print(&format!(
        "Pairing code for '{}'{device}, good once until {}:\n\n  {}\n\nOn the device: askalf-agent pair {}{url}\n",
        made.view.name, made.view.expires_at, made.code, made.code
    ))?;
    Ok(ExitCode::Done)
}

async fn list(home: &Home, limit: u32, json: bool) -> anyhow::Result<ExitCode> {
    let codes: Vec<PairCodeView> = ApiClient::connect(home)
        .await?
        .call(Method::GET, &format!("/api/v1/pair-codes?limit={limit}"), NOTHING)
        .await?;
    note_limit(codes.len(), limit);
    if json {
        show_json(&codes)?;
        return Ok(ExitCode::Done);
    }
    let mut table = Table::new(&["ID", "NAME", "USER", "DEVICE", "EXPIRES"]);
    for code in codes {
        table.row(vec![
            code.id,
            code.name,
            code.user_id,
            or_dash(code.device_id.as_deref()),
            code.expires_at,
        ]);
    }
    print(&table.render())?;
    Ok(ExitCode::Done)
}

async fn withdraw(home: &Home, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let path = path_of("pair-codes", id, "/withdraw")?;
    ApiClient::connect(home).await?.tell(Method::POST, &path).await?;
    if json {
        show_json(&json!({ "id": id, "status": "withdrawn" }))?;
    } else {
        print(&format!("Pairing code {id} is worth nothing now.\n"))?;
    }
    Ok(ExitCode::Done)
}
