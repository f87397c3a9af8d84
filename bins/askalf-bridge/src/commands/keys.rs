//! `keys`

use askalf_bridge_auth::KeyHash;
use askalf_bridge_core::api::{AttemptView, KeyView};
use askalf_cli::{ExitCode, Failure, Table, print, read_token};
use http::Method;

use super::{NOTHING, facts, new_keys, note_limit, or_dash, path_of, repair, rotations, segment, show_json};
use crate::api_client::ApiClient;
use crate::cli::Keys;
use crate::home::Home;

pub(crate) async fn keys(home: &Home, command: Keys) -> anyhow::Result<ExitCode> {
    match command {
        Keys::Mint(arguments) => new_keys::mint(home, arguments).await,
        Keys::List { limit, json } => list(home, limit, json).await,
        Keys::Show { id, json } => show(home, &id, json).await,
        Keys::Revoke { id, json } => revoke(home, &id, json).await,
        Keys::Rotate {
            device: Some(device),
            json,
            ..
        } => rotations::begin(home, &device, json).await,
        Keys::Rotate {
            id,
            device: None,
            overlap,
            expires,
            out,
            json,
        } => new_keys::rotate(home, &id.unwrap_or_default(), overlap, expires, out, json).await,
        Keys::Rotations { limit, json } => rotations::list(home, limit, json).await,
        Keys::Import {
            name,
            key_hash,
            key_prefix,
            facts,
            json,
            token: _,
        } => new_keys::import(home, name, key_hash.zip(key_prefix), facts, json).await,
        Keys::Verify {
            key_hash: Some(key_hash),
            ..
        } => verify(&key_hash),
        Keys::Verify { json, .. } => repair::repair(home, json).await,
        Keys::Attempts { prefix, limit, json } => attempts(home, prefix.as_deref(), limit, json).await,
    }
}

async fn list(home: &Home, limit: u32, json: bool) -> anyhow::Result<ExitCode> {
    let keys: Vec<KeyView> = ApiClient::connect(home)
        .await?
        .call(Method::GET, &format!("/api/v1/keys?limit={limit}"), NOTHING)
        .await?;
    note_limit(keys.len(), limit);
    if json {
        show_json(&keys)?;
        return Ok(ExitCode::Done);
    }
    let mut table = Table::new(&[
        "ID",
        "NAME",
        "PREFIX",
        "SCOPES",
        "STATUS",
        "USER",
        "LAST USED",
        "USES",
    ]);
    for key in keys {
        table.row(vec![
            key.id,
            key.name,
            key.key_prefix,
            key.scopes.join(","),
            key.status,
            or_dash(key.user_id.as_deref()),
            or_dash(key.last_used_at.as_deref()),
            key.usage_count.to_string(),
        ]);
    }
    print(&table.render())?;
    Ok(ExitCode::Done)
}

async fn show(home: &Home, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let path = path_of("keys", id, "")?;
    let key: KeyView = ApiClient::connect(home)
        .await?
        .call(Method::GET, &path, NOTHING)
        .await?;
    if json {
        show_json(&key)?;
        return Ok(ExitCode::Done);
    }
    let scopes = key.scopes.join(",");
    let uses = key.usage_count.to_string();
    let rows = [
        ("id", key.id.as_str()),
        ("name", &key.name),
        ("prefix", &key.key_prefix),
        ("scopes", &scopes),
        ("status", &key.status),
        ("tenant", &key.tenant_id),
        ("user", key.user_id.as_deref().unwrap_or("-")),
        ("device", key.device_id.as_deref().unwrap_or("-")),
        ("created", &key.created_at),
        ("expires", key.expires_at.as_deref().unwrap_or("never")),
        ("revoked", key.revoked_at.as_deref().unwrap_or("-")),
        ("last used", key.last_used_at.as_deref().unwrap_or("-")),
        ("uses", &uses),
    ];
    print(&facts(&rows))?;
    Ok(ExitCode::Done)
}

async fn attempts(home: &Home, prefix: Option<&str>, limit: u32, json: bool) -> anyhow::Result<ExitCode> {
    let mut path = format!("/api/v1/attempts?limit={limit}");
    if let Some(prefix) = prefix {
        path.push_str(&format!("&prefix={}", segment(prefix)));
    }
    let attempts: Vec<AttemptView> = ApiClient::connect(home)
        .await?
        .call(Method::GET, &path, NOTHING)
        .await?;
    note_limit(attempts.len(), limit);
    if json {
        show_json(&attempts)?;
        return Ok(ExitCode::Done);
    }
    let mut table = Table::new(&["AT", "PREFIX", "REASON", "KEY", "ADDRESS", "COUNT"]);
    for attempt in attempts {
        table.row(vec![
            attempt.at,
            attempt.key_preview,
            attempt.reason,
            or_dash(attempt.key_id.as_deref()),
            or_dash(attempt.address.as_deref()),
            attempt.count.to_string(),
        ]);
    }
    print(&table.render())?;
    Ok(ExitCode::Done)
}

async fn revoke(home: &Home, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let path = path_of("keys", id, "/revoke")?;
    let key: KeyView = ApiClient::connect(home)
        .await?
        .call(Method::POST, &path, NOTHING)
        .await?;
    if json {
        show_json(&key)?;
    } else {
        print(&format!("Key {} ({}) is revoked.\n", key.id, key.name))?;
    }
    Ok(ExitCode::Done)
}

fn verify(key_hash: &str) -> anyhow::Result<ExitCode> {
    let hash =
        KeyHash::parse(key_hash).map_err(|error| Failure::new(ExitCode::Usage, &error).hint(error.hint()))?;
    let matches = hash.verify(&read_token()?);
    print(if matches { "match\n" } else { "no match\n" })?;
    Ok(if matches { ExitCode::Done } else { ExitCode::Failed })
}
