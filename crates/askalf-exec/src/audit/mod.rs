//! The audit log: what was decided and what ran, one line of JSON each.
//!
//! A line is chained to the one before it by a keyed hash, so that an edit, a cut or an insertion shows; what a task would do is
//! sealed in it. Lines that were cut off at the end show only to somebody who keeps the head elsewhere.

mod files;
mod key;
mod line;
mod log;
mod read;
mod verify;

pub use files::AuditFiles;
pub use key::{AuditKey, AuditKeyError};
pub use line::{AuditRecord, Details, Event, Torn};
pub use log::{AuditError, AuditLog, AuditOptions};
pub use read::{Listed, list};
pub use verify::{Anchor, AnchorFault, Break, Verification, verify};

#[cfg(test)]
mod tests;
