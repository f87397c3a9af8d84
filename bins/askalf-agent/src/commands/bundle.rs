//! `cred export` and `cred import`: a device's identity on its way to other hardware, sealed under a passphrase.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::SystemTime;

use askalf_agent_core::DeviceIdStore;
use askalf_cli::{ExitCode, Failure, in_plain_words, print, private_file};
use askalf_cred::{
    Bundle, BundleError, LoadOutcome, MAX_BUNDLE_BYTES, Passphrase, SealMode, export, import, save_with,
};

use super::pair::tell_saved;
use crate::device_id_file::DeviceIdFile;
use crate::vault::{Vault, exit_code};

pub(super) fn export_device(vault: Vault, out: &Path) -> anyhow::Result<ExitCode> {
    let credential = match vault.load() {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => credential,
        outcome @ (LoadOutcome::Absent | LoadOutcome::Refused(_)) => {
            let failure = Failure::new(ExitCode::Configuration, &outcome);
            return Err(outcome.hint().into_iter().fold(failure, Failure::hint).into());
        }
    };
    let device_id = DeviceIdFile::new(vault.home())
        .load()
        .map_err(|error| Failure::new(ExitCode::Failed, &error).hint(error.hint()))?;
    let vault = vault.with_new_passphrase()?;
    let bundle = Bundle {
        token: credential.token,
        config: credential.config,
        device_id,
    };
    let bytes = export(&bundle, passphrase(&vault)?).map_err(bundle_failure)?;
    write_new(out, &bytes).map_err(|error| {
        Failure::new(
            ExitCode::Failed,
            format!("{} was not written: {}", out.display(), in_plain_words(&error)),
        )
        .hint("name a file that does not exist yet, in a folder that you may write to")
    })?;
    print(&format!(
        "The device's identity is in {}, sealed under the passphrase.\nOn the new hardware: askalf-agent cred import FILE. Then stop the agent here: two machines with one key put each other out.\n",
        out.display()
    ))?;
    Ok(ExitCode::Done)
}

pub(super) fn import_device(vault: Vault, file: &Path, replace: bool) -> anyhow::Result<ExitCode> {
    let present = vault.load();
    if matches!(present, LoadOutcome::Ready(_) | LoadOutcome::Plaintext { .. }) && !replace {
        return Err(
            Failure::new(ExitCode::Configuration, "this device has a key already")
                .hint("add --replace to put the imported one in its place")
                .into(),
        );
    }
    let unreadable = |error: &std::io::Error| {
        Failure::new(
            ExitCode::Usage,
            format!("{} cannot be read: {}", file.display(), in_plain_words(error)),
        )
        .hint("name the file that 'askalf-agent cred export' wrote")
    };
    let mut bytes = Vec::new();
    let limit = MAX_BUNDLE_BYTES as u64 + 1;
    File::open(file)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| unreadable(&error))?;
    let vault = match vault.keys().passphrase {
        Some(_) => vault,
        None => vault.ask_passphrase()?,
    };
    let bundle = import(&bytes, passphrase(&vault)?).map_err(bundle_failure)?;
    vault.create()?;
    let saved = save_with(
        vault.home(),
        &bundle.token,
        &bundle.config,
        SealMode::Keyfile,
        SystemTime::now(),
        &vault.save_options(),
    )
    .map_err(|error| Failure::new(exit_code(error.exit_code()), &error).hint(error.hint()))?;
    tell_saved(&saved)?;
    if let Some(id) = &bundle.device_id
        && let Err(error) = DeviceIdFile::new(vault.home()).save(id)
    {
        tracing::warn!("{error}. {}", error.hint());
    }
    print(
        "This device has the imported identity. Stop the agent on the old hardware before you start one here.\n",
    )?;
    Ok(ExitCode::Done)
}

fn passphrase(vault: &Vault) -> Result<&Passphrase, Failure> {
    vault
        .keys()
        .passphrase
        .as_ref()
        .ok_or_else(|| Failure::new(ExitCode::Usage, "a passphrase is needed"))
}

fn bundle_failure(error: BundleError) -> Failure {
    Failure::new(exit_code(error.exit_code()), &error).hint(error.hint())
}

/// Writes a file that must not exist yet, for its owner alone.
fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = private_file().create_new(true).write(true).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    drop(file);
    if written.is_err() {
        // Half a bundle helps nobody; should it stay, reading it says so.
        let _stays = std::fs::remove_file(path);
    }
    written
}
