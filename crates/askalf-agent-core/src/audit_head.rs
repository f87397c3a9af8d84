//! Where the device's audit log stands.

/// The last line of the audit log: whoever keeps it elsewhere can tell later that the log was cut behind it.
///
/// The log hands it out in a `tokio::sync::watch::Receiver<Option<AuditHead>>`, `None` before its first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// The line's number, from 1.
    pub seq: u64,
    /// Its keyed hash: 64 lower-case hex digits.
    pub mac: String,
}
