//! agent.json of agents 3.0 to 3.2. Frozen: it reads what those agents wrote, and imports nothing that may change.
//!
//! As agent 2.0 wrote it, but the machine id ends in the hardware addresses of the interfaces that are up and not the
//! loopback, one for each of their addresses, sorted and joined by commas. It changes whenever a container starts.

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
    /// In any order; one that stands twice counts twice.
    pub(super) macs: Vec<String>,
}

impl Machine<'_> {
    pub(super) fn id(&self) -> Zeroizing<String> {
        let Self {
            hostname,
            username,
            arch,
            platform,
            macs,
        } = self;
        let mut macs = macs.clone();
        macs.sort_unstable();
        Zeroizing::new(format!(
            "{hostname}:{username}:{arch}:{platform}:{}",
            macs.join(",")
        ))
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

    /// The vector `machine-key-3.1`.
    const LINUX: &str =
        "0kTGROemO5anaYLdCVbUKdliu8CwHDzjyQAIyKoApRUwEdMoh9ck1idT/ytbiGz1PReK2PriSdtSff30ct6TkOnm0I0=";
    /// The vector `machine-key-3.1-windows`.
    const WINDOWS: &str =
        "NuqNhE05L0xJLAN+NeysKBsHB08TgLnbetPwcLadpGTXSt70mmr4/TRqaBAm4LpDKQitAqTMExd2B7Vhs/dA70Wi0ho=";

    fn linux(macs: &[&str]) -> Machine<'static> {
        Machine {
            hostname: "cx33",
            username: "askalf-agent",
            arch: "x64",
            platform: "linux",
            macs: macs.iter().map(|mac| (*mac).to_owned()).collect(),
        }
    }

    #[test]
    fn what_agent_3_1_wrote_on_linux_is_read() {
        let id = linux(&["96:00:03:aa:bb:01", "02:42:ac:11:00:02", "96:00:03:aa:bb:01"]).id();
        assert_eq!(
            id.as_str(),
            "cx33:askalf-agent:x64:linux:02:42:ac:11:00:02,96:00:03:aa:bb:01,96:00:03:aa:bb:01"
        );
        assert_eq!(
            unseal(&id, LINUX).unwrap().as_slice(),
            b"sk_live_T4j9rAOSCQoSiuZJCeoBEki7odn0UXZs"
        );
    }

    #[test]
    fn what_agent_3_1_wrote_on_windows_is_read() {
        let macs = ["00:15:5d:01:02:03", "00:15:5d:01:02:03", "02:42:ac:11:00:02"].map(str::to_owned);
        let machine = Machine {
            hostname: "ALF-PROD-DOCKER",
            username: "alf",
            arch: "x64",
            platform: "win32",
            macs: macs.to_vec(),
        };
        assert_eq!(
            unseal(&machine.id(), WINDOWS).unwrap().as_slice(),
            b"sk_live_7LJyPjoOdXJsZwzjUX9Z6QIekWc0HDrG"
        );
    }

    #[test]
    fn another_network_yields_nothing() {
        let after_restart = linux(&["02:42:ac:11:00:07", "96:00:03:aa:bb:01", "96:00:03:aa:bb:01"]);
        assert!(unseal(&after_restart.id(), LINUX).is_none());
        assert!(unseal(&linux(&["96:00:03:aa:bb:01"]).id(), LINUX).is_none());
    }
}
