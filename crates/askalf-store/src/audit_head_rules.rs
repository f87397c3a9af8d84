//! What a head of an audit log means beside those that are kept: the same on both backends.

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::stores::{AuditConflict, AuditHead, KeptAuditHead, Kind, Principal, StoreError};

/// At most one conflict of a device in this time is an act of its own: a device could tell any number, and acts are kept in a
/// bounded number.
const ACT_EVERY: i64 = 60 * 60 * 1000;

/// One row of `askalf_audit_heads`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeadRow {
    pub(crate) key_id: String,
    pub(crate) seq: i64,
    pub(crate) head: String,
    pub(crate) received_at: UnixMillis,
    pub(crate) conflicts: i64,
    pub(crate) conflict: Option<(UnixMillis, i64, String)>,
}

/// What is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A first row under this key.
    Begin,
    /// A first row under this key, which begins behind what the device told under another.
    BeginBehind,
    /// The row moves on.
    Advance,
    /// Nothing.
    Unchanged,
    /// The conflict is noted in the row of this key.
    Conflict,
}

/// Judges a head by the rows of its device.
pub(crate) fn judge(rows: &[HeadRow], key_id: &str, seq: i64, head: &str) -> Verdict {
    let contradicts = |row: &HeadRow| seq < row.seq || seq == row.seq && head != row.head;
    match rows.iter().find(|row| row.key_id == key_id) {
        None if rows.iter().any(contradicts) => Verdict::BeginBehind,
        None => Verdict::Begin,
        Some(row) if contradicts(row) => Verdict::Conflict,
        Some(row) if seq > row.seq => Verdict::Advance,
        Some(_) => Verdict::Unchanged,
    }
}

/// Whether a conflict at `now` is an act of its own.
pub(crate) fn is_act(rows: &[HeadRow], now: UnixMillis) -> bool {
    let times = rows
        .iter()
        .filter_map(|row| row.conflict.as_ref().map(|(at, ..)| at.0));
    times
        .max()
        .is_none_or(|last| now.0 < last || now.0.saturating_sub(last) >= ACT_EVERY)
}

/// What is shown of the rows of a device.
pub(crate) fn shown(rows: Vec<HeadRow>) -> Option<KeptAuditHead> {
    let conflicts = rows.iter().map(|row| row.conflicts.max(0).unsigned_abs()).sum();
    let last_conflict = rows
        .iter()
        .filter_map(|row| row.conflict.clone())
        .max_by_key(|(at, ..)| *at)
        .map(|(at, seq, head)| AuditConflict {
            at,
            head: wire(seq, head),
        });
    let newest = rows.into_iter().max_by_key(|row| row.received_at)?;
    Some(KeptAuditHead {
        key_id: newest.key_id,
        head: wire(newest.seq, newest.head),
        received_at: newest.received_at,
        conflicts,
        last_conflict,
    })
}

fn wire(seq: i64, head: String) -> AuditHead {
    AuditHead {
        seq: seq.max(0).unsigned_abs(),
        head,
    }
}

/// Key and device of a device that has registered.
pub(crate) fn reporter(who: &Principal) -> Result<(&str, &str), StoreError> {
    match who {
        Principal::Device {
            key_id,
            device_id: Some(device_id),
            ..
        } => Ok((key_id, device_id)),
        _ => Err(StoreError::NotFound(Kind::Device)),
    }
}

/// The number as the column holds it.
pub(crate) fn column_seq(seq: u64) -> Result<i64, StoreError> {
    i64::try_from(seq)
        .map_err(|_| StoreError::Invalid("the number of the audit log's head is too large".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key_id: &str, seq: i64, head: &str) -> HeadRow {
        HeadRow {
            key_id: key_id.to_owned(),
            seq,
            head: head.to_owned(),
            received_at: UnixMillis(seq),
            conflicts: 0,
            conflict: None,
        }
    }

    #[test]
    fn a_head_only_moves_on() {
        let rows = [row("key_1", 5, "aa")];
        for (key, seq, head, verdict) in [
            ("key_1", 6, "bb", Verdict::Advance),
            ("key_1", 5, "aa", Verdict::Unchanged),
            ("key_1", 5, "bb", Verdict::Conflict),
            ("key_1", 4, "aa", Verdict::Conflict),
            ("key_2", 5, "aa", Verdict::Begin),
            ("key_2", 5, "bb", Verdict::BeginBehind),
            ("key_2", 0, "cc", Verdict::BeginBehind),
        ] {
            assert_eq!(judge(&rows, key, seq, head), verdict, "{key} {seq} {head}");
        }
        assert_eq!(judge(&[], "key_1", 0, "aa"), Verdict::Begin);
    }

    #[test]
    fn conflicts_are_acts_once_an_hour() {
        let mut rows = [row("key_1", 5, "aa")];
        assert!(is_act(&rows, UnixMillis(0)));
        rows[0].conflict = Some((UnixMillis(1000), 4, "aa".to_owned()));
        assert!(!is_act(&rows, UnixMillis(1000 + ACT_EVERY - 1)));
        assert!(is_act(&rows, UnixMillis(1000 + ACT_EVERY)));
        assert!(
            is_act(&rows, UnixMillis(0)),
            "a clock that was set back silences nothing"
        );
    }
}
