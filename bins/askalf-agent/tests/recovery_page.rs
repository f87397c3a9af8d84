//! `docs/recovery.md`, which `askalf-agent recovery` prints, and the reasons that the agent shows: each has its row, and
//! no row speaks of one that does not exist.

use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../../docs/recovery.md");

/// Where reasons are named: the part before the tests.
const SOURCES: [&str; 12] = [
    include_str!("../../../crates/askalf-agent-core/src/machine/disposition.rs"),
    include_str!("../../../crates/askalf-agent-core/src/machine/connection.rs"),
    include_str!("../../../crates/askalf-agent-core/src/driver/event_loop.rs"),
    include_str!("../../../crates/askalf-agent-core/src/journal/error.rs"),
    include_str!("../../../crates/askalf-agent-core/src/endpoint.rs"),
    include_str!("../../../crates/askalf-agent-core/src/route/ca_certificates.rs"),
    include_str!("../../../crates/askalf-agent-core/src/route/gateway_access.rs"),
    include_str!("../../../crates/askalf-agent-core/src/route/tls_pin.rs"),
    include_str!("../src/route.rs"),
    include_str!("../../../crates/askalf-cred/src/unreadable.rs"),
    include_str!("../../../crates/askalf-cred/src/key_fault.rs"),
    include_str!("../../../crates/askalf-cred/src/kdf.rs"),
];

/// Reasons that need nobody, as they are what goes on at the moment; and names of headers.
const PASSING: [&str; 5] = [
    "asked-again",
    "socket-open",
    "bridge-complaint",
    "cf-access-client-id",
    "cf-access-client-secret",
];

/// Named where only a part of the source is a reason.
const ELSEWHERE: [&str; 2] = ["absent", "no-url"];

#[test]
fn every_reason_has_its_row_and_every_row_its_reason() {
    let named: BTreeSet<&str> = SOURCES
        .iter()
        .flat_map(|source| source.split("#[cfg(test)]").next().unwrap().split('"'))
        .filter(|text| is_reason(text))
        .filter(|text| !PASSING.contains(text))
        .chain(ELSEWHERE)
        .collect();
    let rows: BTreeSet<&str> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .flat_map(|row| row.split(" | ").next().unwrap().split(", "))
        .map(|word| word.trim_matches('`'))
        .collect();
    let missing: Vec<_> = named.difference(&rows).collect();
    let unknown: Vec<_> = rows.difference(&named).collect();
    assert!(missing.is_empty(), "reasons without a row: {missing:?}");
    assert!(unknown.is_empty(), "rows without a reason: {unknown:?}");
}

/// A lower-case word, or several joined by dashes; single words are reasons only where they are among these.
fn is_reason(text: &str) -> bool {
    const SINGLE: [&str; 8] = [
        "unknown",
        "revoked",
        "expired",
        "unreachable",
        "redirected",
        "replaced",
        "certificate",
        "damaged",
    ];
    let joined = text.contains(['-', '_'])
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte));
    SINGLE.contains(&text) || joined && !text.starts_with(['-', '_'])
}
