//! What a daemon does with the credential before it connects.

use std::time::SystemTime;

use anyhow::Context;
use askalf_cred::{AgentConfig, KeySources, LoadOutcome, MigrationStep, Recovery, Settled, migrate_with};

use crate::machine_facts::machine_facts;
use crate::vault::Vault;

/// Completes what an act left staged and seals the key of an older agent anew, once; on files of our own nothing is
/// written. Yields the config, and the keys that later loads need.
pub(crate) async fn start(vault: &Vault) -> anyhow::Result<(AgentConfig, KeySources)> {
    let migrating = vault.clone();
    let migration = tokio::task::spawn_blocking(move || {
        let options = migrating
            .save_options()
            .keys(migrating.keys().clone().machine(machine_facts()));
        migrate_with(migrating.home(), SystemTime::now(), &options)
    })
    .await
    .context("reading the credential was cut off")?;
    tell_recovery(&migration.recovery);
    let hint = migration.step.hint().unwrap_or_default();
    let mut keys = vault.keys().clone();
    match &migration.step {
        MigrationStep::Done { .. } => tracing::info!("{}. {hint}", migration.step),
        MigrationStep::Failed { .. } => {
            tracing::warn!("{}. {hint}", migration.step);
            keys = keys.machine(machine_facts());
        }
        _ => {}
    }
    let config = match migration.outcome {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => credential.config,
        LoadOutcome::Absent | LoadOutcome::Refused(_) => AgentConfig::default(),
    };
    for field in config.misread() {
        tracing::warn!("agent.json: the value of '{field}' has the wrong type and is not used");
    }
    Ok((config, keys))
}

fn tell_recovery(recovery: &Recovery) {
    match recovery.keyfile {
        Some(Settled::RolledForward) => {
            tracing::info!("a rotation of the keyfile that was cut off is complete")
        }
        Some(Settled::RolledBack) => tracing::info!("a rotation of the keyfile that was cut off is undone"),
        _ => {}
    }
    if let Some(file) = &recovery.completed {
        tracing::info!(
            "a save that was cut off is complete: {} is in place",
            file.display()
        );
    }
    if let Some(file) = &recovery.moved_aside {
        tracing::info!("the torn agent.json is kept as {}", file.display());
    }
    if let Some(fault) = &recovery.fault {
        tracing::warn!(
            "what an earlier act left staged stays so: {fault}. {}",
            fault.hint()
        );
    }
}
