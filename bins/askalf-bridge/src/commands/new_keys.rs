//! `keys mint`, `keys rotate`, `keys import`

use std::path::PathBuf;
use std::time::Duration;

use askalf_bridge_auth::{KeyHash, KeyPrefix, TokenShape, key_preview};
use askalf_bridge_core::api::{ImportKey, KeyView, MintKey, MintedKeyView, RotateKey};
use askalf_cli::{ExitCode, Failure, print, read_token};
use http::Method;
use serde_json::json;

use super::out_file::OutFile;
use super::{NOTHING, note, path_of, show_json};
use crate::api_client::ApiClient;
use crate::cli::{KeyFacts, Mint};
use crate::home::Home;

pub(super) async fn mint(home: &Home, arguments: Mint) -> anyhow::Result<ExitCode> {
    let Mint {
        name,
        facts,
        out,
        json,
    } = arguments;
    let request = of_facts(name, facts);
    let mut client = ApiClient::connect(home).await?;
    warn_of_namesakes(&mut client, &request.name).await?;
    let out = out.map(OutFile::make).transpose()?;
    let minted: MintedKeyView = client.call(Method::POST, "/api/v1/keys", Some(&request)).await?;
    let headline = format!("Key {} for '{}'.", minted.id, request.name);
    show(&headline, &minted, out, json)
}

pub(super) async fn rotate(
    home: &Home,
    id: &str,
    overlap: Duration,
    expires: Option<Duration>,
    out: Option<PathBuf>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let (path, shown) = (path_of("keys", id, "/rotate")?, path_of("keys", id, "")?);
    let request = RotateKey {
        overlap_seconds: Some(overlap.as_secs()),
        ttl_seconds: expires.map(|expires| expires.as_secs()),
    };
    let mut client = ApiClient::connect(home).await?;
    let out = out.map(OutFile::make).transpose()?;
    let minted: MintedKeyView = client.call(Method::POST, &path, Some(&request)).await?;
    // The new key is shown whatever comes of this: it is nowhere else.
    let old = client.call::<KeyView>(Method::GET, &shown, NOTHING).await;
    let end = match old.map(|old| old.expires_at) {
        Ok(Some(end)) => format!("until {end}"),
        Ok(None) => "until it is revoked".to_owned(),
        Err(_) => "for the overlap".to_owned(),
    };
    let headline = format!(
        "Key {} takes the place of {id}, which stays good {end}.",
        minted.id
    );
    show(&headline, &minted, out, json)
}

pub(super) async fn import(
    home: &Home,
    name: String,
    hashed: Option<(String, String)>,
    facts: KeyFacts,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let (key_hash, key_prefix, preview) = match hashed {
        Some((hash, prefix)) => (hash, prefix, None),
        None => {
            let token = read_token()?;
            if token.shape() == TokenShape::Other {
                note("this token has no shape of a key; whoever can guess it gets in");
            }
            let hash = KeyHash::mint(&token)
                .map_err(|error| Failure::new(ExitCode::Failed, &error).hint(error.hint()))?;
            let prefix = KeyPrefix::of(&token).as_str().to_owned();
            (hash.to_string(), prefix, Some(key_preview(&token)))
        }
    };
    let request = ImportKey {
        key_hash,
        key_prefix,
        key_preview: preview,
        key: of_facts(name, facts),
    };
    let key: KeyView = ApiClient::connect(home)
        .await?
        .call(Method::POST, "/api/v1/keys/import", Some(&request))
        .await?;
    if json {
        show_json(&key)?;
    } else {
        print(&format!("Key {} ({}) is let in.\n", key.id, key.name))?;
    }
    Ok(ExitCode::Done)
}

fn of_facts(name: String, facts: KeyFacts) -> MintKey {
    let mut scopes = facts.scopes;
    if facts.device.is_some() && !scopes.is_empty() && !scopes.iter().any(|scope| scope == "device") {
        scopes.push("device".to_owned());
    }
    MintKey {
        name,
        user: facts.user,
        scopes,
        device: facts.device.flatten(),
        ttl_seconds: facts.expires.map(|expires| expires.as_secs()),
    }
}

/// Two keys of one name are hard to tell apart when one must be revoked. It is allowed: a name is for people.
async fn warn_of_namesakes(client: &mut ApiClient, name: &str) -> Result<(), Failure> {
    let newest: Vec<KeyView> = client
        .call(Method::GET, "/api/v1/keys?limit=1000", NOTHING)
        .await?;
    let namesake = newest
        .iter()
        .find(|key| key.status == "active" && key.name == name.trim());
    if let Some(namesake) = namesake {
        note(&format!(
            "key {} is named '{}' too; revoke it if this one takes its place",
            namesake.id,
            askalf_cli::one_line(name.trim())
        ));
    }
    Ok(())
}

fn show(
    headline: &str,
    minted: &MintedKeyView,
    out: Option<OutFile>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    match (out, json) {
        (Some(out), json) => {
            let path = out.write(&minted.key, &minted.id)?;
            if json {
                show_json(&json!({ "id": minted.id, "key_prefix": minted.key_prefix, "out": path }))?;
            } else {
                print(&format!("{headline} It is in {}.\n", path.display()))?;
            }
        }
        (None, true) => show_json(minted)?,
        (None, false) => print(&format!(
            "{headline} It is shown this once:\n\n  {}\n\nOn the device: askalf-agent pair --url URL, which asks for it.\n",
            minted.key
        ))?,
    }
    Ok(ExitCode::Done)
}
