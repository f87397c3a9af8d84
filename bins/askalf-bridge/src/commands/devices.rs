//! `devices list`

use askalf_bridge_core::api::DeviceView;
use askalf_cli::{ExitCode, Table, print};
use http::Method;

use super::{NOTHING, note_limit, or_dash, show_json};
use crate::api_client::ApiClient;
use crate::cli::Devices;
use crate::home::Home;

pub(crate) async fn devices(home: &Home, command: Devices) -> anyhow::Result<ExitCode> {
    let Devices::List { limit, json } = command;
    let devices: Vec<DeviceView> = ApiClient::connect(home)
        .await?
        .call(Method::GET, &format!("/api/v1/devices?limit={limit}"), NOTHING)
        .await?;
    note_limit(devices.len(), limit);
    if json {
        show_json(&devices)?;
        return Ok(ExitCode::Done);
    }
    let mut table = Table::new(&["ID", "NAME", "STATUS", "HOST", "OS", "LAST SEEN"]);
    for device in devices {
        table.row(vec![
            device.id,
            device.device_name,
            device.status,
            or_dash(device.hostname.as_deref()),
            or_dash(device.os.as_deref()),
            or_dash(device.last_seen_at.as_deref()),
        ]);
    }
    print(&table.render())?;
    Ok(ExitCode::Done)
}
