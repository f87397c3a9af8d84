//! What saves that were cut off left behind: evidence until the next save is done.

use std::path::PathBuf;

use crate::disk::{Disk, Kind, Steady};
use crate::home::Home;
use crate::key_source::{HomeKeys, InHand};
use crate::keyfile::{Guard, read_key};
use crate::load::{LoadOptions, LoadOutcome, open, read_config};
use crate::seal::{SealKey, SealMode};
use crate::staging::{is_temporary_config, is_temporary_keyfile};

/// A temporary agent.json that is whole: it parses, was written by this format, and unseals.
pub(crate) struct WholeConfig {
    pub(crate) path: PathBuf,
    /// The temporary keyfile that it needs, where no keyfile is in place.
    pub(crate) keyfile: Option<PathBuf>,
}

/// The one whole temporary agent.json of a home. `None` too where there are several that differ in their key: which of them
/// was meant to stay cannot be told.
pub(crate) fn whole_config(disk: &Steady<'_>, home: &Home, options: &LoadOptions) -> Option<WholeConfig> {
    let names = disk.names(home.path()).ok()?;
    let mut keyfiles: Option<Vec<(PathBuf, SealKey)>> = None;
    let mut found: Option<(WholeConfig, askalf_bridge_auth::Token)> = None;
    for name in names.iter().filter(|name| is_temporary_config(name)) {
        let path = home.path().join(name);
        let private = disk.facts_at(&path).is_ok_and(|facts| {
            facts.kind == Kind::Regular && facts.foreign_owner.is_none() && facts.exposed.is_none()
        });
        let Some(bytes) = private.then(|| read_config(disk, &path).ok().flatten()).flatten() else {
            continue;
        };
        let in_place = HomeKeys {
            disk,
            home,
            sources: &options.keys,
        };
        let mut opened = written_by_us(open(&bytes, &in_place, options)).map(|token| (token, None));
        if opened.is_none() && disk.facts_at(&home.keyfile_path()).is_err() {
            let keyfiles = keyfiles.get_or_insert_with(|| {
                let paths = names
                    .iter()
                    .filter(|name| is_temporary_keyfile(name))
                    .map(|name| home.path().join(name));
                paths
                    .filter_map(|path| Some((path.clone(), read_key(disk, &path, Guard::Private).ok()?)))
                    .collect()
            });
            opened = keyfiles.iter().find_map(|(path, key)| {
                let key = InHand {
                    key: Some(key),
                    mode: SealMode::Keyfile,
                    keyfile: home.keyfile_path(),
                };
                Some((written_by_us(open(&bytes, &key, options))?, Some(path.clone())))
            });
        }
        let Some((token, keyfile)) = opened else { continue };
        match &found {
            Some((_, other)) if !token.ct_eq(other) => return None,
            Some(_) => {}
            None => {
                found = Some((WholeConfig { path, keyfile }, token));
            }
        }
    }
    found.map(|(config, _)| config)
}

/// The token, if the file is one that a save of this format would have put in place.
fn written_by_us(outcome: LoadOutcome) -> Option<askalf_bridge_auth::Token> {
    match outcome {
        LoadOutcome::Ready(credential)
        | LoadOutcome::Plaintext {
            credential,
            chosen: true,
        } if credential.seal.version.is_some() && !credential.seal.stale => Some(credential.token),
        LoadOutcome::Ready(_)
        | LoadOutcome::Plaintext { .. }
        | LoadOutcome::Absent
        | LoadOutcome::Refused(_) => None,
    }
}
