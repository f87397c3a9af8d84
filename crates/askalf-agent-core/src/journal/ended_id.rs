//! By what an execution that has ended is known again.

use sha2::{Digest, Sha256};

/// The first 128 bits of the SHA-256 of an execution's id. Thousands are held in memory for as long as the agent runs:
/// this is a third of what the ids take, and no two are ever equal by chance.
///
/// ```
/// use askalf_agent_core::journal::EndedId;
///
/// assert_eq!(EndedId::of("exec_1"), EndedId::of("exec_1"));
/// assert_ne!(EndedId::of("exec_1"), EndedId::of("exec_2"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndedId([u8; 16]);

impl EndedId {
    /// Of this execution.
    pub fn of(execution_id: &str) -> Self {
        let mut first = [0; 16];
        first.copy_from_slice(&Sha256::digest(execution_id)[..16]);
        Self(first)
    }

    /// From its bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}
