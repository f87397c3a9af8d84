//! agent.json of agent 2.0. Frozen: it reads what that agent wrote, and imports nothing that may change.
//!
//! `_encrypted` is `true`; `apiKey` is base64 of nonce (12 bytes), tag (16) and ciphertext, AES-256-GCM under
//! scrypt(N 16384, r 8, p 1) of hex(SHA-256(machine id)) with the salt `askalf-agent-v2`. The machine id ends in `no-network`:
//! that agent looked for interfaces in a way that found none.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub(super) struct Machine<'a> {
    pub(super) hostname: &'a str,
    pub(super) username: &'a str,
    pub(super) arch: &'a str,
    pub(super) platform: &'a str,
}

impl Machine<'_> {
    pub(super) fn id(&self) -> Zeroizing<String> {
        let Self {
            hostname,
            username,
            arch,
            platform,
        } = self;
        Zeroizing::new(format!("{hostname}:{username}:{arch}:{platform}:no-network"))
    }
}

/// What `api_key` holds, if it was sealed on the machine of that id. Costs one scrypt: 16 MiB, some 50 ms.
pub(super) fn unseal(machine_id: &str, api_key: &str) -> Option<Zeroizing<Vec<u8>>> {
    let blob = STANDARD.decode(api_key).ok()?;
    let (head, text) = blob.split_at_checked(28)?;
    let (nonce, tag) = head.split_at(12);
    let (nonce, tag) = (Nonce::try_from(nonce).ok()?, Tag::try_from(tag).ok()?);

    let digest = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(machine_id.as_bytes())));
    let password = Zeroizing::new(
        digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>(),
    );
    let cost = scrypt::Params::new(14, 8, 1).ok()?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(password.as_bytes(), b"askalf-agent-v2", &cost, key.as_mut_slice()).ok()?;

    let mut plain = Zeroizing::new(text.to_vec());
    Aes256Gcm::new((&*key).into())
        .decrypt_inout_detached(&nonce, b"", plain.as_mut_slice().into(), &tag)
        .ok()?;
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector `machine-key-2.0`.
    const API_KEY: &str =
        "MhRiMqa3MdLYm50GuIZ3Cue6IKAuR9URbtYyxD8nLyGhJhVHCfA14kELHAUc/sFTVZAgZSbNWHvYuiF6k4wBH5l+OZw=";
    const MACHINE: Machine<'_> = Machine {
        hostname: "web-01",
        username: "askalf-agent",
        arch: "x64",
        platform: "linux",
    };

    #[test]
    fn what_agent_2_0_wrote_is_read() {
        let id = MACHINE.id();
        assert_eq!(id.as_str(), "web-01:askalf-agent:x64:linux:no-network");
        assert_eq!(
            unseal(&id, API_KEY).unwrap().as_slice(),
            b"sk_live_JeemnW3M3Rwj0Fc23cTKQ50bvpnpY3fx"
        );
    }

    #[test]
    fn another_machine_or_damage_yields_nothing() {
        assert!(unseal("web-02:askalf-agent:x64:linux:no-network", API_KEY).is_none());
        assert!(unseal(&MACHINE.id(), &API_KEY.replace("l+OZw", "l/OZw")).is_none());
        assert!(unseal(&MACHINE.id(), "AAAA").is_none());
        assert!(unseal(&MACHINE.id(), "not base64").is_none());
    }
}
