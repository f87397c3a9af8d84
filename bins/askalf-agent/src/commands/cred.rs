//! `cred status|verify|hash`: never prints a secret, but for `hash --mint`, which makes one.

use askalf_bridge_auth::{KeyHash, MintedKey, mint_key};
use askalf_cli::{ExitCode, Failure, print, read_token, warn};
use askalf_cred::{LoadOutcome, rotate_key_with};
use serde::Serialize;

use super::{bundle, show_json};
use crate::cli::Cred;
use crate::vault::{Vault, exit_code};

pub(crate) fn cred(vault: Vault, command: Cred) -> anyhow::Result<ExitCode> {
    match command {
        Cred::Status { json } => status(&vault.unlock()?, json),
        Cred::Verify { json } => verify(&vault.unlock()?, json),
        Cred::Hash { mint, .. } => hash(mint),
        Cred::RotateKey { json } => rotate_key(&vault.unlock()?, json),
        Cred::Export { out } => bundle::export_device(vault.unlock()?, &out),
        Cred::Import { file, replace } => bundle::import_device(vault, &file, replace),
    }
}

/// `cred status --json` and `cred verify --json`.
#[derive(Serialize)]
struct View<'a> {
    /// Stable name of the outcome.
    outcome: &'a str,
    /// Whether there is a key to present.
    usable: bool,
    message: String,
    hint: Option<String>,
    /// How the key is kept: `keyfile`, `plaintext`, `service-credential`, `passphrase`, `machine-key`.
    mode: Option<&'a str>,
    /// Which keyfile sealed it.
    key_id: Option<String>,
    url: Option<&'a str>,
    device_name: Option<&'a str>,
    home: String,
}

fn view<'a>(vault: &Vault, outcome: &'a LoadOutcome) -> View<'a> {
    let credential = match outcome {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => Some(credential),
        LoadOutcome::Absent | LoadOutcome::Refused(_) => None,
    };
    View {
        outcome: outcome.id(),
        usable: credential.is_some(),
        message: outcome.to_string(),
        hint: outcome.hint(),
        mode: credential.map(|credential| credential.seal.mode.as_str()),
        key_id: credential
            .and_then(|credential| credential.seal.key_id)
            .map(|id| id.to_string()),
        url: credential.and_then(|credential| credential.config.url.as_deref()),
        device_name: credential.and_then(|credential| credential.config.device_name.as_deref()),
        home: vault.home().path().display().to_string(),
    }
}

fn status(vault: &Vault, json: bool) -> anyhow::Result<ExitCode> {
    let outcome = vault.load_any_generation();
    let view = view(vault, &outcome);
    if json {
        show_json(&view)?;
        return Ok(ExitCode::Done);
    }
    let mut text = format!("{}: {}\n", view.outcome, view.message);
    for (name, value) in [
        ("hint", view.hint.as_deref()),
        ("mode", view.mode),
        ("key id", view.key_id.as_deref()),
        ("bridge", view.url),
        ("device", view.device_name),
        ("home", Some(view.home.as_str())),
    ] {
        if let Some(value) = value {
            text.push_str(&format!("{name:<7} {}\n", askalf_cli::one_line(value)));
        }
    }
    print(&text)?;
    Ok(ExitCode::Done)
}

fn verify(vault: &Vault, json: bool) -> anyhow::Result<ExitCode> {
    let outcome = vault.load_any_generation();
    let view = view(vault, &outcome);
    if json {
        show_json(&view)?;
        return Ok(if view.usable {
            ExitCode::Done
        } else {
            ExitCode::Configuration
        });
    }
    if !view.usable {
        let failure = Failure::new(ExitCode::Configuration, view.message);
        return Err(view.hint.into_iter().fold(failure, Failure::hint).into());
    }
    print(&format!("{}\n", view.message))?;
    Ok(ExitCode::Done)
}

/// What a row of `api_keys` needs.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    key_hash: String,
    key_prefix: String,
}

fn hash(mint: bool) -> anyhow::Result<ExitCode> {
    let random =
        |error: askalf_bridge_auth::MintError| Failure::new(ExitCode::Failed, &error).hint(error.hint());
    if mint {
        let MintedKey {
            token, hash, prefix, ..
        } = mint_key().map_err(random)?;
        show_json(&Row {
            key: Some(token.expose_secret()),
            key_hash: hash.to_string(),
            key_prefix: prefix.as_str().to_owned(),
        })?;
    } else {
        let token = read_token()?;
        let hash = KeyHash::mint(&token).map_err(random)?;
        show_json(&Row {
            key: None,
            key_hash: hash.to_string(),
            key_prefix: token.prefix().as_str().to_owned(),
        })?;
    }
    Ok(ExitCode::Done)
}

fn rotate_key(vault: &Vault, json: bool) -> anyhow::Result<ExitCode> {
    #[derive(Serialize)]
    struct Keys {
        old_key_id: String,
        key_id: String,
    }
    let rotated = rotate_key_with(vault.home(), &vault.save_options())
        .map_err(|error| Failure::new(exit_code(error.exit_code()), &error).hint(error.hint()))?;
    if let Some(fault) = &rotated.unfinished {
        warn(
            format!("the last step is left to the next start: {fault}"),
            "the credential is whole; start the agent, or run this again",
        );
    }
    let keys = Keys {
        old_key_id: rotated.old_key.to_string(),
        key_id: rotated.new_key.to_string(),
    };
    if json {
        show_json(&keys)?;
    } else {
        print(&format!(
            "The credential is sealed under a new keyfile: {} in place of {}.\n",
            keys.key_id, keys.old_key_id
        ))?;
    }
    Ok(ExitCode::Done)
}
