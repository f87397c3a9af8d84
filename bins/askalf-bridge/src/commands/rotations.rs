//! `keys rotate --device`, `keys rotations`

use askalf_bridge_core::api::RotationView;
use askalf_cli::{ExitCode, Table, print};
use http::Method;

use super::{NOTHING, note_limit, or_dash, path_of, show_json};
use crate::api_client::ApiClient;
use crate::home::Home;

pub(super) async fn begin(home: &Home, device: &str, json: bool) -> anyhow::Result<ExitCode> {
    let path = path_of("devices", device, "/rotate")?;
    let rotation: RotationView = ApiClient::connect(home)
        .await?
        .call(Method::POST, &path, NOTHING)
        .await?;
    if json {
        show_json(&rotation)?;
    } else {
        print(&format!(
            "Rotation {}: key {} is on its way to {}, in the place of {}. How it goes: askalf-bridge keys rotations\n",
            rotation.id, rotation.new_key_id, rotation.device_id, rotation.old_key_id
        ))?;
    }
    Ok(ExitCode::Done)
}

pub(super) async fn list(home: &Home, limit: u32, json: bool) -> anyhow::Result<ExitCode> {
    let rotations: Vec<RotationView> = ApiClient::connect(home)
        .await?
        .call(Method::GET, &format!("/api/v1/rotations?limit={limit}"), NOTHING)
        .await?;
    note_limit(rotations.len(), limit);
    if json {
        show_json(&rotations)?;
        return Ok(ExitCode::Done);
    }
    let mut table = Table::new(&["ID", "DEVICE", "STATE", "BEGUN", "ENDED", "NEW KEY", "REASON"]);
    for rotation in rotations {
        table.row(vec![
            rotation.id,
            rotation.device_id,
            shown(&rotation.state).to_owned(),
            rotation.staged_at,
            or_dash(rotation.ended_at.as_deref()),
            rotation.new_key_id,
            or_dash(rotation.reason.as_deref()),
        ]);
    }
    print(&table.render())?;
    Ok(ExitCode::Done)
}

/// What is not decided yet is pending, and how far it is.
fn shown(state: &str) -> &str {
    match state {
        "staged" => "pending (staged)",
        "committed" => "pending (committed)",
        other => other,
    }
}
