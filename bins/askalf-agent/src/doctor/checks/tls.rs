//! The bridge shows a certificate that this device trusts, and the key that is pinned.

use askalf_agent_core::Layer;

use super::{Finding, Subject, layer};

pub(super) const ID: &str = "tls";

pub(super) fn check(subject: &Subject) -> Finding {
    let way = match layer(subject, ID, Layer::Tls) {
        Ok(way) => way,
        Err(finding) => return finding,
    };
    let Some(endpoint) = subject.endpoint().filter(|endpoint| endpoint.is_tls()) else {
        let on_this_machine = subject.endpoint().is_some_and(|endpoint| endpoint.is_loopback());
        return if on_this_machine {
            Finding::skipped(ID, "the bridge is on this machine and dialled without TLS")
        } else {
            Finding::warning(
                ID,
                "plain-remote",
                "the bridge is dialled without TLS: the key crosses the network readable",
                "give the bridge a certificate and pair with --url https://HOST",
            )
        };
    };
    let pins = subject.config.as_ref().map_or(0, |config| config.tls_pins.len());
    let key = way.tls_key.map(|key| format!(" {key}")).unwrap_or_default();
    let pinned = if pins > 0 { "is pinned" } else { "is not pinned" };
    Finding::ok(
        ID,
        format!(
            "{} shows a trusted certificate; its key{key} {pinned}",
            endpoint.host()
        ),
    )
}
