use std::io::ErrorKind;
use std::path::Path;

use crate::disk::{Disk, FileVersion, Steady, SystemDisk};
use crate::home::Home;

/// The state of agent.json and keyfile at one moment, from two `stat` calls. Two stamps are equal if neither file was written,
/// replaced, or had its owner or mode changed in between.
///
/// Take the stamp before the load: a change during the load then shows as a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigStamp {
    config: State,
    keyfile: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Absent,
    Present(FileVersion),
    Unknown(ErrorKind),
}

/// The present state of a home's credential.
pub fn stamp(home: &Home) -> ConfigStamp {
    stamp_on(&Steady(&SystemDisk), home)
}

pub(crate) fn stamp_on(disk: &Steady<'_>, home: &Home) -> ConfigStamp {
    ConfigStamp {
        config: state(disk, &home.config_path()),
        keyfile: state(disk, &home.keyfile_path()),
    }
}

fn state(disk: &Steady<'_>, path: &Path) -> State {
    match disk.facts_at(path) {
        Ok(facts) => State::Present(facts.version),
        Err(error) if error.kind() == ErrorKind::NotFound => State::Absent,
        Err(error) => State::Unknown(error.kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_looked_at_is_not_one_that_is_absent() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        std::fs::write(&file, "").unwrap();
        let absent = stamp(&Home::new(scratch.path()));
        assert_eq!(absent, stamp(&Home::new(scratch.path().join("none"))));
        assert_ne!(absent, stamp(&Home::new(file)));
    }
}
