//! A thousand starts and loads on one home while everything that older agents derived their key from changes: host name, user,
//! network cards, clock, and the way the home is spelled. What a process inherits (environment, locale, a real host name) is
//! changed around the real program, in the end-to-end test of the same name.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]
#![cfg(unix)]

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use askalf_cred::{Home, Interface, LoadOutcome, MachineFacts, MigrationStep, SealMode, load, migrate};
use common::{Scratch, TOKEN};

const ROUNDS: usize = 1000;

/// The machine in one round: another name, user and set of cards in each, and each card with another address.
fn machine(round: usize) -> MachineFacts {
    let number = u8::try_from(round % 251).unwrap();
    let card = |at: usize| Interface {
        name: ["eth0", "docker0", "veth1a2b", "wlan0", "lo"][at].to_owned(),
        mac: format!("02:42:ac:{:02x}:{:02x}:{at:02x}", round / 251, number),
        addresses: [
            IpAddr::V4(Ipv4Addr::new(10, 0, number, 1)),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ][..=(round + at) % 2]
            .to_vec(),
        up: !(round + at).is_multiple_of(3),
        loopback: at == 4,
        is_virtual: at == 1 || at == 2,
    };
    MachineFacts {
        hostname: format!("host-{round}.example"),
        username: ["root", "askalf-agent", "ann"][round % 3].to_owned(),
        arch: ["x64", "arm64"][round % 2].to_owned(),
        platform: ["linux", "darwin", "win32"][round % 3].to_owned(),
        interfaces: (0..round % 6 % 5 + 1).map(card).collect(),
    }
}

/// A clock that stands at the epoch, before it, in each year to come, and far beyond what has a date.
fn clock(round: usize) -> SystemTime {
    let seconds = u64::try_from(round).unwrap() * 31_557_601;
    match round % 5 {
        0 => SystemTime::UNIX_EPOCH,
        1 => SystemTime::UNIX_EPOCH - Duration::from_secs(seconds),
        2 => SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40),
        _ => SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
    }
}

/// The ways to write one folder.
fn spellings(home: &Path) -> Vec<PathBuf> {
    let (parent, name) = (home.parent().unwrap(), home.file_name().unwrap());
    let link = parent.join("link");
    std::os::unix::fs::symlink(parent, &link).unwrap();
    let here = std::env::current_dir().unwrap();
    let depth = here
        .components()
        .filter(|part| matches!(part, Component::Normal(_)));
    let up: PathBuf = depth.map(|_| "..").collect();
    let relative = up.join(home.strip_prefix("/").unwrap());
    let with = |suffix: &str| PathBuf::from(format!("{}{suffix}", home.display()));
    vec![
        home.to_path_buf(),
        with("/"),
        with("///"),
        with("/."),
        parent.join(".").join(name),
        PathBuf::from(format!("{}//{}", parent.display(), name.display())),
        home.join("..").join(name),
        link.join(name),
        link.join("link")
            .join("..")
            .join(parent.file_name().unwrap())
            .join(name),
        Path::new(".").join(&relative),
        relative,
    ]
}

#[test]
fn a_thousand_starts_in_changing_surroundings_read_the_key_and_write_nothing() {
    let scratch = Scratch::new();
    common::save(&scratch.home(), TOKEN, SealMode::Keyfile);
    let spellings = spellings(scratch.home().path());
    let before = scratch.snapshot();
    for round in 0..ROUNDS {
        let home = Home::new(&spellings[round % spellings.len()]);
        let start = migrate(&home, &machine(round), clock(round));
        let point = format!("round {round}, {}", home.path().display());
        assert!(
            matches!(start.step, MigrationStep::NotNeeded),
            "{point}: {:?}",
            start.step
        );
        assert!(start.recovery.is_nothing(), "{point}: {:?}", start.recovery);
        for outcome in [start.outcome, load(&home)] {
            let LoadOutcome::Ready(credential) = outcome else {
                panic!("{point}: {outcome}");
            };
            assert_eq!(credential.token.expose_secret(), TOKEN, "{point}");
        }
        assert_eq!(scratch.snapshot(), before, "{point}: the home was written");
    }
    println!(
        "proof: {ROUNDS} starts and loads in changing surroundings: 0 failed, 0 bytes of the home changed"
    );
}

/// The change is real: a key under facts of the machine does not survive it.
#[test]
fn a_key_of_an_older_agent_is_lost_in_the_same_surroundings() {
    let scratch = Scratch::new();
    // The vector `machine-key-2.0`, sealed on the host web-01.
    let sealed =
        "MhRiMqa3MdLYm50GuIZ3Cue6IKAuR9URbtYyxD8nLyGhJhVHCfA14kELHAUc/sFTVZAgZSbNWHvYuiF6k4wBH5l+OZw=";
    scratch.write_config(serde_json::json!({"apiKey": sealed, "_encrypted": true}).to_string());
    let before = scratch.snapshot();
    let start = migrate(&scratch.home(), &machine(1), clock(3));
    assert_eq!(start.outcome.id(), "machine-key", "{}", start.outcome);
    assert_eq!(scratch.snapshot(), before);
}
