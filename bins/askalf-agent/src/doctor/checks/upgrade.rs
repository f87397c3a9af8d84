//! What answers at the bridge's URL takes WebSockets.

use askalf_agent_core::Layer;

use super::{Finding, Subject, layer};

pub(super) const ID: &str = "upgrade";

pub(super) fn check(subject: &Subject) -> Finding {
    match layer(subject, ID, Layer::Upgrade) {
        Ok(_) => Finding::ok(ID, "the bridge takes a WebSocket"),
        Err(finding) => finding,
    }
}
