//! `devices`

use askalf_bridge_core::api::{DeviceView, KeyView};
use askalf_cli::{ExitCode, Table, print};
use http::Method;

use super::{NOTHING, facts, note, note_limit, or_dash, path_of, show_json};
use crate::api_client::ApiClient;
use crate::cli::Devices;
use crate::home::Home;

pub(crate) async fn devices(home: &Home, command: Devices) -> anyhow::Result<ExitCode> {
    match command {
        Devices::List { limit, json } => list(home, limit, json).await,
        Devices::Show { device, json } => show(home, &device, json).await,
        Devices::Remove { device, json } => {
            let path = path_of("devices", &device, "")?;
            let removed = act(home, Method::DELETE, &path, "is removed", json).await?;
            warn_of_good_key(home, &removed.api_key_id).await;
            Ok(ExitCode::Done)
        }
        Devices::Disconnect { device, json } => {
            let path = path_of("devices", &device, "/disconnect")?;
            act(
                home,
                Method::POST,
                &path,
                "is disconnected; it may come back",
                json,
            )
            .await?;
            Ok(ExitCode::Done)
        }
    }
}

async fn show(home: &Home, device: &str, json: bool) -> anyhow::Result<ExitCode> {
    let path = path_of("devices", device, "")?;
    let device: DeviceView = ApiClient::connect(home)
        .await?
        .call(Method::GET, &path, NOTHING)
        .await?;
    if json {
        show_json(&device)?;
        return Ok(ExitCode::Done);
    }
    let most = device.max_concurrent_tasks.to_string();
    let mut rows = vec![
        ("id", device.id.as_str()),
        ("name", &device.device_name),
        ("status", &device.status),
        ("type", &device.device_type),
        ("host", device.hostname.as_deref().unwrap_or("-")),
        ("os", device.os.as_deref().unwrap_or("-")),
        ("user", &device.user_id),
        ("key", &device.api_key_id),
        ("tasks at once", &most),
        ("last seen", device.last_seen_at.as_deref().unwrap_or("-")),
        ("created", &device.created_at),
    ];
    let head = device.audit_head.as_ref().map(|head| {
        let newest = format!("{}:{} since {}", head.seq, head.head, head.received_at);
        let conflicts = match (
            &head.last_conflict_at,
            head.last_conflict_seq,
            &head.last_conflict_head,
        ) {
            (Some(at), Some(seq), Some(digits)) => {
                format!("{}, the last {at}: {seq}:{digits}", head.conflicts)
            }
            _ => "none".to_owned(),
        };
        (newest, conflicts)
    });
    if let Some((newest, conflicts)) = &head {
        rows.push(("audit head", newest));
        rows.push(("audit conflicts", conflicts));
    }
    print(&facts(&rows))?;
    Ok(ExitCode::Done)
}

async fn act(home: &Home, method: Method, path: &str, done: &str, json: bool) -> anyhow::Result<DeviceView> {
    let device: DeviceView = ApiClient::connect(home)
        .await?
        .call(method, path, NOTHING)
        .await?;
    if json {
        show_json(&device)?;
    } else {
        let name = askalf_cli::one_line(&device.device_name);
        print(&format!("Device {} ({name}) {done}.\n", device.id))?;
    }
    Ok(device)
}

/// Whoever removes a device wants it out; with a key that was not bound to it, it is back in a moment as a new one.
async fn warn_of_good_key(home: &Home, id: &str) {
    let key = async {
        ApiClient::connect(home)
            .await?
            .call::<KeyView>(Method::GET, &path_of("keys", id, "")?, NOTHING)
            .await
    };
    // The device is removed, whatever is known of its key.
    if let Ok(key) = key.await
        && key.status == "active"
    {
        note(&format!(
            "its key is still good, and lets it come back as a new device; to shut it out: askalf-bridge keys revoke {id}"
        ));
    }
}

async fn list(home: &Home, limit: u32, json: bool) -> anyhow::Result<ExitCode> {
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
