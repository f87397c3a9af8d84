//! The rotation of a device's key over its own connection ([`Feature::Rotation`](crate::Feature::Rotation)).
//!
//! The bridge offers a key (`credential:rotate`). The device puts it on its disk (`credential:staged`, or `credential:failed`),
//! proves it on a second connection that carries the new key (`credential:prove`), and is told that it is the device's from now
//! on (`credential:committed`). It puts the key in the place of the old one and comes back with it; told once more, it says
//! `credential:promoted`, and the old key ends.

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::bridge::Credentials;

/// The bridge has made a new key for the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialRotate {
    /// The rotation. A later one takes the place of an earlier one, whose key is void then unless it was committed.
    #[serde(deserialize_with = "bounded::id")]
    pub rotation_id: String,
    /// The new key: secret, never logged.
    pub key: Credentials,
    /// The first characters of the key, which listings show.
    #[serde(default, deserialize_with = "bounded::optional_id", skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
}

/// The new key is the device's; the old one is good until the device has said `credential:promoted`. Said in answer to
/// `credential:prove`, and after each registration with the new key until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialCommitted {
    /// The rotation.
    #[serde(deserialize_with = "bounded::id")]
    pub rotation_id: String,
}

/// The new key is on the device's disk, beside the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialStaged {
    /// The rotation.
    #[serde(deserialize_with = "bounded::id")]
    pub rotation_id: String,
}

/// The device does not take the new key and goes on with the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialFailed {
    /// The rotation.
    #[serde(deserialize_with = "bounded::id")]
    pub rotation_id: String,
    /// Why, for a person.
    #[serde(default, deserialize_with = "bounded::name", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The first and only message of a connection that was made with the new key: it registers nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialProve {
    /// The rotation.
    #[serde(deserialize_with = "bounded::id")]
    pub rotation_id: String,
}

/// The new key has taken the place of the old one on the device's disk. Said on a connection that carries the new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialPromoted {
    /// The rotation.
    #[serde(deserialize_with = "bounded::id")]
    pub rotation_id: String,
}

#[cfg(test)]
mod tests {
    use crate::decode_bridge;

    #[test]
    fn an_offered_key_is_never_shown() {
        let secret = "sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG";
        let frame = |key: &str| {
            format!(r#"{{"type":"credential:rotate","payload":{{"rotationId":"rot_1","key":{key}}}}}"#)
        };
        let offer = decode_bridge(&frame(&format!("\"{secret}\""))).unwrap();
        assert!(!format!("{offer:?}").contains(secret), "{offer:?}");
        let error = decode_bridge(&frame(&format!("[\"{secret}\"]"))).unwrap_err();
        assert!(!error.to_string().contains(secret), "{error}");
    }
}
