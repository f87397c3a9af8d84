//! What two peers may use with each other: only what both announced.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::word::words;

/// Version of the protocol that this crate speaks. A peer that names none speaks 0.
pub const PROTOCOL: u32 = 1;

/// An extension that is used only after both peers announced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// The bridge answers each `execution:complete` and `execution:failed` with `execution:ack` once it is recorded.
    ExecutionAck,
    /// The device names the executions that it holds when it registers or reconnects, and the bridge keeps those
    /// and ends the others.
    Resume,
    /// The device remembers the executions that it has taken, across restarts, so the bridge may send a dispatch again.
    Redelivery,
    /// The device tells the head of its audit log with `audit:head`, and the bridge keeps it.
    AuditAnchor,
    /// The bridge may offer the device a new key on its connection: [`CredentialRotate`](crate::CredentialRotate).
    Rotation,
}

words! { Feature, from_wire:
    ExecutionAck = "execution-ack",
    Resume = "resume",
    Redelivery = "redelivery",
    AuditAnchor = "audit-anchor",
    Rotation = "rotation",
}

/// A set of features. Words that we do not know are dropped on decoding: neither side uses what the other
/// did not announce, so they could not matter.
///
/// ```
/// use askalf_proto::{Feature, Features};
///
/// let ours = Features::all();
/// let theirs = Features::from_iter([Feature::ExecutionAck]);
/// assert!(ours.shared_with(&theirs).contains(Feature::ExecutionAck));
/// assert!(!ours.shared_with(&theirs).contains(Feature::Resume));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features(BTreeSet<Feature>);

impl Features {
    /// No feature: what a peer of an older generation has.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every feature of this version.
    pub fn all() -> Self {
        Feature::ALL.iter().copied().collect()
    }

    /// The set with one more feature.
    #[must_use]
    pub fn with(mut self, feature: Feature) -> Self {
        self.0.insert(feature);
        self
    }

    /// Whether the feature is in the set.
    pub fn contains(&self, feature: Feature) -> bool {
        self.0.contains(&feature)
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The set without this feature.
    #[must_use]
    pub fn without(&self, feature: Feature) -> Self {
        self.0.iter().copied().filter(|it| *it != feature).collect()
    }

    /// The features that both sets have.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        Self(features.into_iter().collect())
    }
}

impl Serialize for Features {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
        Ok(words.iter().filter_map(|word| Feature::from_wire(word)).collect())
    }
}
