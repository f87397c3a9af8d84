//! `keys mint|list|revoke|verify`

use askalf_bridge_auth::KeyHash;
use askalf_bridge_core::api::{KeyView, MintKey, MintedKeyView};
use askalf_cli::{ExitCode, Failure, Table, print, read_token};
use http::Method;

use super::{NOTHING, note_limit, or_dash, path_of, show_json};
use crate::api_client::ApiClient;
use crate::cli::Keys;
use crate::home::Home;

pub(crate) async fn keys(home: &Home, command: Keys) -> anyhow::Result<ExitCode> {
    match command {
        Keys::Mint {
            name,
            user,
            scopes,
            json,
        } => mint(home, MintKey { name, user, scopes }, json).await,
        Keys::List { limit, json } => list(home, limit, json).await,
        Keys::Revoke { id, json } => revoke(home, &id, json).await,
        Keys::Verify { key_hash, .. } => verify(&key_hash),
    }
}

async fn mint(home: &Home, request: MintKey, json: bool) -> anyhow::Result<ExitCode> {
    let minted: MintedKeyView = ApiClient::connect(home)
        .await?
        .call(Method::POST, "/api/v1/keys", Some(&request))
        .await?;
    if json {
        show_json(&minted)?;
    } else {
        print(&format!(
            "Key {} for '{}'. It is shown this once:\n\n  {}\n\nOn the device: askalf-agent pair --url URL, which asks for it.\n",
            minted.id, request.name, minted.key
        ))?;
    }
    Ok(ExitCode::Done)
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
